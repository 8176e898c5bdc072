#include "common/state_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <memory>
#include <optional>

#include "common/uuid.h"

namespace sheaf {
namespace {

constexpr const char* kMarkerName = "SHEAF";
constexpr std::string_view kFirstLine = "sheaf state directory\n";
constexpr size_t kMaxMarkerBytes = 4096;

std::string Name(const std::string& path) { return "state directory " + path; }

Status ReadOnly(const std::string& path, const std::string& place) {
  return {Code::kReadOnly, Name(path) + ": the file system of " + place +
                               " is read-only; remount it writable or name another directory"};
}

Status SyncPath(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.IsOpen() || fsync(fd.get()) != 0) return Status::FromErrno(errno, "sync " + path);
  return Status::Ok();
}

// Makes the directory with its parents; each new entry is synced in its parent.
Status MakeDirectories(const std::string& path) {
  std::filesystem::path built;
  for (const auto& part : std::filesystem::path(path)) {
    built /= part;
    if (built.filename().empty()) continue;
    if (mkdir(built.c_str(), 0755) == 0) {
      const auto parent = built.parent_path();
      RETURN_IF_ERROR(SyncPath(parent.empty() ? "." : parent.string()));
    } else if (errno == EROFS) {
      return ReadOnly(path, built.parent_path().string());
    } else if (errno != EEXIST) {
      return Status::FromErrno(errno, Name(path) + ": cannot be created");
    }
  }
  return Status::Ok();
}

Result<UniqueFd> OpenLocked(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.IsOpen()) return Status::FromErrno(errno, Name(path) + ": cannot be opened");
  if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno != EWOULDBLOCK) return Status::FromErrno(errno, Name(path) + ": cannot be locked");
  return Status(Code::kBusy, Name(path) + ": another process is using it; stop that one first");
}

// The name of something in the directory that is not ours, or nothing. A disk's lost+found and a
// marker that was being written when the machine stopped do not count.
Result<std::optional<std::string>> FirstForeignEntry(int dir_fd, const std::string& path) {
  struct CloseDir {
    void operator()(DIR* dir) const { closedir(dir); }
  };
  UniqueFd copy(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::unique_ptr<DIR, CloseDir> dir(copy.IsOpen() ? fdopendir(copy.get()) : nullptr);
  if (dir == nullptr) return Status::FromErrno(errno, Name(path) + ": cannot be listed");
  copy.Release();
  while (const dirent* entry = readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == ".." || name == "lost+found") continue;
    if (name == std::string(kMarkerName) + ".new") continue;
    return std::optional<std::string>(name);
  }
  return std::optional<std::string>();
}

// The whole of a small file, or nothing when there is none.
Result<std::optional<std::string>> ReadSmallFile(int dir_fd, const char* name,
                                                 const std::string& path) {
  UniqueFd fd(openat(dir_fd, name, O_RDONLY | O_CLOEXEC));
  if (!fd.IsOpen()) {
    if (errno == ENOENT) return std::optional<std::string>();
    return Status::FromErrno(errno, Name(path) + ": open " + name);
  }
  std::string text(kMaxMarkerBytes, '\0');
  const ssize_t got = read(fd.get(), text.data(), text.size());
  if (got < 0) return Status::FromErrno(errno, Name(path) + ": read " + name);
  text.resize(static_cast<size_t>(got));
  return std::optional<std::string>(std::move(text));
}

// The value of a "key=value" line, or nothing.
std::optional<std::string> Field(std::string_view text, const std::string& key) {
  const std::string start = "\n" + key + "=";
  const size_t at = text.find(start);
  if (at == std::string_view::npos) return std::nullopt;
  const size_t begin = at + start.size();
  const size_t end = text.find('\n', begin);
  if (end == std::string_view::npos) return std::nullopt;
  return std::string(text.substr(begin, end - begin));
}

std::optional<uint32_t> ParseNumber(const std::optional<std::string>& text) {
  if (!text.has_value()) return std::nullopt;
  uint32_t number = 0;
  const char* last = text->data() + text->size();
  auto [end, error] = std::from_chars(text->data(), last, number);
  if (error != std::errc() || end != last || text->empty()) return std::nullopt;
  return number;
}

Status WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t wrote = write(fd, text.data(), text.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return Status::FromErrno(errno, "write");
    text.remove_prefix(static_cast<size_t>(wrote));
  }
  return Status::Ok();
}

