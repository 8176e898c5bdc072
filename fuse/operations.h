#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <optional>

#include "client/sheaf.h"
#include "common/clock.h"
#include "common/metrics.h"
#include "fuse/credentials.h"
#include "fuse/directory_attrs.h"
#include "fuse/handle_table.h"
#include "fuse/inode_table.h"
#include "fuse/libfuse.h"
#include "fuse/options.h"

namespace sheaf::fuse {

// X(name of the operation as metrics and logs show it, method)
#define SHEAF_FUSE_OPERATIONS(X)    \
  X(lookup, Lookup)                 \
  X(getattr, GetAttr)               \
  X(setattr, SetAttr)               \
  X(readlink, ReadLink)             \
  X(mknod, MakeNode)                \
  X(mkdir, MakeDirectory)           \
  X(unlink, Unlink)                 \
  X(rmdir, RemoveDirectory)         \
  X(symlink, SymLink)               \
  X(rename, Rename)                 \
  X(link, Link)                     \
  X(open, Open)                     \
  X(create, Create)                 \
  X(read, Read)                     \
  X(write, Write)                   \
  X(flush, Flush)                   \
  X(release, Release)               \
  X(fsync, Fsync)                   \
  X(opendir, OpenDirectory)         \
  X(readdir, ReadDirectory)         \
  X(readdirplus, ReadDirectoryPlus) \
  X(releasedir, ReleaseDirectory)   \
  X(fsyncdir, FsyncDirectory)       \
  X(statfs, StatFs)                 \
  X(setxattr, SetXattr)             \
  X(getxattr, GetXattr)             \
  X(listxattr, ListXattr)           \
  X(removexattr, RemoveXattr)

enum class Operation : uint8_t {
#define X(name, method) k##method,
  SHEAF_FUSE_OPERATIONS(X)
#undef X
      kCount
};

// One mount's answers to the kernel. The session's user data; there is no other state.
//
// Each method serves one kind of request: it either replies and answers ok, or answers the error,
// which the caller sends to the kernel, counts, and logs where it deserves a line. After a reply
// the request is gone and must not be touched.
//
// What is not here on purpose, since libfuse then answers ENOSYS once and the kernel does it
// itself: access (default_permissions), getlk/setlk/flock (locks local to this machine),
// lseek (SEEK_DATA and SEEK_HOLE as for a file without holes), copy_file_range (read and write),
// fallocate (EOPNOTSUPP; callers write zeros).
//
// Invariants:
// 1. A lookup is counted before the reply that grants it is sent, and taken back if the kernel
//    did not get it.
// 2. Attributes sent are never older than a change made through this mount: of a file that was
//    written, the times are stamped first (so that no later close changes times that a caller has
//    seen), the length is as the client knows it, a directory page is not used after a change, and
//    a directory's attributes are asked for anew unless the last change told them.
//
// Thread-safe.
class Operations {
 public:
  // All must outlive this.
  Operations(Client* client, const MountOptions& options, Metrics* metrics, const Clock* clock);
  ~Operations();

  Operations(const Operations&) = delete;
  Operations& operator=(const Operations&) = delete;

  static const fuse_lowlevel_ops& Table();

  // What drops the kernel's cached attributes of an inode, at once. Pages are never dropped from
  // here: that waits for a page that another request may hold, which waits for us; a daemon killed
  // meanwhile would stay for ever.
  void SetInvalidator(std::function<void(InodeId)> attributes) {
    invalidate_attributes_ = std::move(attributes);
  }
  // Called once, when the kernel has agreed on the connection.
  void SetOnInit(std::function<void()> on_init) { on_init_ = std::move(on_init); }

  void Init(fuse_conn_info* connection);
  // Closes what the kernel left open. After the session's loop has ended.
  void CloseAll();

