#pragma once

#include <string>
#include <vector>

#include "common/status.h"

namespace sheaf::cli {

// Where `sheaf up` keeps its cluster unless told: ~/.sheaf.
std::string DefaultDirectory();

// Absolute, without ".", ".." and symlinks before the last component; the last one may be missing
// and is not followed. Never touches what the last component is, so that it works on a dead mount.
Result<std::string> AbsolutePath(const std::string& path);

// The metadata service to talk to: --meta (`given`), else the mount that one of `paths` or the
// working directory lies in, else SHEAF_META, else what `sheaf up` left in ~/.sheaf.
// kUsage says that there is none, or that an address is not HOST:PORT.
Result<std::string> FindMeta(const std::string& given, const std::vector<std::string>& paths);

// A path as a person types it: "sheaf:/x", one inside a mount of the cluster at `meta`, or local.
struct PathArgument {
  bool in_sheaf = false;
  std::string path;  // absolute within its file system
};
Result<PathArgument> ParsePath(const std::string& text, const std::string& meta);

}  // namespace sheaf::cli
