#include "common/status.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace sheaf {
namespace {

struct Row {
  Code code;
  const char* name;
  int err;
  int grpc;
  Retry retry;
};

constexpr Row kRows[] = {
#define X(name, number, err, grpc, retry) {Code::name, #name, err, grpc, Retry::retry},
    SHEAF_STATUS_TABLE(X)
#undef X
};

const Row* Find(Code code) {
  auto number = static_cast<size_t>(code);
  return number < std::size(kRows) ? &kRows[number] : nullptr;
}

constexpr bool RowsAreDense() {
  for (size_t i = 0; i < std::size(kRows); ++i) {
    if (static_cast<size_t>(kRows[i].code) != i) return false;
  }
  return true;
}
static_assert(RowsAreDense(), "the table is indexed by number");

const Row& Get(Code code) {
  const Row* row = Find(code);
  return row != nullptr ? *row : kRows[static_cast<size_t>(Code::kIo)];
}

}  // namespace

Status Status::FromErrno(int err, std::string_view what) {
  Code code = Code::kIo;
  for (const Row& row : kRows) {
    if (row.err == err && row.code != Code::kOk && row.code != Code::kSameFile) {
      code = row.code;
      break;  // the first row with an errno is its plain meaning
    }
  }
  return {code, std::string(what) + ": " + std::strerror(err)};
}

int Status::ToErrno() const { return Get(code_).err; }

Retry Status::retry() const { return Get(code_).retry; }

std::string Status::ToString() const {
  return ok() ? "Ok" : CodeName(code_) + ": " + message_;
}

Status Status::With(std::string_view context) const {
  return ok() ? *this : Status(code_, std::string(context) + ": " + message_);
}

std::string CodeName(Code code) {
  const Row* row = Find(code);
  if (row == nullptr) return "Unknown(" + std::to_string(static_cast<int>(code)) + ")";
  return row->name + 1;  // without the k
}

Code CodeFromNumber(uint32_t number) {
  return number < std::size(kRows) ? static_cast<Code>(number) : Code::kIo;
}

int GrpcCode(Code code) { return Get(code).grpc; }

namespace internal {

void CheckFailed(const char* file, int line, const char* expression, const std::string& message) {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s %s\n", file, line, expression, message.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace internal
}  // namespace sheaf
