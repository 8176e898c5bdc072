#include "tests/support/fake_client.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cstring>

#include "common/clock.h"
#include "common/status.h"

namespace sheaf {
namespace {

constexpr size_t kNameMax = 255;

Status NotFound(std::string_view name) {
  return {Code::kNotFound, "fake: no entry '" + std::string(name) + "'"};
}

}  // namespace

// One handle on an inode of the fake.
class FakeFile : public File {
 public:
  FakeFile(FakeClient* client, InodeId inode) : client_(client), inode_(inode) {}
  ~FakeFile() override { (void)Close(); }

  Result<size_t> Read(uint64_t offset, std::span<uint8_t> into) override {
    std::lock_guard lock(client_->mutex_);
    ASSIGN_OR_RETURN(auto* inode, client_->Find(inode_));
    return client_->ReadBytes(*inode, offset, into);
  }
  Result<size_t> Write(uint64_t offset, std::span<const uint8_t> from) override {
    std::lock_guard lock(client_->mutex_);
    ASSIGN_OR_RETURN(auto* inode, client_->Find(inode_));
    client_->WriteBytes(inode, offset, from);
    return from.size();
  }
  Result<uint64_t> Append(std::span<const uint8_t> from) override {
    std::lock_guard lock(client_->mutex_);
    ASSIGN_OR_RETURN(auto* inode, client_->Find(inode_));
    const uint64_t offset = inode->live_size;
    client_->WriteBytes(inode, offset, from);
    return offset;
  }
  void ReadAsync(uint64_t offset, std::span<uint8_t> into, IoDone done) override {
    done(Read(offset, into));
  }
  void WriteAsync(uint64_t offset, std::span<const uint8_t> from, IoDone done) override {
    done(Write(offset, from));
  }
  Status Sync() override {
    std::lock_guard lock(client_->mutex_);
    client_->syncs_.fetch_add(1);
    ASSIGN_OR_RETURN(auto* inode, client_->Find(inode_));
    client_->Settle(inode);
    return Status::Ok();
  }
  Status Flush() override { return Sync(); }
  FileAttr OpenedAttr() const override {
    std::lock_guard lock(client_->mutex_);
    auto inode = client_->Find(inode_);
    return inode.ok() ? client_->Live(**inode) : FileAttr();
  }
  Status Truncate(uint64_t size) override {
    std::lock_guard lock(client_->mutex_);
    ASSIGN_OR_RETURN(auto* inode, client_->Find(inode_));
    client_->Truncate(inode, size);
    return Status::Ok();
  }
  Result<FileAttr> Stat() override {
    std::lock_guard lock(client_->mutex_);
    ASSIGN_OR_RETURN(auto* inode, client_->Find(inode_));
    return client_->Live(*inode);
  }
  Status Close() override {
    std::lock_guard lock(client_->mutex_);
    if (closed_) return Status::Ok();
    closed_ = true;
    auto found = client_->inodes_.find(inode_);
    if (found == client_->inodes_.end()) return {Code::kStale, "fake: closed inode is gone"};
    client_->Settle(found->second.get());
    --found->second->open_count;
    if (found->second->attr.nlink == 0 && found->second->open_count == 0) {
      client_->inodes_.erase(found);
    }
    return client_->failure_;
  }
  InodeId inode() const override { return inode_; }

