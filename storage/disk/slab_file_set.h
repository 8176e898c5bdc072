#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "storage/disk/file_table.h"
#include "storage/disk/io_context.h"

namespace sheaf::storage {

// The slab files of one target: "slab.00000000" and so on in one directory, preallocated, opened
// once for direct I/O.
//
// Thread safety: all calls. They block; engine threads make them.
class SlabFileSet : public SlabFiles {
 public:
  // Creates the directory if it is missing.
  static Result<std::shared_ptr<SlabFileSet>> Open(const std::string& directory,
                                                   std::shared_ptr<FileTable> table);

  // With `create` a file left by a crash right after its creation is taken over and completed.
  // Without, kNotFound for a missing file and kCorrupt for one shorter than `bytes`.
  Result<FileSlot> Open(uint32_t number, uint64_t bytes, bool create) override;
  Status Sync(FileSlot file) override;
  Result<uint64_t> FreeBytes() override;
  Result<uint64_t> TotalBytes() override;

  std::string PathOf(uint32_t number) const;

 private:
  SlabFileSet(std::string directory, UniqueFd directory_fd, std::shared_ptr<FileTable> table);
  Result<UniqueFd> OpenFileFor(const std::string& path, bool create);
  Status Preallocate(int fd, const std::string& path, uint64_t bytes);

  const std::string directory_;
  const UniqueFd directory_fd_;
  const std::shared_ptr<FileTable> table_;
  std::mutex mutex_;
  std::map<uint32_t, FileSlot> slots_;  // by slab number; under mutex_
};

}  // namespace sheaf::storage
