#include "fuse/mountinfo.h"

#include <fcntl.h>

#include <cerrno>
#include <fstream>
#include <sstream>

#include "common/fd.h"

namespace sheaf::fuse {
namespace {

// Undoes the kernel's escapes of blanks and backslashes: "\040" and the like.
std::string Unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escape =
        text[i] == '\\' && i + 3 < text.size() && text[i + 1] >= '0' && text[i + 1] <= '3';
    if (!escape) {
      out.push_back(text[i]);
      continue;
    }
    out.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                    (text[i + 3] - '0')));
    i += 3;
  }
  return out;
}

}  // namespace

std::optional<std::string> FindMountDevice(std::string_view mountinfo, std::string_view directory) {
  // "36 35 98:0 /root /mount/point rw,noatime master:1 - type source options"
  std::optional<std::string> device;
  std::istringstream lines{std::string(mountinfo)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string id, parent, numbers, root, point;
    if (fields >> id >> parent >> numbers >> root >> point && Unescape(point) == directory) {
      device = numbers;
    }
  }
  return device;
}

Status SetReadAhead(const std::string& directory, uint32_t kib) {
  std::ifstream file("/proc/self/mountinfo");
  std::stringstream text;
  text << file.rdbuf();
  const auto device = FindMountDevice(text.str(), directory);
  if (!device.has_value()) {
    return {Code::kNotFound, "read-ahead of " + directory + ": not in /proc/self/mountinfo"};
  }
  const std::string path = "/sys/class/bdi/" + *device + "/read_ahead_kb";
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.IsOpen()) return Status::FromErrno(errno, "open " + path);
  const std::string value = std::to_string(kib);
  if (write(fd.get(), value.data(), value.size()) < 0) {
    return Status::FromErrno(errno, "write " + value + " to " + path);
  }
  return Status::Ok();
}

}  // namespace sheaf::fuse
