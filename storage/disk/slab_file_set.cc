#include "storage/disk/slab_file_set.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <cstdio>

#include "common/log.h"

namespace sheaf::storage {

SlabFileSet::SlabFileSet(std::string directory, UniqueFd directory_fd,
                         std::shared_ptr<FileTable> table)
    : directory_(std::move(directory)),
      directory_fd_(std::move(directory_fd)),
      table_(std::move(table)) {}

Result<std::shared_ptr<SlabFileSet>> SlabFileSet::Open(const std::string& directory,
                                                       std::shared_ptr<FileTable> table) {
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    return Status::FromErrno(errno, "create slab directory " + directory);
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.IsOpen()) return Status::FromErrno(errno, "open slab directory " + directory);
  return std::shared_ptr<SlabFileSet>(new SlabFileSet(directory, std::move(fd), std::move(table)));
}

std::string SlabFileSet::PathOf(uint32_t number) const {
  char name[32];
  std::snprintf(name, sizeof name, "/slab.%08u", number);
  return directory_ + name;
}

Result<UniqueFd> SlabFileSet::OpenFileFor(const std::string& path, bool create) {
  const int flags = O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0);
  UniqueFd fd(::open(path.c_str(), flags | O_DIRECT, 0600));
  if (fd.IsOpen()) return fd;
  if (errno != EINVAL) return Status::FromErrno(errno, "open slab " + path);
  // A file system without direct I/O still works, through the page cache.
  LogWarn("open slab {}: no direct I/O on this file system, using the page cache", path);
  UniqueFd cached(::open(path.c_str(), flags, 0600));
  if (!cached.IsOpen()) return Status::FromErrno(errno, "open slab " + path);
  return cached;
}

Status SlabFileSet::Preallocate(int fd, const std::string& path, uint64_t bytes) {
  int result = 0;
  do {
    result = ::fallocate(fd, 0, 0, static_cast<off_t>(bytes));
  } while (result != 0 && errno == EINTR);
  if (result != 0 && errno == EOPNOTSUPP) result = ::ftruncate(fd, static_cast<off_t>(bytes));
  if (result != 0)
    return Status::FromErrno(errno,
                             "preallocate slab " + path + " (" + std::to_string(bytes) + " bytes)");
  // Size and blocks first, then the name: a name that survives a crash names a whole file.
  if (::fsync(fd) != 0) return Status::FromErrno(errno, "sync slab " + path);
  if (::fsync(directory_fd_.get()) != 0)
    return Status::FromErrno(errno, "sync slab directory " + directory_);
  return Status::Ok();
}

Result<FileSlot> SlabFileSet::Open(uint32_t number, uint64_t bytes, bool create) {
  std::lock_guard lock(mutex_);
  if (auto known = slots_.find(number); known != slots_.end()) return known->second;

  const std::string path = PathOf(number);
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFileFor(path, create));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return Status::FromErrno(errno, "stat slab " + path);
  const uint64_t size = static_cast<uint64_t>(info.st_size);
  if (create) {
    if (Status status = Preallocate(fd.get(), path, bytes); !status.ok()) {
      if (size == 0) ::unlink(path.c_str());  // made just now, and holds nothing
      return status;
    }
  } else if (size < bytes) {
    return Status{Code::kCorrupt, "open slab " + path + ": shorter than recorded (" +
                                      std::to_string(size) + " of " + std::to_string(bytes) +
                                      " bytes)"};
  }
  const FileSlot slot =
      table_->Add(std::make_shared<const OpenFile>(OpenFile{std::move(fd), path}));
  slots_.emplace(number, slot);
  return slot;
}

Status SlabFileSet::Sync(FileSlot file) {
  std::shared_ptr<const OpenFile> open = table_->Get(file);
  if (open == nullptr) return {Code::kIo, "sync slab: no such slot (" + std::to_string(file) + ")"};
  if (::fdatasync(open->fd.get()) != 0) return Status::FromErrno(errno, "sync slab " + open->path);
  return Status::Ok();
}

Result<uint64_t> SlabFileSet::FreeBytes() {
  struct statvfs info {};
  if (::fstatvfs(directory_fd_.get(), &info) != 0)
    return Status::FromErrno(errno, "ask free space of " + directory_);
  return uint64_t{info.f_bavail} * info.f_frsize;
}

Result<uint64_t> SlabFileSet::TotalBytes() {
  struct statvfs info {};
  if (::fstatvfs(directory_fd_.get(), &info) != 0)
    return Status::FromErrno(errno, "ask size of " + directory_);
  return uint64_t{info.f_blocks} * info.f_frsize;
}

}  // namespace sheaf::storage
