#include "common/status.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <set>

namespace sheaf {
namespace {

TEST(StatusTest, TheDefaultIsOk) {
  EXPECT_TRUE(Status().ok());
  EXPECT_EQ(Status().ToErrno(), 0);
  EXPECT_EQ(Status().ToString(), "Ok");
  EXPECT_TRUE(Status().With("x").ok());
}

TEST(StatusTest, TheTableNamesEveryCodeOnce) {
  std::set<std::string> names;
  std::set<uint16_t> numbers;
#define X(name, number, err, grpc_code, retry_class) \
  EXPECT_EQ(CodeName(Code::name), std::string(#name).substr(1));      \
  EXPECT_EQ(CodeFromNumber(number), Code::name);                      \
  EXPECT_EQ(GrpcCode(Code::name), grpc_code);                              \
  EXPECT_EQ(Status(Code::name, "").ToErrno(), err);                   \
  EXPECT_EQ(Status(Code::name, "").retry(), Retry::retry_class);            \
  EXPECT_TRUE(names.insert(#name).second);                            \
  EXPECT_TRUE(numbers.insert(number).second);
  SHEAF_STATUS_TABLE(X)
#undef X
}

TEST(StatusTest, NumbersOutsideTheTableAreIo) {
  EXPECT_EQ(CodeFromNumber(9999), Code::kIo);
  EXPECT_EQ(CodeName(static_cast<Code>(9999)), "Unknown(9999)");
}

TEST(StatusTest, ErrnosBecomeTheirPlainCode) {
  const Status status = Status::FromErrno(ENOENT, "open /x");
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_EQ(status.message(), "open /x: No such file or directory");
  EXPECT_EQ(Status::FromErrno(EINVAL, "x").code(), Code::kInvalid);
  EXPECT_EQ(Status::FromErrno(EIO, "x").code(), Code::kIo);
  EXPECT_EQ(Status::FromErrno(ENOSPC, "x").code(), Code::kNoSpace);
  EXPECT_EQ(Status::FromErrno(EXFULL, "unlisted").code(), Code::kIo);
}

TEST(StatusTest, ContextGoesBeforeTheText) {
  const Status status = Status(Code::kNotFound, "no such entry").With("lookup 1/x");
  EXPECT_EQ(status.ToString(), "NotFound: lookup 1/x: no such entry");
}

Result<std::unique_ptr<int>> Half(int value) {
  if (value % 2 != 0) return Status(Code::kInvalid, "odd");
  return std::make_unique<int>(value / 2);
}

Status Quarter(int value, int* out) {
  ASSIGN_OR_RETURN(std::unique_ptr<int> half, Half(value));
  ASSIGN_OR_RETURN(auto quarter, Half(*half));
  *out = *quarter;
  return Status::Ok();
}

TEST(ResultTest, MacrosPassValuesAndErrorsOn) {
  int out = 0;
  EXPECT_TRUE(Quarter(8, &out).ok());
  EXPECT_EQ(out, 2);
  EXPECT_EQ(Quarter(6, &out).code(), Code::kInvalid);
}

TEST(ResultDeathTest, WantsAValueWhereThereIsNone) {
  Result<int> none(Status(Code::kBusy, "later"));
  EXPECT_DEATH((void)none.value(), "Busy: later");
  EXPECT_DEATH((void)Result<int>(Status::Ok()), "ok Status");
  EXPECT_DEATH(CHECK(1 == 2, "sums"), "1 == 2 sums");
}

}  // namespace
}  // namespace sheaf
