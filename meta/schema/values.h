#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "common/ids.h"
#include "common/layout.h"
#include "common/status.h"

// Every value of the metadata store but the cluster manager's protobuf rows. A value is one version
// byte and its fields (docs/FORMAT.md has the byte tables): unsigned integers as LEB128 varints,
// times and hashes as 8 little-endian bytes, text as a varint length and its bytes.
//
// Decoders are bounded: what they allocate is never more than what they were given. They answer
// kCorrupt for a wrong length, a field out of range or trailing bytes, and kInvalid for a version
// newer than theirs.

namespace sheaf::meta {

// The format of the whole store, at FormatVersionKey().
inline constexpr uint64_t kFormatVersion = 1;

inline constexpr size_t kMaxNameBytes = 255;
inline constexpr size_t kMaxSymlinkBytes = 4095;
inline constexpr size_t kMaxXattrBytes = 65536;
inline constexpr size_t kMaxDescriptionBytes = 4096;
inline constexpr size_t kMaxXattrListBytes = 65536;  // names of one inode, each with its NUL
inline constexpr uint32_t kMaxLinks = 0x7fffffff;
// No directory is made in or moved into one that has more directories than this above it.
inline constexpr uint32_t kMaxDirectoryDepth = 2048;

// Cookies of a directory: "." and ".." have no rows.
inline constexpr uint64_t kDotCookie = 1;
inline constexpr uint64_t kDotDotCookie = 2;
inline constexpr uint64_t kFirstCookie = 3;

// Times are nanoseconds since 1970-01-01 UTC. Fields below the common ones are stored only for the
// type that has them.
struct Inode {
  InodeId id;  // of the key, not in the value
  uint32_t mode = 0;
  uint32_t nlink = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t project_id = 0;
  uint32_t flags = 0;  // none is defined
  uint64_t version = 0;
  int64_t atime_ns = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  int64_t btime_ns = 0;

  // Regular files.
  uint64_t size = 0;
  DataId data_id;
  SizeEpoch size_epoch;
  Layout layout;
  uint32_t writers = 0;     // write-open rows that name this inode
  uint64_t append_end = 0;  // of the last range reserved in this epoch (from version 2)

  // Directories.
  InodeId parent;
  uint64_t next_cookie = kFirstCookie;
  uint64_t entries = 0;          // "." and ".." not counted
  uint32_t chunk_size_log2 = 0;  // for new files; inherited by new directories
  // Inode numbers taken for this directory's next children, [next, end), so that children of one
  // directory lie together.
  uint64_t run_next = 0;
  uint64_t run_end = 0;

  std::string target;  // symbolic links
  uint64_t rdev = 0;   // devices

  bool IsRegular() const { return S_ISREG(mode); }
  bool IsDirectory() const { return S_ISDIR(mode); }
  bool IsSymlink() const { return S_ISLNK(mode); }
  bool IsDevice() const { return S_ISBLK(mode) || S_ISCHR(mode); }
  friend bool operator==(const Inode&, const Inode&) = default;
};

struct Dentry {
  InodeId inode;
  uint32_t type = 0;  // S_IFMT bits
  uint64_t cookie = 0;
  friend bool operator==(const Dentry&, const Dentry&) = default;
};

struct DirectoryEntryRow {
  InodeId inode;
  uint32_t type = 0;  // S_IFMT bits
  std::string name;
  friend bool operator==(const DirectoryEntryRow&, const DirectoryEntryRow&) = default;
};

struct Session {
  std::string description;  // at most kMaxDescriptionBytes
  int64_t opened_ns = 0;
  uint64_t acked_removal_epoch = 0;
  bool fenced = false;  // refused by the executor; the row goes when its files are settled
  friend bool operator==(const Session&, const Session&) = default;
};

// How often a session has a file open for writing.
struct WriteOpen {
  uint64_t count = 0;
  friend bool operator==(const WriteOpen&, const WriteOpen&) = default;
};

// The final answer of one mutation.
struct StoredResult {
  // Of the request that was answered: the largest of a session's rows is its lowest outstanding
  // sequence, so that pruning needs no row of its own.
  uint64_t lowest_outstanding = 0;
  Code code = Code::kOk;
  std::string body;  // the response when kOk, else the message
  friend bool operator==(const StoredResult&, const StoredResult&) = default;
};

// Something to be reclaimed once every session has acknowledged its epoch and none pins it.
struct Removal {
  enum class Kind : uint8_t {
    kInode = 1,  // no link is left: chunks if regular, then rows
    kData = 2,   // replaced bytes of a living file: chunks only
  };
  Kind kind = Kind::kInode;
  InodeId inode;
  DataId data_id;  // not set: there are no chunks
  Layout layout;
  uint64_t size = 0;  // as last known; a writer may have left more
  friend bool operator==(const Removal&, const Removal&) = default;
};

// A file was shortened and chunks beyond `keep_bytes` are still to be trimmed.
struct TruncateIntent {
  SizeEpoch size_epoch;  // of the inode when it was shortened last
  DataId data_id;
  Layout layout;
  uint64_t keep_bytes = 0;
  uint64_t old_bytes = 0;  // the length before the first shortening that is not trimmed yet
  friend bool operator==(const TruncateIntent&, const TruncateIntent&) = default;
};

struct Usage {
  uint64_t inodes = 0;
  uint64_t bytes = 0;  // sum of file lengths
  friend bool operator==(const Usage&, const Usage&) = default;
};

// The last batch in the store.
struct ExecutorState {
  uint64_t term = 0;
  uint64_t index = 0;
  friend bool operator==(const ExecutorState&, const ExecutorState&) = default;
};

std::string EncodeInode(const Inode& inode);
std::string EncodeDentry(const Dentry& dentry);
std::string EncodeDirectoryEntry(const DirectoryEntryRow& row);
std::string EncodeSession(const Session& session);
std::string EncodeWriteOpen(const WriteOpen& open);
std::string EncodeResult(const StoredResult& result);
std::string EncodeRemoval(const Removal& removal);
std::string EncodeTruncateIntent(const TruncateIntent& intent);
std::string EncodeUsage(const Usage& usage);
std::string EncodeExecutorState(const ExecutorState& state);
std::string EncodeCounter(uint64_t value);

Result<Inode> DecodeInode(InodeId id, std::string_view bytes);
Result<Dentry> DecodeDentry(std::string_view bytes);
Result<DirectoryEntryRow> DecodeDirectoryEntry(std::string_view bytes);
Result<Session> DecodeSession(std::string_view bytes);
Result<WriteOpen> DecodeWriteOpen(std::string_view bytes);
Result<StoredResult> DecodeResult(std::string_view bytes);
Result<Removal> DecodeRemoval(std::string_view bytes);
Result<TruncateIntent> DecodeTruncateIntent(std::string_view bytes);
Result<Usage> DecodeUsage(std::string_view bytes);
Result<ExecutorState> DecodeExecutorState(std::string_view bytes);
Result<uint64_t> DecodeCounter(std::string_view bytes);

}  // namespace sheaf::meta