Result<StateMarker> ParseMarker(std::string_view text, const std::string& path) {
  const auto kind = Field(text, "kind");
  const auto format = ParseNumber(Field(text, "format"));
  const auto uuid = Field(text, "uuid");
  if (!text.starts_with(kFirstLine) || !kind || !format || *format == 0 || !uuid ||
      !IsUuid(*uuid)) {
    return Status(Code::kCorrupt, Name(path) + ": its marker file " + kMarkerName +
                                      " is damaged; restore that file, or name another directory");
  }
  return StateMarker{*kind, *format, *uuid};
}

}  // namespace

Result<StateMarker> ReadStateMarker(const std::string& path) {
  UniqueFd dir(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir.IsOpen()) return Status::FromErrno(errno, Name(path) + ": cannot be opened");
  ASSIGN_OR_RETURN(const auto text, ReadSmallFile(dir.get(), kMarkerName, path));
  if (text.has_value()) return ParseMarker(*text, path);
  return Status(Code::kNotFound, Name(path) + ": it has no marker file " + kMarkerName +
                                     "; name a daemon's state directory or a target");
}

Status WriteFileDurably(int dir_fd, const std::string& name, std::string_view text,
                        const std::string& what) {
  const std::string aside = name + ".new";
  UniqueFd fd(openat(dir_fd, aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.IsOpen()) return Status::FromErrno(errno, what + ": create " + aside);
  RETURN_IF_ERROR(WriteAll(fd.get(), text).With(what + ": " + aside));
  // Content before the name, so that the name never shows an empty file; then the name itself.
  if (fsync(fd.get()) != 0) return Status::FromErrno(errno, what + ": sync " + aside);
  if (renameat(dir_fd, aside.c_str(), dir_fd, name.c_str()) != 0) {
    return Status::FromErrno(errno, what + ": rename " + aside + " to " + name);
  }
  if (fsync(dir_fd) != 0) return Status::FromErrno(errno, what + ": sync");
  return Status::Ok();
}

Result<StateDir> StateDir::Open(const std::string& path, const std::string& kind,
                                uint32_t format_version, bool create) {
  if (path.empty()) return Status(Code::kUsage, "state directory: the path is empty");
  if (create) RETURN_IF_ERROR(MakeDirectories(path));

  StateDir dir;
  dir.path_ = path;
  ASSIGN_OR_RETURN(dir.lock_, OpenLocked(path));
  struct statvfs disk {};
  if (create && fstatvfs(dir.lock_.get(), &disk) == 0 && (disk.f_flag & ST_RDONLY) != 0) {
    return ReadOnly(path, path);
  }
  ASSIGN_OR_RETURN(auto marker, ReadSmallFile(dir.lock_.get(), kMarkerName, path));
  if (marker.has_value()) {
    RETURN_IF_ERROR(dir.ReadMarker(*marker, kind, format_version));
    return dir;
  }
  ASSIGN_OR_RETURN(auto foreign, FirstForeignEntry(dir.lock_.get(), path));
  if (foreign.has_value()) {
    return Status(Code::kExists, Name(path) + ": not a Sheaf directory and not empty (has \"" +
                                     *foreign + "\"); name an empty or a new directory");
  }
  if (!create) {
    return Status(Code::kNotFound,
                  Name(path) + ": empty; name one that holds state of kind " + kind);
  }
  RETURN_IF_ERROR(dir.Create(kind, format_version));
  return dir;
}

Status StateDir::Create(const std::string& kind, uint32_t format_version) {
  uuid_ = NewUuid();
  format_version_ = format_version;
  const std::string text = std::string(kFirstLine) + "kind=" + kind +
                           "\nformat=" + std::to_string(format_version) + "\nuuid=" + uuid_ + "\n";
  return WriteFileDurably(lock_.get(), kMarkerName, text, Name(path_));
}

Status StateDir::ReadMarker(std::string_view text, const std::string& kind,
                            uint32_t format_version) {
  ASSIGN_OR_RETURN(const StateMarker found, ParseMarker(text, path_));
  if (found.kind != kind) {
    return {Code::kInvalid, Name(path_) + ": holds state of kind " + found.kind + ", not " + kind +
                                "; name another directory"};
  }
  if (found.format_version > format_version) {
    return {Code::kUnsupported, Name(path_) + ": has format " +
                                    std::to_string(found.format_version) +
                                    ", this program knows up to " + std::to_string(format_version) +
                                    "; use the newer Sheaf that wrote it"};
  }
  uuid_ = found.uuid;
  format_version_ = found.format_version;
  return Status::Ok();
}

}  // namespace sheaf