 private:
  FakeClient* client_;
  InodeId inode_;
  bool closed_ = false;
};

FakeClient::FakeClient() {
  auto root = std::make_unique<Inode>();
  root->attr.inode = kRootInode;
  root->attr.mode = S_IFDIR | 0755;
  root->attr.nlink = 2;
  root->parent = kRootInode;
  Touch(root.get(), true);
  inodes_[kRootInode] = std::move(root);
}

FakeClient::~FakeClient() = default;

void FakeClient::SetFailure(Status failure) {
  std::lock_guard lock(mutex_);
  failure_ = std::move(failure);
}

void FakeClient::AppendElsewhere(InodeId inode, std::string_view bytes) {
  std::lock_guard lock(mutex_);
  auto found = Find(inode);
  CHECK(found.ok(), "fake: append elsewhere to an unknown inode");
  WriteBytes(*found, (*found)->live_size,
             {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  Settle(*found);
}

Result<FakeClient::Inode*> FakeClient::Find(InodeId inode) {
  RETURN_IF_ERROR(failure_);
  auto found = inodes_.find(inode);
  if (found == inodes_.end()) return Status(Code::kStale, "fake: no inode " + ToString(inode));
  return found->second.get();
}

Result<FakeClient::Inode*> FakeClient::FindDirectory(InodeId inode) {
  ASSIGN_OR_RETURN(Inode * found, Find(inode));
  if (!found->attr.IsDirectory()) return Status(Code::kNotDirectory, "fake: not a directory");
  return found;
}

Result<InodeId> FakeClient::Child(InodeId parent, std::string_view name) {
  ASSIGN_OR_RETURN(Inode * directory, FindDirectory(parent));
  RETURN_IF_ERROR(CheckName(name));
  auto entry = directory->entries.find(name);
  if (entry == directory->entries.end()) return NotFound(name);
  return entry->second.inode;
}

Status FakeClient::CheckName(std::string_view name) const {
  if (name.size() > kNameMax) return {Code::kNameTooLong, "fake: name too long"};
  return name.empty() ? Status(Code::kInvalid, "fake: empty name") : Status::Ok();
}

// Times rise with every change, so that two changes are never at one time.
void FakeClient::Touch(Inode* inode, bool content) {
  last_time_ns_ = std::max(last_time_ns_ + 1, Clock::System().WallNanos());
  inode->attr.ctime_ns = last_time_ns_;
  if (content) inode->attr.mtime_ns = last_time_ns_;
  if (inode->attr.btime_ns == 0) inode->attr.btime_ns = inode->attr.atime_ns = last_time_ns_;
  ++inode->attr.version;
}

void FakeClient::AddEntry(Inode* directory, std::string_view name, InodeId inode) {
  const uint64_t cookie = next_cookie_++;
  directory->entries[std::string(name)] = {inode, cookie};
  directory->names_by_cookie[cookie] = std::string(name);
  Touch(directory, true);
}

void FakeClient::RemoveEntry(Inode* directory, std::string_view name) {
  auto entry = directory->entries.find(name);
  directory->names_by_cookie.erase(entry->second.cookie);
  directory->entries.erase(entry);
  Touch(directory, true);
}

void FakeClient::DropLink(InodeId inode) {
  auto found = inodes_.find(inode);
  Inode* gone = found->second.get();
  gone->attr.nlink = gone->attr.IsDirectory() ? 0 : gone->attr.nlink - 1;
  Touch(gone, false);
  if (gone->attr.nlink == 0 && gone->open_count == 0) inodes_.erase(found);
}

FileAttr FakeClient::Live(const Inode& inode) const {
  FileAttr attr = inode.attr;
  if (attr.IsRegular()) attr.size = inode.live_size;
  return attr;
}

void FakeClient::Settle(Inode* inode) {
  if (!inode->wrote) return;
  inode->wrote = false;
  inode->attr.size = inode->live_size;
  Touch(inode, true);
}

void FakeClient::Truncate(Inode* inode, uint64_t size) {
  if (size == 0 && inode->live_size != 0) inode->attr.data_id = DataId(next_data_id_++);
  if (size < inode->live_size) {
    const uint64_t last = size / kBlockSize;
    inode->blocks.erase(inode->blocks.upper_bound(last), inode->blocks.end());
    if (auto block = inode->blocks.find(last); block != inode->blocks.end()) {
      std::fill(block->second.begin() + static_cast<ptrdiff_t>(size % kBlockSize),
                block->second.end(), '\0');
    }
  }
  inode->live_size = inode->attr.size = size;
  Touch(inode, true);
}

size_t FakeClient::ReadBytes(const Inode& inode, uint64_t offset, std::span<uint8_t> into) const {
  if (offset >= inode.live_size) return 0;
  const size_t size = std::min<uint64_t>(into.size(), inode.live_size - offset);
  for (size_t done = 0; done < size;) {
    const uint64_t at = (offset + done) % kBlockSize;
    const size_t part = std::min<uint64_t>(kBlockSize - at, size - done);
    auto block = inode.blocks.find((offset + done) / kBlockSize);
    if (block == inode.blocks.end()) {
      std::memset(into.data() + done, 0, part);
    } else {
      std::memcpy(into.data() + done, block->second.data() + at, part);
    }
    done += part;
  }
  return size;
}

void FakeClient::WriteBytes(Inode* inode, uint64_t offset, std::span<const uint8_t> from) {
  for (size_t done = 0; done < from.size();) {
    const uint64_t at = (offset + done) % kBlockSize;
    const size_t part = std::min<uint64_t>(kBlockSize - at, from.size() - done);
    std::string& block = inode->blocks[(offset + done) / kBlockSize];
    block.resize(kBlockSize);
    std::memcpy(block.data() + at, from.data() + done, part);
    done += part;
  }
  inode->live_size = std::max(inode->live_size, offset + from.size());
  inode->wrote = true;
}

Result<FileAttr> FakeClient::Make(const Credentials& who, InodeId parent, std::string_view name,
                                  uint32_t mode) {
  ASSIGN_OR_RETURN(Inode * directory, FindDirectory(parent));
  RETURN_IF_ERROR(CheckName(name));
  if (directory->entries.contains(name)) return Status(Code::kExists, "fake: exists");
  auto inode = std::make_unique<Inode>();
  const InodeId id(next_inode_++);
  inode->attr.inode = id;
  inode->attr.mode = mode;
  inode->attr.nlink = S_ISDIR(mode) ? 2 : 1;
  inode->attr.uid = who.uid;
  inode->attr.gid = who.gid;
  inode->parent = parent;
  if (S_ISREG(mode)) inode->attr.data_id = DataId(next_data_id_++);
  Touch(inode.get(), true);
  if (S_ISDIR(mode)) ++directory->attr.nlink;
  AddEntry(directory, name, id);
  const FileAttr attr = inode->attr;
  inodes_[id] = std::move(inode);
  return attr;
}

Result<FileAttr> FakeClient::Lookup(const Credentials&, InodeId parent, std::string_view name) {
  std::unique_lock lock(mutex_);
  ASSIGN_OR_RETURN(const InodeId child, Child(parent, name));
  const FileAttr answer = inodes_[child]->attr;
  lock.unlock();
  if (before_answers_) before_answers_();
  return answer;
}

Result<FileAttr> FakeClient::GetAttr(const Credentials&, InodeId inode) {
  attr_reads_.fetch_add(1);
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Inode * found, Find(inode));
  return Live(*found);
}

Result<FileAttr> FakeClient::SetAttr(const Credentials&, InodeId inode, const AttrChange& change,
                                     File*) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Inode * found, Find(inode));
  Settle(found);  // earlier writes come before the times set now
  if (change.size) Truncate(found, *change.size);
  FileAttr& attr = found->attr;
  if (change.mode) attr.mode = (attr.mode & S_IFMT) | (*change.mode & 07777);
  if (change.uid) attr.uid = *change.uid;
  if (change.gid) attr.gid = *change.gid;
  Touch(found, false);
  if (change.atime_ns) attr.atime_ns = *change.atime_ns;
  if (change.mtime_ns) attr.mtime_ns = *change.mtime_ns;
  if (change.atime_now) attr.atime_ns = attr.ctime_ns;
  if (change.mtime_now) attr.mtime_ns = attr.ctime_ns;
  return Live(*found);
}

