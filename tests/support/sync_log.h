#pragma once

#include <string>
#include <vector>

namespace sheaf::testing {

// What this process syncs and renames below one directory, in order: a program that links this
// library has its fsync, fdatasync and renameat. For what no fake disk sees. One at a time.
//
// An event is "fsync PATH", "fdatasync PATH" or "rename FROM to TO", of those that succeeded. Paths
// are relative to the directory, which itself is "."; of a regular file its length at that moment
// follows, as in "fsync marker.new, 12 bytes".
class SyncLog {
 public:
  explicit SyncLog(const std::string& directory);
  ~SyncLog();
  SyncLog(const SyncLog&) = delete;
  SyncLog& operator=(const SyncLog&) = delete;

  std::vector<std::string> events() const;
};

}  // namespace sheaf::testing