  // --- ops_namespace.cc ---
  Status Lookup(fuse_req_t request, fuse_ino_t parent, const char* name);
  void Forget(fuse_ino_t inode, uint64_t count);
  Status GetAttr(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info);
  Status SetAttr(fuse_req_t request, fuse_ino_t inode, struct stat* attr, int to_set,
                 fuse_file_info* info);
  Status ReadLink(fuse_req_t request, fuse_ino_t inode);
  Status MakeNode(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev);
  Status MakeDirectory(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode);
  Status Unlink(fuse_req_t request, fuse_ino_t parent, const char* name);
  Status RemoveDirectory(fuse_req_t request, fuse_ino_t parent, const char* name);
  Status SymLink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name);
  Status Rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
                const char* new_name, unsigned int flags);
  Status Link(fuse_req_t request, fuse_ino_t inode, fuse_ino_t new_parent, const char* new_name);
  Status StatFs(fuse_req_t request, fuse_ino_t inode);

  // --- ops_file.cc ---
  Status Open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info);
  Status Create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
                fuse_file_info* info);
  Status Read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
              fuse_file_info* info);
  Status Write(fuse_req_t request, fuse_ino_t inode, const char* data, size_t size, off_t offset,
               fuse_file_info* info);
  Status Flush(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info);
  Status Release(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info);
  Status Fsync(fuse_req_t request, fuse_ino_t inode, int data_only, fuse_file_info* info);

  // --- ops_directory.cc ---
  Status OpenDirectory(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info);
  Status ReadDirectory(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
                       fuse_file_info* info);
  Status ReadDirectoryPlus(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
                           fuse_file_info* info);
  Status ReleaseDirectory(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info);
  Status FsyncDirectory(fuse_req_t request, fuse_ino_t inode, int data_only, fuse_file_info* info);

  // --- ops_xattr.cc ---
  Status SetXattr(fuse_req_t request, fuse_ino_t inode, const char* name, const char* value,
                  size_t size, int flags);
  Status GetXattr(fuse_req_t request, fuse_ino_t inode, const char* name, size_t size);
  Status ListXattr(fuse_req_t request, fuse_ino_t inode, size_t size);
  Status RemoveXattr(fuse_req_t request, fuse_ino_t inode, const char* name);

  // Counts and logs one finished request. `status` is what was sent to the kernel.
  void Record(Operation operation, fuse_ino_t inode, const Status& status,
              std::chrono::steady_clock::duration took);

  const InodeTable& inodes() const { return inodes_; }

 private:
  struct OperationMetrics {
    Metrics::Counter* count = nullptr;
    Metrics::Counter* errors = nullptr;
    Metrics::Histogram* latency = nullptr;
  };

  void AddMetrics(Metrics* metrics);

  // Something changed through this mount: directory pages read before are not to be used. Called
  // after the change and before its reply, so that a page asked for earlier is always seen as old.
  void NoteChange() { mutations_.fetch_add(1, std::memory_order_acq_rel); }

  // The same of a change that may have changed directories. `parent`: the only one, if it was told.
  void NoteDirectoryChange(const std::optional<FileAttr>& parent = std::nullopt,
                           const DirectoryAttrs::Before& before = {}) {
    NoteChange();
    if (parent) return directory_attrs_.Tell(*parent, before);
    directory_attrs_.Forget();
  }

  // Stamps times of writes made through this mount, so that attributes asked for next are final;
  // answers these if there was something to stamp.
  Result<std::optional<FileAttr>> Stamp(InodeId inode);
  // `attr`, or a newer answer where this mount had written.
  Result<FileAttr> Stamped(FileAttr attr);
  // `attr`, asked for after `mark` was taken, or a newer answer where a writer here has told the
  // file's length since.
  Result<FileAttr> Current(FileAttr attr, uint64_t mark);

  // The kernel's question for security.capability is answered here for as long as any attribute is
  // trusted.
  void NoteNoCapabilities(InodeId inode) {
    const auto trust = std::chrono::duration_cast<Clock::Instant>(options_.attr_timeout);
    inodes_.SetNoCapabilities(inode, clock_->Now() + trust);
  }

  fuse_entry_param EntryOf(const FileAttr& attr) const;
  // Who changes attributes: the caller, or the file's owner where the kernel itself takes set-id
  // bits away because the caller writes.
  Result<Credentials> AttributeChanger(fuse_req_t request, InodeId inode, const AttrChange& change);
  void ReplyAttr(fuse_req_t request, const FileAttr& attr);
  // Replies with an entry and counts its lookup.
  Status ReplyEntry(fuse_req_t request, Result<FileAttr> attr);

  // Makes a handle, and says in `info` what the kernel may cache.
  std::shared_ptr<FileHandle> AddHandle(std::shared_ptr<File> file, const FileAttr& attr,
                                        fuse_file_info* info);
  // Undoes AddHandle.
  Status CloseHandle(uint64_t number);
  Result<std::shared_ptr<FileHandle>> FindFile(const fuse_file_info* info) const;
  Status WriteAt(FileHandle& handle, std::span<const uint8_t> data, uint64_t offset);

  Status ReplyDirectory(fuse_req_t request, size_t size, off_t offset, fuse_file_info* info,
                        bool plus);
  // Leaves in `handle` a page that holds what follows `cookie`; answers the index of the first.
  Result<size_t> LoadPage(const Credentials& who, DirectoryHandle& handle, uint64_t cookie,
                          bool plus);
  size_t AddPlain(fuse_req_t request, std::span<char> into, const DirectoryEntry& entry);
  // Appends to `granted` where the kernel gains a lookup.
  size_t AddPlus(fuse_req_t request, std::span<char> into, const DirectoryEntry& entry,
                 uint64_t page_mark, std::vector<InodeId>* granted);

  Client* const client_;
  const MountOptions options_;
  const Clock* const clock_;
  CredentialSource credentials_;
  InodeTable inodes_;
  DirectoryAttrs directory_attrs_;
  HandleTable<FileHandle> files_;
  HandleTable<DirectoryHandle> directories_;
  std::atomic<uint64_t> mutations_{0};
  std::atomic<uint64_t> xattr_changes_{0};
  std::function<void(InodeId)> invalidate_attributes_;
  std::function<void()> on_init_;
  std::array<OperationMetrics, static_cast<size_t>(Operation::kCount)> operation_metrics_;
  Metrics::Counter* bytes_read_ = nullptr;
  Metrics::Counter* bytes_written_ = nullptr;
};

}  // namespace sheaf::fuse
