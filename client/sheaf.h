#pragma once

#include <sys/stat.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/ids.h"
#include "common/result.h"

// The public interface of Sheaf's client library: everything that the mount can do, by path and by
// inode.
//
//   auto client = sheaf::Client::Connect({.meta_address = "127.0.0.1:7700"});
//   auto file = (*client)->OpenPath("/train/0001.jpg", O_RDONLY);
//   auto size = (*file)->Read(0, buffer);
//
// All classes are thread-safe. There is no global state. Every call ends within its deadline
// (ClientOptions); what failed says so by Status, whose ToErrno() is POSIX's answer.

namespace sheaf {

class Metrics;

// Who acts, for permission checks.
struct Credentials {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;  // supplementary

  // The process' effective ids.
  static Credentials OfProcess();
};

struct ClientOptions {
  std::string meta_address;  // "host:port" of the metadata service
  std::chrono::milliseconds meta_timeout{30'000};
  std::chrono::milliseconds data_timeout{30'000};
  int connections_per_server = 1;
  bool use_unix_sockets = true;  // to servers of the same machine
  // Memory over all files for what was written and is not on the chains yet; 0: File::Write returns
  // when the bytes are durable.
  size_t write_behind_bytes = size_t{64} << 20;
  std::chrono::milliseconds write_behind_delay{1000};  // bytes wait in memory at most this long
  // A file read in order is fetched this far ahead; 0: not.
  size_t read_ahead_bytes = size_t{8} << 20;
  // Where calls are counted, by the names that begin with sheaf_client_; null: nowhere. Outlives
  // the client, and stops serving before it goes.
  Metrics* metrics = nullptr;
  std::string description = {};  // shown by `sheaf status`; empty: host, program and pid
};

// Times are nanoseconds since 1970-01-01 UTC.
struct FileAttr {
  InodeId inode;
  uint32_t mode = 0;  // type and permission bits, as st_mode
  uint32_t nlink = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t rdev = 0;
  uint64_t size = 0;
  int64_t atime_ns = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  int64_t btime_ns = 0;
  uint64_t version = 0;   // raised by every change of the inode
  DataId data_id;         // regular files: names the bytes
  uint32_t chunk_size = 0;

  bool IsRegular() const { return S_ISREG(mode); }
  bool IsDirectory() const { return S_ISDIR(mode); }
};

// What SetAttr changes: what is present. `size` is applied first, then the rest in one step.
struct AttrChange {
  std::optional<uint32_t> mode = {};
  std::optional<uint32_t> uid = {};
  std::optional<uint32_t> gid = {};
  std::optional<uint64_t> size = {};
  std::optional<int64_t> atime_ns = {};
  std::optional<int64_t> mtime_ns = {};
  bool atime_now = false;
  bool mtime_now = false;
};

struct DirectoryEntry {
  std::string name;
  InodeId inode;
  uint32_t type = 0;              // S_IFMT bits
  uint64_t cookie = 0;            // continue after this entry
  std::optional<FileAttr> attr;   // when asked for
};

struct DirectoryPage {
  std::vector<DirectoryEntry> entries;
  bool end = false;
};

struct FileSystemStats {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
  uint64_t files = 0;
  uint64_t max_files = 0;
};

// An open regular file. Destruction closes it, dropping the error: call Close where it matters.
class File {
 public:
  using IoDone = std::function<void(Result<size_t>)>;

  virtual ~File() = default;

  // Bytes from `offset` to the end of `into` or of the file; 0 at or past the end. Holes are zeros.
  virtual Result<size_t> Read(uint64_t offset, std::span<uint8_t> into) = 0;
  // All of `from`, or an error. The bytes are in this client's memory when it returns, and durable
  // after Sync or Close; opened with O_SYNC, O_DSYNC or O_DIRECT, or without write-behind, they are
  // durable at once. Bytes and length are seen at once through this client, and by others after
  // Sync or Close. May answer, once, the failure of an earlier write whose bytes are lost.
  virtual Result<size_t> Write(uint64_t offset, std::span<const uint8_t> from) = 0;
  // O_APPEND: writes at the end, wherever other clients have moved it; answers the offset.
  virtual Result<uint64_t> Append(std::span<const uint8_t> from) = 0;
  // As Read and Write, but written bytes are not copied: they are durable when `done` runs. Memory
  // stays valid until then. `done` runs on a library thread, the caller's, or any thread that waits
  // in another call of this client: it must not block, nor take a lock that is held over such a call.
  virtual void ReadAsync(uint64_t offset, std::span<uint8_t> into, IoDone done) = 0;
  virtual void WriteAsync(uint64_t offset, std::span<const uint8_t> from, IoDone done) = 0;

  // Makes what was written durable, then settles the length at the metadata service: fsync. A
  // failure to write bytes back is told once to each handle that was open for writing: here, at
  // Write or at Close.
  virtual Status Sync() = 0;
  // Sync for close(2) of one of several descriptors of this handle; spares the call that Close
  // makes if nothing is written any more.
  virtual Status Flush() = 0;
  virtual Status Truncate(uint64_t size) = 0;
  virtual Result<FileAttr> Stat() = 0;
  // As answered when the file was opened.
  virtual FileAttr OpenedAttr() const = 0;
  // Sync, then the end of this handle. Errors of the last writes surface here.
  virtual Status Close() = 0;

  virtual InodeId inode() const = 0;
};

class Client {
 public:
  // Reaches the metadata service, opens a session and fetches the cluster map.
  // kUnavailable names the address.
  static Result<std::unique_ptr<Client>> Connect(const ClientOptions& options);
  // Ends the session; open files must be gone.
  virtual ~Client() = default;

  // --- By inode: what a kernel asks ---
  virtual Result<FileAttr> Lookup(const Credentials& who, InodeId parent, std::string_view name) = 0;
  // With the length as this client's open files know it.
  virtual Result<FileAttr> GetAttr(const Credentials& who, InodeId inode) = 0;
  virtual Result<FileAttr> SetAttr(const Credentials& who, InodeId inode,
                                   const AttrChange& change, File* handle = nullptr) = 0;
  virtual Result<FileAttr> Mkdir(const Credentials& who, InodeId parent, std::string_view name,
                                 uint32_t mode) = 0;
  virtual Result<FileAttr> Mknod(const Credentials& who, InodeId parent, std::string_view name,
                                 uint32_t mode, uint64_t rdev) = 0;
  virtual Result<FileAttr> Symlink(const Credentials& who, InodeId parent, std::string_view name,
                                   std::string_view target) = 0;
  virtual Result<std::string> Readlink(const Credentials& who, InodeId inode) = 0;
  virtual Result<FileAttr> Link(const Credentials& who, InodeId inode, InodeId new_parent,
                                std::string_view new_name) = 0;
  // `parent_after`, where given: the directory after the change, if the service told it.
  virtual Status Unlink(const Credentials& who, InodeId parent, std::string_view name,
                        std::optional<FileAttr>* parent_after = nullptr) = 0;
  virtual Status Rmdir(const Credentials& who, InodeId parent, std::string_view name) = 0;
  // `flags`: Linux RENAME_NOREPLACE and RENAME_EXCHANGE.
  virtual Status Rename(const Credentials& who, InodeId parent, std::string_view name,
                        InodeId new_parent, std::string_view new_name, uint32_t flags) = 0;
  // open(2) flags; O_CREAT is Create's.
  virtual Result<std::shared_ptr<File>> Open(const Credentials& who, InodeId inode, int flags) = 0;

  struct Created {
    std::shared_ptr<File> file;
    FileAttr attr;
    bool created = false;
    std::optional<FileAttr> parent;  // the directory after the change, if the service told it
  };
  virtual Result<Created> Create(const Credentials& who, InodeId parent, std::string_view name,
                                 uint32_t mode, int flags) = 0;
  // One page after `cookie` (0: the start), "." and ".." included.
  virtual Result<DirectoryPage> ReadDirectory(const Credentials& who, InodeId inode,
                                              uint64_t cookie, uint32_t max_entries,
                                              bool with_attributes) = 0;
  virtual Result<FileSystemStats> StatFs() = 0;
  // `flags`: Linux XATTR_CREATE and XATTR_REPLACE.
  virtual Status SetXattr(const Credentials& who, InodeId inode, std::string_view name,
                          std::span<const uint8_t> value, int flags) = 0;
  virtual Result<std::string> GetXattr(const Credentials& who, InodeId inode,
                                       std::string_view name) = 0;
  virtual Result<std::vector<std::string>> ListXattr(const Credentials& who, InodeId inode) = 0;
  virtual Status RemoveXattr(const Credentials& who, InodeId inode, std::string_view name) = 0;

  // If this client has written the file since its times were stamped by the metadata service, has
  // them stamped and answers its attributes: then no later Sync or Close changes times that were
  // shown. Waits for no data.
  virtual Result<std::optional<FileAttr>> StampTimes(InodeId inode) = 0;

  // Sync for every file this client has open: syncfs.
  virtual Status SyncAll() = 0;

  // --- By path, as the process' own user; absolute within the file system ---
  // Symlinks are followed (at most 40: kLoop), the last component's only where `follow`.
  virtual Result<FileAttr> StatPath(std::string_view path, bool follow = true) = 0;
  // open(2): O_CREAT, O_EXCL and O_TRUNC included.
  virtual Result<std::shared_ptr<File>> OpenPath(std::string_view path, int flags,
                                                 uint32_t mode = 0644) = 0;
  virtual Result<FileAttr> MkdirPath(std::string_view path, uint32_t mode = 0755) = 0;
  virtual Status UnlinkPath(std::string_view path) = 0;
  virtual Status RmdirPath(std::string_view path) = 0;
  virtual Status RenamePath(std::string_view from, std::string_view to) = 0;
  // The parent directory's inode and the last name: for what has no path call of its own.
  struct Location {
    InodeId parent;
    std::string name;
  };
  virtual Result<Location> Locate(std::string_view path) = 0;

  // --- Many at once ---
  // Of any number of entries: they are cut into batches, several of which are under way at a time,
  // so that thousands cost a few round trips. One result an entry, in order; each entry succeeds or
  // fails by itself, and they are executed in no particular order. Errors are those of the single
  // calls.
  struct Entry {
    InodeId parent;
    std::string name;
  };
  virtual std::vector<Result<FileAttr>> LookupMany(const Credentials& who,
                                                   std::span<const Entry> entries) = 0;
  // As StatPath, each directory that the paths share being looked up once.
  virtual std::vector<Result<FileAttr>> StatPaths(std::span<const std::string> paths,
                                                  bool follow = true) = 0;
  struct NewEntry {
    InodeId parent;
    std::string name;
    uint32_t mode = 0644;  // permission bits
  };
  // Empty files; kExists where the name is taken.
  virtual std::vector<Result<FileAttr>> CreateMany(const Credentials& who,
                                                   std::span<const NewEntry> entries) = 0;
  virtual std::vector<Result<FileAttr>> MkdirMany(const Credentials& who,
                                                  std::span<const NewEntry> entries) = 0;
  virtual std::vector<Status> UnlinkMany(const Credentials& who,
                                         std::span<const Entry> entries) = 0;
  struct InodeChange {
    InodeId inode;
    AttrChange change;  // without a size
  };
  virtual std::vector<Result<FileAttr>> SetAttrMany(const Credentials& who,
                                                    std::span<const InodeChange> changes) = 0;
  struct WholeFile {
    InodeId parent;
    std::string name;
    std::span<const uint8_t> bytes;
    AttrChange attr;  // set once the bytes are there; without a size
  };
  // Small files with all that is in them, durable when it returns; kExists where the name is taken.
  // Made for the owner alone (0600) until the attributes are set. One that fails half-way stays.
  // Bytes that are all zero become a hole.
  virtual std::vector<Status> WriteFiles(const Credentials& who,
                                         std::span<const WholeFile> files) = 0;

  // As JSON text, the cluster's state in the form of `sheaf status --json`.
  virtual Result<std::string> StatusJson() = 0;
};

}  // namespace sheaf
