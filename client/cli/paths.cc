#include "client/cli/paths.h"

#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "client/cli/mounts.h"

namespace sheaf::cli {
namespace {

constexpr const char* kPrefix = "sheaf:";

Status CheckAddress(const std::string& address, const std::string& from) {
  const size_t colon = address.rfind(':');
  uint16_t port = 0;
  const char* last = address.data() + address.size();
  if (colon != std::string::npos && colon > 0) {
    auto [end, error] = std::from_chars(address.data() + colon + 1, last, port);
    if (error == std::errc() && end == last && port != 0) return Status::Ok();
  }
  return {Code::kUsage, from + " \"" + address + "\": not HOST:PORT of a metadata service"};
}

std::optional<std::string> SourceOfMount(const std::vector<Mount>& mounts, const std::string& path) {
  if (path.starts_with(kPrefix)) return std::nullopt;
  auto absolute = AbsolutePath(path);
  if (!absolute.ok()) return std::nullopt;
  const Mount* mount = FindMountOf(mounts, *absolute);
  if (mount == nullptr || mount->type != kMountType) return std::nullopt;
  return mount->source;
}

// Of "/a/./b//../c": "/a/c"; never above the root.
std::string Normal(const std::string& path) {
  std::string text = ("/" / std::filesystem::path(path).relative_path()).lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

}  // namespace

std::string DefaultDirectory() {
  const char* home = std::getenv("HOME");
  return std::string(home != nullptr && *home != '\0' ? home : "/root") + "/.sheaf";
}

Result<std::string> AbsolutePath(const std::string& path) {
  if (path.empty()) return Status(Code::kUsage, "path \"\": empty");
  std::error_code failed;
  std::filesystem::path full = std::filesystem::absolute(path, failed);
  if (failed) return Status(Code::kIo, "path " + path + ": " + failed.message());
  while (full != full.root_path() && full.filename().empty()) full = full.parent_path();
  const auto name = full.filename();
  const bool whole = name == "." || name == ".." || full == full.root_path();
  auto canonical = std::filesystem::weakly_canonical(whole ? full : full.parent_path(), failed);
  if (failed) return Status(Code::kIo, "path " + path + ": " + failed.message());
  return Normal((whole ? canonical : canonical / name).string());
}

Result<std::string> FindMeta(const std::string& given, const std::vector<std::string>& paths) {
  if (!given.empty()) {
    RETURN_IF_ERROR(CheckAddress(given, "--meta"));
    return given;
  }
  const std::vector<Mount> mounts = ReadMounts();
  for (const std::string& path : paths) {
    if (auto source = SourceOfMount(mounts, path)) return *source;
  }
  if (auto source = SourceOfMount(mounts, ".")) return *source;
  if (const char* variable = std::getenv("SHEAF_META"); variable != nullptr && *variable != '\0') {
    RETURN_IF_ERROR(CheckAddress(variable, "SHEAF_META"));
    return std::string(variable);
  }
  const std::string file = DefaultDirectory() + "/meta.addr";
  std::string address;
  if (std::getline(std::ifstream(file), address)) {
    RETURN_IF_ERROR(CheckAddress(address, file));
    return address;
  }
  return Status(Code::kUsage,
                "no cluster is known: not inside a mount, no --meta HOST:PORT, no SHEAF_META, and no " +
                    file + "; start one with sheaf up");
}

Result<PathArgument> ParsePath(const std::string& text, const std::string& meta) {
  if (text.empty()) return Status(Code::kUsage, "path \"\": empty");
  if (text.starts_with(kPrefix)) {
    const std::string path = text.substr(std::string(kPrefix).size());
    if (!path.starts_with("/")) {
      return Status(Code::kUsage, "path " + text + ": write sheaf:/PATH, from the root of the file system");
    }
    return PathArgument{true, Normal(path)};
  }
  ASSIGN_OR_RETURN(const std::string absolute, AbsolutePath(text));
  const std::vector<Mount> mounts = ReadMounts();
  const Mount* mount = FindMountOf(mounts, absolute);
  if (mount == nullptr || mount->type != kMountType || mount->source != meta) {
    return PathArgument{false, absolute};
  }
  return PathArgument{true, Normal(mount->root + "/" + absolute.substr(mount->point.size()))};
}

}  // namespace sheaf::cli
