#include "tests/support/sync_log.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>

#include "common/guarded.h"
#include "common/status.h"

namespace sheaf::testing {
namespace {

struct Log {
  std::optional<std::string> directory;  // none: nobody asks
  std::vector<std::string> events;
};

// The calls below have no other way to find it. Never destroyed: they may come late.
Guarded<Log>& TheLog() {
  static auto* log = new Guarded<Log>;
  return *log;
}

std::string PathOf(int fd) {
  std::error_code ignored;
  return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), ignored);
}

std::string PathAt(int directory_fd, const char* name) {
  if (directory_fd == AT_FDCWD || *name == '/') return std::filesystem::absolute(name);
  return PathOf(directory_fd) + "/" + name;
}

// Nothing when it does not lie below the directory.
std::optional<std::string> Relative(const Log& log, const std::string& path) {
  if (!log.directory) return std::nullopt;
  if (path == *log.directory) return ".";
  if (!path.starts_with(*log.directory + "/")) return std::nullopt;
  return path.substr(log.directory->size() + 1);
}

void NoteSync(const char* call, int fd) {
  const int before = errno;
  struct stat attr {};
  const bool is_file = fstat(fd, &attr) == 0 && S_ISREG(attr.st_mode);
  auto log = TheLog().Lock();
  if (const auto path = Relative(*log, PathOf(fd))) {
    const std::string length = is_file ? ", " + std::to_string(attr.st_size) + " bytes" : "";
    log->events.push_back(std::string(call) + " " + *path + length);
  }
  errno = before;
}

}  // namespace

SyncLog::SyncLog(const std::string& directory) {
  auto log = TheLog().Lock();
  CHECK(!log->directory, "there is a log of " + log->directory.value_or("") + " already");
  log->directory = std::filesystem::canonical(directory);
}

SyncLog::~SyncLog() { *TheLog().Lock() = {}; }

std::vector<std::string> SyncLog::events() const { return TheLog().Lock()->events; }

}  // namespace sheaf::testing

extern "C" {

int fsync(int fd) {
  const long result = syscall(SYS_fsync, fd);
  if (result == 0) sheaf::testing::NoteSync("fsync", fd);
  return static_cast<int>(result);
}

int fdatasync(int fd) {
  const long result = syscall(SYS_fdatasync, fd);
  if (result == 0) sheaf::testing::NoteSync("fdatasync", fd);
  return static_cast<int>(result);
}

int renameat(int from_directory, const char* from, int to_directory, const char* to) noexcept {
  using sheaf::testing::PathAt;
  const long result = syscall(SYS_renameat2, from_directory, from, to_directory, to, 0);
  if (result != 0) return static_cast<int>(result);
  auto log = sheaf::testing::TheLog().Lock();
  const auto old_path = sheaf::testing::Relative(*log, PathAt(from_directory, from));
  const auto new_path = sheaf::testing::Relative(*log, PathAt(to_directory, to));
  if (old_path && new_path) log->events.push_back("rename " + *old_path + " to " + *new_path);
  return 0;
}

}  // extern "C"
