#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "client/sheaf.h"

namespace sheaf {

// A file system in memory behind the client's interface, for tests of what stands on it.
//
// What it keeps of the real one's manners: lengths and times of written files are settled at Sync
// and Close, and until then only GetAttr and File::Stat know the length; every change raises an
// inode's version; truncation to zero gives new bytes a new data_id; an unlinked inode lives while
// it is open; directory cookies stay valid under removal. What it leaves out: permission checks,
// sessions, limits of space.
//
// Faults: SetFailure makes every call answer an error until it is cleared.
//
// Thread-safe: one mutex.
class FakeClient : public Client {
 public:
  FakeClient();
  ~FakeClient() override;

  // Ok clears it.
  void SetFailure(Status failure);
  // Calls of ReadDirectory, Sync and GetXattr so far.
  uint64_t directory_reads() const { return directory_reads_.load(); }
  uint64_t syncs() const { return syncs_.load(); }
  uint64_t attr_reads() const { return attr_reads_.load(); }
  uint64_t xattr_reads() const { return xattr_reads_.load(); }
  // Called by Lookup and ReadDirectory once their answers are made, before they are given: what the
  // call does overtakes them. To be set while no call is under way.
  void BeforeAnswers(std::function<void()> call) { before_answers_ = std::move(call); }
  // As another client would: adds bytes at the end and settles at once.
  void AppendElsewhere(InodeId inode, std::string_view bytes);

  Result<FileAttr> Lookup(const Credentials& who, InodeId parent, std::string_view name) override;
  Result<FileAttr> GetAttr(const Credentials& who, InodeId inode) override;
  Result<FileAttr> SetAttr(const Credentials& who, InodeId inode, const AttrChange& change,
                           File* handle) override;
  Result<FileAttr> Mkdir(const Credentials& who, InodeId parent, std::string_view name,
                         uint32_t mode) override;
  Result<FileAttr> Mknod(const Credentials& who, InodeId parent, std::string_view name,
                         uint32_t mode, uint64_t rdev) override;
  Result<FileAttr> Symlink(const Credentials& who, InodeId parent, std::string_view name,
                           std::string_view target) override;
  Result<std::string> Readlink(const Credentials& who, InodeId inode) override;
  Result<FileAttr> Link(const Credentials& who, InodeId inode, InodeId new_parent,
                        std::string_view new_name) override;
  Status Unlink(const Credentials& who, InodeId parent, std::string_view name,
                std::optional<FileAttr>* parent_after = nullptr) override;
  Status Rmdir(const Credentials& who, InodeId parent, std::string_view name) override;
  Status Rename(const Credentials& who, InodeId parent, std::string_view name, InodeId new_parent,
                std::string_view new_name, uint32_t flags) override;
  Result<std::shared_ptr<File>> Open(const Credentials& who, InodeId inode, int flags) override;
  Result<Created> Create(const Credentials& who, InodeId parent, std::string_view name,
                         uint32_t mode, int flags) override;
  Result<DirectoryPage> ReadDirectory(const Credentials& who, InodeId inode, uint64_t cookie,
                                      uint32_t max_entries, bool with_attributes) override;
  Result<FileSystemStats> StatFs() override;
  Status SetXattr(const Credentials& who, InodeId inode, std::string_view name,
                  std::span<const uint8_t> value, int flags) override;
  Result<std::string> GetXattr(const Credentials& who, InodeId inode,
                               std::string_view name) override;
  Result<std::vector<std::string>> ListXattr(const Credentials& who, InodeId inode) override;
  Status RemoveXattr(const Credentials& who, InodeId inode, std::string_view name) override;
  Result<std::optional<FileAttr>> StampTimes(InodeId inode) override;
  Status SyncAll() override;

  Result<FileAttr> StatPath(std::string_view path, bool follow) override;
  Result<std::shared_ptr<File>> OpenPath(std::string_view path, int flags, uint32_t mode) override;
  Result<FileAttr> MkdirPath(std::string_view path, uint32_t mode) override;
  Status UnlinkPath(std::string_view path) override;
  Status RmdirPath(std::string_view path) override;
  Status RenamePath(std::string_view from, std::string_view to) override;
  Result<Location> Locate(std::string_view path) override;
  Result<std::string> StatusJson() override;
  std::vector<Result<FileAttr>> LookupMany(const Credentials& who,
                                           std::span<const Entry> entries) override;
  std::vector<Result<FileAttr>> StatPaths(std::span<const std::string> paths, bool follow) override;
  std::vector<Result<FileAttr>> CreateMany(const Credentials& who,
                                           std::span<const NewEntry> entries) override;
  std::vector<Result<FileAttr>> MkdirMany(const Credentials& who,
                                          std::span<const NewEntry> entries) override;
  std::vector<Status> UnlinkMany(const Credentials& who, std::span<const Entry> entries) override;
  std::vector<Result<FileAttr>> SetAttrMany(const Credentials& who,
                                            std::span<const InodeChange> changes) override;
  std::vector<Status> WriteFiles(const Credentials& who, std::span<const WholeFile> files) override;

 private:
  friend class FakeFile;

  static constexpr uint64_t kBlockSize = 4096;

  struct Dentry {
    InodeId inode;
    uint64_t cookie = 0;
  };
  struct Inode {
    FileAttr attr;           // as settled
    uint64_t live_size = 0;  // as written
    bool wrote = false;
    int open_count = 0;
    InodeId parent;  // directories
    std::map<uint64_t, std::string> blocks;
    std::map<std::string, Dentry, std::less<>> entries;
    std::map<uint64_t, std::string> names_by_cookie;
    std::map<std::string, std::string, std::less<>> xattrs;
    std::string target;
  };

  // All below: REQUIRES mutex_ held.
  Result<Inode*> Find(InodeId inode);
  Result<Inode*> FindDirectory(InodeId inode);
  Result<InodeId> Child(InodeId parent, std::string_view name);
  Result<FileAttr> Make(const Credentials& who, InodeId parent, std::string_view name,
                        uint32_t mode);
  Status CheckName(std::string_view name) const;
  void AddEntry(Inode* directory, std::string_view name, InodeId inode);
  void RemoveEntry(Inode* directory, std::string_view name);
  void DropLink(InodeId inode);
  void Touch(Inode* inode, bool content);
  void Truncate(Inode* inode, uint64_t size);
  void Settle(Inode* inode);
  FileAttr Live(const Inode& inode) const;
  size_t ReadBytes(const Inode& inode, uint64_t offset, std::span<uint8_t> into) const;
  void WriteBytes(Inode* inode, uint64_t offset, std::span<const uint8_t> from);
  Status ReplaceTarget(Inode* moved, InodeId existing);

  mutable std::recursive_mutex mutex_;
  Status failure_;
  std::map<InodeId, std::unique_ptr<Inode>> inodes_;
  uint64_t next_inode_ = 2;
  uint64_t next_data_id_ = 1;
  uint64_t next_cookie_ = 3;  // 1 and 2 are the dots'
  int64_t last_time_ns_ = 0;
  std::function<void()> before_answers_;
  std::atomic<uint64_t> directory_reads_{0};
  std::atomic<uint64_t> syncs_{0};
  std::atomic<uint64_t> attr_reads_{0};
  std::atomic<uint64_t> xattr_reads_{0};
};

}  // namespace sheaf