Result<FileAttr> FakeClient::Mkdir(const Credentials& who, InodeId parent, std::string_view name,
                                   uint32_t mode) {
  std::lock_guard lock(mutex_);
  return Make(who, parent, name, S_IFDIR | (mode & 07777));
}

Result<FileAttr> FakeClient::Mknod(const Credentials& who, InodeId parent, std::string_view name,
                                   uint32_t mode, uint64_t rdev) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(FileAttr attr, Make(who, parent, name, mode));
  inodes_[attr.inode]->attr.rdev = attr.rdev = rdev;
  return attr;
}

Result<FileAttr> FakeClient::Symlink(const Credentials& who, InodeId parent, std::string_view name,
                                     std::string_view target) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(FileAttr attr, Make(who, parent, name, S_IFLNK | 0777));
  Inode* inode = inodes_[attr.inode].get();
  inode->target = std::string(target);
  inode->attr.size = attr.size = target.size();
  return attr;
}

Result<std::string> FakeClient::Readlink(const Credentials&, InodeId inode) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Inode * found, Find(inode));
  if (!S_ISLNK(found->attr.mode)) return Status(Code::kInvalid, "fake: not a symlink");
  return found->target;
}

Result<FileAttr> FakeClient::Link(const Credentials&, InodeId inode, InodeId new_parent,
                                  std::string_view new_name) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Inode * found, Find(inode));
  ASSIGN_OR_RETURN(Inode * directory, FindDirectory(new_parent));
  RETURN_IF_ERROR(CheckName(new_name));
  if (found->attr.IsDirectory()) return Status(Code::kNotPermitted, "fake: link of a directory");
  if (directory->entries.contains(new_name)) return Status(Code::kExists, "fake: exists");
  ++found->attr.nlink;
  Touch(found, false);
  AddEntry(directory, new_name, inode);
  return found->attr;
}

