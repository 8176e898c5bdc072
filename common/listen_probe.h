#pragma once

#include <string>

#include "common/status.h"

namespace sheaf {

// Whether this process could listen on "host:port" just now: binds and lets go again. For the
// libraries that listen themselves and keep the reason of a failure to themselves.
// kExists: the address is in use. kUsage: it is not an address of this machine, or not one at all.
Status ProbeListen(const std::string& address);

}  // namespace sheaf
