#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace sheaf::cli {

inline constexpr const char* kMountType = "fuse.sheaf";

struct Mount {
  std::string point;   // absolute
  std::string root;    // the part of the file system shown there: "/" unless bound
  std::string type;
  std::string source;  // of ours: the metadata service's "host:port"
};

// The lines of a mountinfo file, in its order: a later one at the same point lies on top.
std::vector<Mount> ParseMountInfo(std::string_view text);
// This process' mounts, from /proc/self/mountinfo.
std::vector<Mount> ReadMounts();

// The mount that an absolute, normal path lies in.
const Mount* FindMountOf(const std::vector<Mount>& mounts, const std::string& path);
// The Sheaf mount at exactly this point, if it is the topmost there.
std::optional<Mount> SheafMountAt(const std::string& point);

// Unmounts. kBusy names the processes that use it; `lazily` takes it out of sight whoever does.
Status Unmount(const std::string& point, bool lazily);
// Takes away Sheaf mounts at this point whose daemons are gone; one that lives is left.
Status ClearDeadMounts(const std::string& point);

}  // namespace sheaf::cli
