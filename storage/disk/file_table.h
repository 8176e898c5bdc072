#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/fd.h"
#include "storage/disk/io_context.h"

namespace sheaf::storage {

// An open slab file; closed when its table and every context that used it have let go.
struct OpenFile {
  UniqueFd fd;
  std::string path;
};

// Numbers the slab files of a process, over all targets. A number is the slot in every ring's table
// of registered files; each context registers a file at its first transfer, so making one known
// never waits for another thread. Numbers are not used again.
//
// Thread safety: all calls.
class FileTable {
 public:
  FileSlot Add(std::shared_ptr<const OpenFile> file) {
    std::lock_guard lock(mutex_);
    files_.push_back(std::move(file));
    return static_cast<FileSlot>(files_.size() - 1);
  }

  // Null for a number nobody has.
  std::shared_ptr<const OpenFile> Get(FileSlot slot) const {
    std::lock_guard lock(mutex_);
    return slot < files_.size() ? files_[slot] : nullptr;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<const OpenFile>> files_;
};

}  // namespace sheaf::storage
