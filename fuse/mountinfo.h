#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/status.h"

namespace sheaf::fuse {

// The "major:minor" of what is mounted last on `directory` (absolute, no symlinks), out of the text
// of /proc/self/mountinfo. Asking the mount itself would need it to answer.
std::optional<std::string> FindMountDevice(std::string_view mountinfo, std::string_view directory);

// Sets how far the kernel reads ahead of a sequential reader. A mount's own request cannot raise it
// above 128 KiB; this file can, as root. REQUIRES: the kernel has answered the mount's INIT, since
// that lowers it again.
Status SetReadAhead(const std::string& directory, uint32_t kib);

}  // namespace sheaf::fuse
