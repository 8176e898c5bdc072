#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/fd.h"
#include "common/status.h"

namespace sheaf {

// A directory that holds the state of one daemon: known by a marker file and held by one process.
//
// The marker, a file named SHEAF, is four lines of text:
//
//   sheaf state directory
//   kind=storage
//   format=1
//   uuid=1b4e28ba-2fa1-41d2-883f-0016d3cca427
//
// Invariants
// 1. A directory that has other things in it and no marker is never written to.
// 2. A marker is complete or absent: it is written aside, synced, renamed, and the directory
// synced.
// 3. The directory itself is flock'ed as long as the object lives, before anything in it is read,
//    so that no two processes use it; the kernel lets go when the process dies, however it dies.
class StateDir {
 public:
  // With `create`, a missing or empty directory becomes one of `kind` with `format_version`
  // (missing parents are made). Otherwise what is there must be of that kind and not newer.
  // Errors name the directory, what was found and the remedy:
  //   kNotFound     missing or empty, and not to be created
  //   kExists       not empty and not ours
  //   kInvalid      of another kind
  //   kUnsupported  of a newer format
  //   kCorrupt      the marker cannot be read as one
  //   kBusy         another process holds it
  //   kReadOnly     to be created or written, but on a read-only file system
  static Result<StateDir> Open(const std::string& path, const std::string& kind,
                               uint32_t format_version, bool create);

  const std::string& path() const { return path_; }
  // Made with the directory; names the daemon to its cluster for ever.
  const std::string& uuid() const { return uuid_; }
  // As found: at most what was asked for.
  uint32_t format_version() const { return format_version_; }

 private:
  StateDir() = default;
  Status Create(const std::string& kind, uint32_t format_version);
  Status ReadMarker(std::string_view text, const std::string& kind, uint32_t format_version);

  UniqueFd lock_;  // the directory, open and locked
  std::string path_;
  std::string uuid_;
  uint32_t format_version_ = 0;
};

// What a directory's marker says.
struct StateMarker {
  std::string kind;
  uint32_t format_version = 0;
  std::string uuid;
};
// Takes no lock and changes nothing: for a look from outside, also while a daemon uses it.
// kNotFound without a marker; kCorrupt for a damaged one.
Result<StateMarker> ReadStateMarker(const std::string& path);

// Writes `text` to DIR/NAME so that after a crash the file has the old or the new content: aside,
// synced, renamed, directory synced. `dir_fd` is the open directory, `what` names it in errors.
Status WriteFileDurably(int dir_fd, const std::string& name, std::string_view text,
                        const std::string& what);

}  // namespace sheaf
