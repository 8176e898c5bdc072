#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

// Status and Result: how every fallible call in Sheaf answers.
//
// One table (SHEAF_STATUS_TABLE) holds every code there is, with its errno, its gRPC code and its
// retry class. A code exists only if some caller would react to it differently. Codes travel on the
// wire and are never renumbered.
//
// Text is lower case, "operation object: cause (values)". Log or return, never both.
//
// Thread safety: values; share as any other value.

namespace sheaf {

// What a caller may do after an error.
enum class Retry : uint8_t {
  kNever,    // the same request will fail again
  kSame,     // the same request may succeed later; back off first
  kRefresh,  // fetch the cluster map, then send again
};

// X(name, number, errno, gRPC code, retry class)
#define SHEAF_STATUS_TABLE(X)                                                                   \
  X(kOk, 0, 0, 0, kNever)                                                                       \
  X(kNotPermitted, 1, EPERM, 7, kNever)                                                         \
  X(kNotFound, 2, ENOENT, 5, kNever)                                                            \
  X(kIo, 3, EIO, 13, kNever)                          /* a device or an invariant failed */     \
  X(kAccess, 4, EACCES, 7, kNever)                                                              \
  X(kExists, 5, EEXIST, 6, kNever)                                                              \
  X(kCrossDevice, 6, EXDEV, 9, kNever)                                                          \
  X(kNotDirectory, 7, ENOTDIR, 9, kNever)                                                       \
  X(kIsDirectory, 8, EISDIR, 9, kNever)                                                         \
  X(kInvalid, 9, EINVAL, 3, kNever)                                                             \
  X(kFileTooBig, 10, EFBIG, 11, kNever)                                                         \
  X(kNoSpace, 11, ENOSPC, 8, kNever)                                                            \
  X(kReadOnly, 12, EROFS, 9, kNever)                                                            \
  X(kTooManyLinks, 13, EMLINK, 9, kNever)                                                       \
  X(kNameTooLong, 14, ENAMETOOLONG, 3, kNever)                                                  \
  X(kNotEmpty, 15, ENOTEMPTY, 9, kNever)                                                        \
  X(kLoop, 16, ELOOP, 9, kNever)                                                                \
  X(kNoData, 17, ENODATA, 5, kNever)                  /* no such extended attribute */          \
  X(kRange, 18, ERANGE, 11, kNever)                   /* the caller's buffer is too small */    \
  X(kTooBig, 19, E2BIG, 3, kNever)                    /* a value over its stated limit */       \
  X(kUnsupported, 20, EOPNOTSUPP, 12, kNever)                                                   \
  X(kStale, 21, ESTALE, 9, kNever)                    /* the inode or data_id is gone */        \
  X(kQuota, 22, EDQUOT, 8, kNever)                                                              \
  X(kBadHandle, 23, EBADF, 9, kNever)                                                           \
  X(kBusy, 24, EBUSY, 8, kSame)                       /* a queue is full; nothing was done */   \
  X(kUnavailable, 25, EIO, 14, kSame)                 /* cannot be reached just now */          \
  X(kDeadline, 26, EIO, 4, kNever)                    /* the stated wait has passed */          \
  X(kCancelled, 27, EINTR, 1, kNever)                                                           \
  X(kWrongChain, 28, EIO, 9, kRefresh)                /* chain or chain version is not mine */  \
  X(kNotServing, 29, EIO, 14, kRefresh)               /* no valid lease, or starting */         \
  X(kFenced, 30, EIO, 9, kNever)                      /* the client's incarnation is fenced */  \
  X(kCorrupt, 31, EIO, 15, kNever)                    /* a checksum or a format is wrong */     \
  X(kProtocol, 32, EPROTO, 3, kNever)                 /* a peer does not speak our protocol */  \
  X(kNoSession, 33, EIO, 9, kNever)                   /* the incarnation is unknown or over */  \
  X(kTooManyFiles, 34, EMFILE, 8, kNever)                                                       \
  X(kOverflow, 35, EOVERFLOW, 11, kNever)                                                       \
  X(kSameFile, 36, 0, 0, kNever)                      /* rename onto a link of itself: no-op */ \
  X(kTextBusy, 37, ETXTBSY, 9, kNever)                                                          \
  X(kUsage, 38, EINVAL, 3, kNever)                    /* command line or config: exit 2 */

enum class Code : uint16_t {
#define X(name, number, err, grpc, retry) name = number,
  SHEAF_STATUS_TABLE(X)
#undef X
};

class [[nodiscard]] Status {
 public:
  Status() = default;  // ok
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status Ok() { return {}; }
  // From a failed system call: "what: strerror". Maps errno through the table; unlisted is kIo.
  static Status FromErrno(int err, std::string_view what);

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

  // Positive errno for the kernel and for POSIX callers; 0 when ok.
  int ToErrno() const;
  Retry retry() const;
  // "NotFound: lookup 1/x: no such entry"
  std::string ToString() const;
  // The same code with "context: " before the text.
  Status With(std::string_view context) const;

  friend bool operator==(const Status& a, const Status& b) { return a.code_ == b.code_; }

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

// "NotFound"; "Unknown(77)" for a number outside the table.
std::string CodeName(Code code);
// Codes off the wire: numbers outside the table become kIo.
Code CodeFromNumber(uint32_t number);
int GrpcCode(Code code);

// A value or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit
  Result(Status status) : value_(std::in_place_index<1>, std::move(status)) {  // NOLINT: implicit
    if (std::get<1>(value_).ok()) FailOkStatus();
  }

  bool ok() const { return value_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // REQUIRES: ok()
  T& value() & { return Checked(), std::get<0>(value_); }
  const T& value() const& { return Checked(), std::get<0>(value_); }
  T&& value() && { return Checked(), std::get<0>(std::move(value_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // Ok() when there is a value.
  Status status() const { return ok() ? Status() : std::get<1>(value_); }

 private:
  [[noreturn]] static void FailOkStatus();
  [[noreturn]] void FailNoValue() const;
  void Checked() const {
    if (!ok()) FailNoValue();
  }

  std::variant<T, Status> value_;
};

namespace internal {
[[noreturn]] void CheckFailed(const char* file, int line, const char* expression,
                              const std::string& message);
}  // namespace internal

template <typename T>
void Result<T>::FailOkStatus() {
  internal::CheckFailed(__FILE__, __LINE__, "!status.ok()", "Result made from an ok Status");
}

template <typename T>
void Result<T>::FailNoValue() const {
  internal::CheckFailed(__FILE__, __LINE__, "result.ok()", std::get<1>(value_).ToString());
}

}  // namespace sheaf
