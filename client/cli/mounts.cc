#include "client/cli/mounts.h"

#include <sys/mount.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "client/cli/process.h"

namespace sheaf::cli {
namespace {

constexpr int kMaxStacked = 32;     // dead mounts on one point
constexpr size_t kMaxUsersNamed = 5;

// mountinfo writes space, tab, newline and backslash as \ooo.
std::string Unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && text[i + 1] >= '0' && text[i + 1] <= '3') {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                               (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool IsWithin(const std::string& path, const std::string& directory) {
  if (directory == "/") return true;
  return path == directory || path.starts_with(directory + "/");
}

bool Uses(const std::filesystem::path& proc, const std::string& point) {
  std::error_code failed;
  for (const char* link : {"cwd", "root", "exe"}) {
    const auto target = std::filesystem::read_symlink(proc / link, failed);
    if (!failed && target != "/" && IsWithin(target.string(), point)) return true;
  }
  std::filesystem::directory_iterator fds(proc / "fd", failed);
  if (failed) return false;
  for (const auto& fd : fds) {
    const auto target = std::filesystem::read_symlink(fd.path(), failed);
    if (!failed && IsWithin(target.string(), point)) return true;
  }
  return false;
}

// The kernel answers so once the process behind a mount has gone. Not stat: that may still be
// answered from the kernel's cache.
bool IsDead(const std::string& point) {
  struct statfs found {};
  return statfs(point.c_str(), &found) != 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

// "bash (pid 12), vim (pid 15)": who has a file or its working directory there.
std::string UsersOf(const std::string& point) {
  std::string users;
  size_t named = 0;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", failed)) {
    const std::string pid = entry.path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    if (!Uses(entry.path(), point) || named == kMaxUsersNamed) continue;
    std::string name;
    std::getline(std::ifstream(entry.path() / "comm"), name);
    users += (named++ > 0 ? ", " : "") + name + " (pid " + pid + ")";
  }
  return users;
}

}  // namespace

std::vector<Mount> ParseMountInfo(std::string_view text) {
  std::vector<Mount> mounts;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    // id parent major:minor root point options [optional...] - type source options
    std::istringstream words(line);
    std::string skip, root, point, type, source;
    words >> skip >> skip >> skip >> root >> point >> skip;
    while (words >> skip && skip != "-") {
    }
    if (words >> type >> source) {
      mounts.push_back({Unescape(point), Unescape(root), type, Unescape(source)});
    }
  }
  return mounts;
}

std::vector<Mount> ReadMounts() {
  std::ostringstream text;
  text << std::ifstream("/proc/self/mountinfo").rdbuf();
  return ParseMountInfo(text.str());
}

const Mount* FindMountOf(const std::vector<Mount>& mounts, const std::string& path) {
  const Mount* found = nullptr;
  for (const Mount& mount : mounts) {
    if (!IsWithin(path, mount.point)) continue;
    if (found == nullptr || mount.point.size() >= found->point.size()) found = &mount;
  }
  return found;
}

std::optional<Mount> SheafMountAt(const std::string& point) {
  const std::vector<Mount> mounts = ReadMounts();
  const Mount* mount = FindMountOf(mounts, point);
  if (mount == nullptr || mount->point != point || mount->type != kMountType) return std::nullopt;
  return *mount;
}

Status Unmount(const std::string& point, bool lazily) {
  if (geteuid() == 0) {
    if (umount2(point.c_str(), lazily ? MNT_DETACH : 0) == 0) return Status::Ok();
    if (errno != EBUSY) return Status::FromErrno(errno, "unmount " + point);
  } else {
    const Status status =
        RunTool({"fusermount3", "-u", lazily ? "-z" : "-q", "--", point}).status();
    if (status.ok() || !SheafMountAt(point).has_value()) return Status::Ok();
    if (lazily) return status.With("unmount " + point);
  }
  const std::string users = UsersOf(point);
  return {Code::kBusy, "unmount " + point + ": in use" + (users.empty() ? "" : " by " + users) +
                           "; end what uses it and try again"};
}

Status ClearDeadMounts(const std::string& point) {
  for (int i = 0; i < kMaxStacked && SheafMountAt(point).has_value() && IsDead(point); ++i) {
    RETURN_IF_ERROR(Unmount(point, true));
  }
  return Status::Ok();
}

}  // namespace sheaf::cli
