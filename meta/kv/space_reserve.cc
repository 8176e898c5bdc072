#include "meta/kv/space_reserve.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/fd.h"
#include "common/log.h"

namespace sheaf::meta {
namespace {

constexpr std::chrono::seconds kBetweenLooks{1};
constexpr uint64_t kLargestShare = 16;  // of the file system: one in so many bytes
constexpr uint64_t kStatBlock = 512;    // what st_blocks counts

std::string DirectoryOf(const std::string& path) { return path.substr(0, path.rfind('/') + 1); }

uint64_t Cut(const std::string& path, uint64_t wanted) {
  struct statvfs disk {};
  if (statvfs(DirectoryOf(path).c_str(), &disk) != 0) return wanted;
  return std::min<uint64_t>(wanted, uint64_t{disk.f_blocks} * disk.f_frsize / kLargestShare);
}

uint64_t HeldBytes(int fd) {
  struct stat attr {};
  return fstat(fd, &attr) == 0 ? static_cast<uint64_t>(attr.st_blocks) * kStatBlock : 0;
}

}  // namespace

uint64_t FreeBytes(const std::string& path) {
  struct statvfs disk {};
  if (statvfs(path.c_str(), &disk) != 0) return UINT64_MAX;
  const bool superuser = geteuid() == 0;  // may use what the file system keeps for it
  return uint64_t{superuser ? disk.f_bfree : disk.f_bavail} * disk.f_frsize;
}

SpaceReserve::SpaceReserve(std::string path, uint64_t wanted_bytes, const Clock& clock)
    : path_(std::move(path)),
      clock_(clock),
      bytes_(Cut(path_, wanted_bytes)),
      whole_(bytes_ == 0) {}

bool SpaceReserve::Fill() {
  if (whole_ || clock_.Now() < next_look_) return whole_;
  next_look_ = clock_.Now() + kBetweenLooks;
  const UniqueFd fd(open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.IsOpen()) return false;
  const uint64_t held = HeldBytes(fd.get());
  if (held < bytes_) {
    const uint64_t missing = bytes_ - held;
    if (FreeBytes(path_) < missing + bytes_) return false;
    if (fallocate(fd.get(), 0, 0, static_cast<off_t>(bytes_)) != 0) {
      if (errno != EOPNOTSUPP) return false;
      LogWarn(
          "{}: no space can be reserved on this file system ({}); on a full disk removals "
          "may fail too",
          path_, std::strerror(errno));
    }
  }
  whole_ = true;
  return true;
}

// The freed blocks can be used once the file system has committed the change, hence the sync.
void SpaceReserve::Release() {
  if (bytes_ == 0) return;
  whole_ = false;
  next_look_ = clock_.Now() + kBetweenLooks;
  const UniqueFd fd(open(path_.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.IsOpen() || ftruncate(fd.get(), 0) != 0 || fsync(fd.get()) != 0) {
    LogWarn("{}: the reserved space could not be released: {}", path_, std::strerror(errno));
  }
}

}  // namespace sheaf::meta