Status FakeClient::Unlink(const Credentials&, InodeId parent, std::string_view name,
                          std::optional<FileAttr>* parent_after) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(const InodeId child, Child(parent, name));
  if (inodes_[child]->attr.IsDirectory()) return {Code::kIsDirectory, "fake: is a directory"};
  RemoveEntry(inodes_[parent].get(), name);
  DropLink(child);
  if (parent_after != nullptr) *parent_after = inodes_[parent]->attr;
  return Status::Ok();
}

Status FakeClient::Rmdir(const Credentials&, InodeId parent, std::string_view name) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(const InodeId child, Child(parent, name));
  ASSIGN_OR_RETURN(Inode * directory, FindDirectory(child));
  if (!directory->entries.empty()) return {Code::kNotEmpty, "fake: not empty"};
  RemoveEntry(inodes_[parent].get(), name);
  --inodes_[parent]->attr.nlink;
  DropLink(child);
  return Status::Ok();
}

Status FakeClient::ReplaceTarget(Inode* moved, InodeId existing) {
  Inode* target = inodes_[existing].get();
  if (target->attr.IsDirectory() && !moved->attr.IsDirectory()) {
    return {Code::kIsDirectory, "fake: target is a directory"};
  }
  if (!target->attr.IsDirectory() && moved->attr.IsDirectory()) {
    return {Code::kNotDirectory, "fake: target is not a directory"};
  }
  if (!target->entries.empty()) return {Code::kNotEmpty, "fake: target not empty"};
  return Status::Ok();
}

