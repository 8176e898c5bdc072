#include "fuse/errno.h"

#include <cerrno>

namespace sheaf::fuse {
namespace {

constexpr int kErrnoMax = 511;  // the kernel drops replies with larger ones (512: ERESTARTSYS)

}  // namespace

int KernelErrno(const Status& status) {
  const int err = status.ToErrno();
  if (err == ENOSYS) return EOPNOTSUPP;
  if (err < 0 || err > kErrnoMax) return EIO;
  return err;
}

bool IsFailure(const Status& status) {
  switch (KernelErrno(status)) {
    case EIO:
    case EPROTO:
    case ESTALE:
    case EBADF:
      return true;
    default:
      return false;
  }
}

}  // namespace sheaf::fuse
