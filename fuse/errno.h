#pragma once

#include "common/status.h"

namespace sheaf::fuse {

// The one place where a Status becomes the kernel's answer: 0, or a positive errno that is safe to
// send. ENOSYS never is (the kernel would switch the operation off for the life of the mount), nor
// a number outside errno's range (the kernel would drop the whole reply).
int KernelErrno(const Status& status);

// Whether the error says that the cluster or this daemon failed, not that the caller asked for
// something that is not there or not allowed: what deserves a line in the log.
bool IsFailure(const Status& status);

}  // namespace sheaf::fuse