Status FakeClient::Rename(const Credentials&, InodeId parent, std::string_view name,
                          InodeId new_parent, std::string_view new_name, uint32_t flags) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(const InodeId child, Child(parent, name));
  ASSIGN_OR_RETURN(Inode * to, FindDirectory(new_parent));
  Inode* from = inodes_[parent].get();
  Inode* moved = inodes_[child].get();
  RETURN_IF_ERROR(CheckName(new_name));
  auto existing = to->entries.find(new_name);
  const bool exists = existing != to->entries.end();
  if (exists && (flags & RENAME_NOREPLACE)) return {Code::kExists, "fake: exists"};
  if (flags & RENAME_EXCHANGE) {
    if (!exists) return NotFound(new_name);
    std::swap(existing->second.inode, from->entries.find(name)->second.inode);
    std::swap(inodes_[child]->parent, inodes_[from->entries.find(name)->second.inode]->parent);
    Touch(from, true);
    Touch(to, true);
    return Status::Ok();
  }
  if (exists) {
    const InodeId replaced = existing->second.inode;
    if (replaced == child) return Status::Ok();
    RETURN_IF_ERROR(ReplaceTarget(moved, replaced));
    if (moved->attr.IsDirectory()) --to->attr.nlink;
    RemoveEntry(to, new_name);
    DropLink(replaced);
  }
  RemoveEntry(from, name);
  AddEntry(to, new_name, child);
  moved->parent = new_parent;
  if (moved->attr.IsDirectory() && from != to) --from->attr.nlink, ++to->attr.nlink;
  Touch(moved, false);
  return Status::Ok();
}

Result<std::shared_ptr<File>> FakeClient::Open(const Credentials&, InodeId inode, int flags) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Inode * found, Find(inode));
  if (!found->attr.IsRegular()) return Status(Code::kIsDirectory, "fake: not a regular file");
  if (flags & O_TRUNC) Truncate(found, 0);
  ++found->open_count;
  return std::shared_ptr<File>(std::make_shared<FakeFile>(this, inode));
}

Result<Client::Created> FakeClient::Create(const Credentials& who, InodeId parent,
                                           std::string_view name, uint32_t mode, int flags) {
  std::lock_guard lock(mutex_);
  auto child = Child(parent, name);
  Created created;
  if (child.ok()) {
    if (flags & O_EXCL) return Status(Code::kExists, "fake: exists");
    created.attr = inodes_[*child]->attr;
  } else {
    if (child.status().code() != Code::kNotFound) return child.status();
    ASSIGN_OR_RETURN(created.attr, Make(who, parent, name, S_IFREG | (mode & 07777)));
    created.created = true;
    created.parent = inodes_[parent]->attr;
  }
  ASSIGN_OR_RETURN(created.file, Open(who, created.attr.inode, flags));
  created.attr = inodes_[created.attr.inode]->attr;
  return created;
}

Result<DirectoryPage> FakeClient::ReadDirectory(const Credentials&, InodeId inode, uint64_t cookie,
                                                uint32_t max_entries, bool with_attributes) {
  std::unique_lock lock(mutex_);
  directory_reads_.fetch_add(1);
  ASSIGN_OR_RETURN(Inode * directory, FindDirectory(inode));
  DirectoryPage page;
  const auto add = [&](std::string name, InodeId id, uint64_t at) {
    const FileAttr& attr = inodes_[id]->attr;
    DirectoryEntry entry{std::move(name), id, attr.mode & S_IFMT, at, std::nullopt};
    if (with_attributes) entry.attr = attr;
    page.entries.push_back(std::move(entry));
  };
  if (cookie < 1) add(".", inode, 1);
  if (cookie < 2) add("..", directory->parent, 2);
  auto next = directory->names_by_cookie.upper_bound(cookie);
  for (; next != directory->names_by_cookie.end() && page.entries.size() < max_entries; ++next) {
    add(next->second, directory->entries[next->second].inode, next->first);
  }
  page.end = next == directory->names_by_cookie.end();
  lock.unlock();
  if (before_answers_) before_answers_();
  return page;
}

Result<FileSystemStats> FakeClient::StatFs() {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(failure_);
  return FileSystemStats{1ull << 40, 1ull << 39, inodes_.size(), 1ull << 32};
}

Status FakeClient::SetXattr(const Credentials&, InodeId inode, std::string_view name,
                            std::span<const uint8_t> value, int flags) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Inode * found, Find(inode));
  const bool exists = found->xattrs.contains(name);
  if ((flags & XATTR_CREATE) && exists) return {Code::kExists, "fake: xattr exists"};
  if ((flags & XATTR_REPLACE) && !exists) return {Code::kNoData, "fake: no xattr"};
  found->xattrs[std::string(name)] = std::string(value.begin(), value.end());
  Touch(found, false);
  return Status::Ok();
}

Result<std::string> FakeClient::GetXattr(const Credentials&, InodeId inode, std::string_view name) {
  std::lock_guard lock(mutex_);
  xattr_reads_.fetch_add(1);
  ASSIGN_OR_RETURN(Inode * found, Find(inode));
  auto value = found->xattrs.find(name);
  if (value == found->xattrs.end()) return Status(Code::kNoData, "fake: no xattr");
  return value->second;
}

Result<std::vector<std::string>> FakeClient::ListXattr(const Credentials&, InodeId inode) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Inode * found, Find(inode));
  std::vector<std::string> names;
  for (const auto& [name, value] : found->xattrs) names.push_back(name);
  return names;
}

Status FakeClient::RemoveXattr(const Credentials&, InodeId inode, std::string_view name) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Inode * found, Find(inode));
  auto value = found->xattrs.find(name);
  if (value == found->xattrs.end()) return {Code::kNoData, "fake: no xattr"};
  found->xattrs.erase(value);
  Touch(found, false);
  return Status::Ok();
}

Result<std::optional<FileAttr>> FakeClient::StampTimes(InodeId inode) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(auto* found, Find(inode));
  if (!found->wrote) return std::optional<FileAttr>();
  Settle(found);
  return std::optional<FileAttr>(Live(*found));
}

Status FakeClient::SyncAll() {
  std::lock_guard lock(mutex_);
  for (auto& [id, inode] : inodes_) Settle(inode.get());
  return failure_;
}

Result<Client::Location> FakeClient::Locate(std::string_view path) {
  std::lock_guard lock(mutex_);
  Location location{kRootInode, ""};
  while (true) {
    path.remove_prefix(std::min(path.find_first_not_of('/'), path.size()));
    const std::string_view name = path.substr(0, path.find('/'));
    path.remove_prefix(name.size());
    if (name.empty()) return location;
    if (!location.name.empty()) {
      ASSIGN_OR_RETURN(location.parent, Child(location.parent, location.name));
    }
    location.name = std::string(name);
  }
}

Result<FileAttr> FakeClient::StatPath(std::string_view path, bool) {
  ASSIGN_OR_RETURN(const Location at, Locate(path));
  if (at.name.empty()) return GetAttr({}, at.parent);
  return Lookup({}, at.parent, at.name);
}

Result<std::shared_ptr<File>> FakeClient::OpenPath(std::string_view path, int flags,
                                                   uint32_t mode) {
  ASSIGN_OR_RETURN(const Location at, Locate(path));
  if (flags & O_CREAT) {
    ASSIGN_OR_RETURN(Created created, Create({}, at.parent, at.name, mode, flags));
    return created.file;
  }
  ASSIGN_OR_RETURN(const FileAttr attr, Lookup({}, at.parent, at.name));
  return Open({}, attr.inode, flags);
}

Result<FileAttr> FakeClient::MkdirPath(std::string_view path, uint32_t mode) {
  ASSIGN_OR_RETURN(const Location at, Locate(path));
  return Mkdir({}, at.parent, at.name, mode);
}

Status FakeClient::UnlinkPath(std::string_view path) {
  ASSIGN_OR_RETURN(const Location at, Locate(path));
  return Unlink({}, at.parent, at.name);
}

Status FakeClient::RmdirPath(std::string_view path) {
  ASSIGN_OR_RETURN(const Location at, Locate(path));
  return Rmdir({}, at.parent, at.name);
}

Status FakeClient::RenamePath(std::string_view from, std::string_view to) {
  ASSIGN_OR_RETURN(const Location source, Locate(from));
  ASSIGN_OR_RETURN(const Location target, Locate(to));
  return Rename({}, source.parent, source.name, target.parent, target.name, 0);
}

Result<std::string> FakeClient::StatusJson() { return std::string("{}"); }

}  // namespace sheaf
