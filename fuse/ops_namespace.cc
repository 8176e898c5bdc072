#include <sys/statvfs.h>

#include "fuse/attributes.h"
#include "fuse/operations.h"

// Requests about names and attributes.

namespace sheaf::fuse {
namespace {

constexpr unsigned kNameMax = 255;
constexpr uint32_t kSetIdBits = S_ISUID | S_ISGID;
constexpr unsigned kBlockSize = 4096;  // the unit in which statfs counts

}  // namespace

Status Operations::Lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  const Credentials who = credentials_.Of(request);
  const uint64_t mark = inodes_.WriterMark();
  auto attr = client_->Lookup(who, InodeId(parent), name);
  if (attr.ok()) attr = Current(std::move(*attr), mark);
  if (!attr.ok() && attr.status().code() == Code::kNotFound &&
      options_.negative_timeout.count() > 0) {
    fuse_entry_param missing{};  // inode 0: not there, and known for a while
    missing.entry_timeout = options_.negative_timeout.count();
    fuse_reply_entry(request, &missing);
    return Status::Ok();
  }
  return ReplyEntry(request, std::move(attr));
}

void Operations::Forget(fuse_ino_t inode, uint64_t count) { inodes_.Forget(InodeId(inode), count); }

Status Operations::GetAttr(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
  if (const auto known = directory_attrs_.Find(InodeId(inode), clock_->Now())) {
    const struct stat answer = ToStat(known->attr);
    fuse_reply_attr(request, &answer, std::chrono::duration<double>(known->trusted_for).count());
    return Status::Ok();
  }
  const fuse_ctx* context = fuse_req_ctx(request);
  ASSIGN_OR_RETURN(const auto stamped, Stamp(InodeId(inode)));
  if (stamped) {
    ReplyAttr(request, *stamped);
    return Status::Ok();
  }
  // stat(2) of an inode needs no permission on it: no groups to fetch.
  const uint64_t mark = inodes_.WriterMark();
  ASSIGN_OR_RETURN(FileAttr asked,
                   client_->GetAttr({context->uid, context->gid, {}}, InodeId(inode)));
  ASSIGN_OR_RETURN(const FileAttr attr, Current(std::move(asked), mark));
  ReplyAttr(request, attr);
  return Status::Ok();
}

Result<Credentials> Operations::AttributeChanger(fuse_req_t request, InodeId inode,
                                                 const AttrChange& change) {
  Credentials who = credentials_.Of(request);
  if (who.uid == 0 || !options_.default_permissions || !change.mode || change.uid || change.gid) {
    return who;
  }
  ASSIGN_OR_RETURN(const FileAttr attr, client_->GetAttr(who, inode));
  // A chmod by one who is not the owner was refused by the kernel. What comes here all the same is
  // the kernel's own: a write or truncation that takes set-id bits away.
  const uint32_t before = attr.mode & 07777;
  const bool only_drops =
      (before & ~kSetIdBits) == (*change.mode & ~kSetIdBits) && (*change.mode & ~before) == 0;
  if (attr.uid != who.uid && only_drops) return Credentials{attr.uid, attr.gid, {}};
  return who;
}

Status Operations::SetAttr(fuse_req_t request, fuse_ino_t inode, struct stat* attr, int to_set,
                           fuse_file_info* info) {
  std::shared_ptr<FileHandle> handle;
  if (info != nullptr) {
    ASSIGN_OR_RETURN(handle, FindFile(info));
  }
  const AttrChange change = ToAttrChange(*attr, to_set);
  ASSIGN_OR_RETURN(const Credentials who, AttributeChanger(request, InodeId(inode), change));
  auto changed = client_->SetAttr(who, InodeId(inode), change,
                                  handle == nullptr ? nullptr : handle->file.get());
  NoteDirectoryChange();
  if (!changed.ok()) return changed.status();
  ReplyAttr(request, *changed);
  return Status::Ok();
}

Status Operations::ReadLink(fuse_req_t request, fuse_ino_t inode) {
  ASSIGN_OR_RETURN(const std::string target,
                   client_->Readlink(credentials_.Of(request), InodeId(inode)));
  fuse_reply_readlink(request, target.c_str());
  return Status::Ok();
}

Status Operations::MakeNode(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
                            dev_t rdev) {
  const Credentials who = credentials_.Of(request);
  auto made = client_->Mknod(who, InodeId(parent), name, mode, rdev);
  NoteDirectoryChange();
  return ReplyEntry(request, std::move(made));
}

Status Operations::MakeDirectory(fuse_req_t request, fuse_ino_t parent, const char* name,
                                 mode_t mode) {
  const Credentials who = credentials_.Of(request);
  auto made = client_->Mkdir(who, InodeId(parent), name, mode);
  NoteDirectoryChange();
  return ReplyEntry(request, std::move(made));
}

Status Operations::Unlink(fuse_req_t request, fuse_ino_t parent, const char* name) {
  const Credentials who = credentials_.Of(request);
  const DirectoryAttrs::Before before = directory_attrs_.Begin(clock_->Now());
  std::optional<FileAttr> parent_after;
  Status status = client_->Unlink(who, InodeId(parent), name, &parent_after);
  NoteDirectoryChange(parent_after, before);
  if (status.ok()) fuse_reply_err(request, 0);
  return status;
}

Status Operations::RemoveDirectory(fuse_req_t request, fuse_ino_t parent, const char* name) {
  Status status = client_->Rmdir(credentials_.Of(request), InodeId(parent), name);
  NoteDirectoryChange();
  if (status.ok()) fuse_reply_err(request, 0);
  return status;
}

Status Operations::SymLink(fuse_req_t request, const char* target, fuse_ino_t parent,
                           const char* name) {
  const Credentials who = credentials_.Of(request);
  auto made = client_->Symlink(who, InodeId(parent), name, target);
  NoteDirectoryChange();
  return ReplyEntry(request, std::move(made));
}

Status Operations::Rename(fuse_req_t request, fuse_ino_t parent, const char* name,
                          fuse_ino_t new_parent, const char* new_name, unsigned int flags) {
  Status status = client_->Rename(credentials_.Of(request), InodeId(parent), name,
                                  InodeId(new_parent), new_name, flags);
  NoteDirectoryChange();
  if (status.ok()) fuse_reply_err(request, 0);
  return status;
}

Status Operations::Link(fuse_req_t request, fuse_ino_t inode, fuse_ino_t new_parent,
                        const char* new_name) {
  const Credentials who = credentials_.Of(request);
  auto linked = client_->Link(who, InodeId(inode), InodeId(new_parent), new_name);
  NoteDirectoryChange();
  return ReplyEntry(request, std::move(linked));
}

Status Operations::StatFs(fuse_req_t request, fuse_ino_t) {
  ASSIGN_OR_RETURN(const FileSystemStats stats, client_->StatFs());
  struct statvfs answer {};
  answer.f_bsize = kBlockSize;
  answer.f_frsize = kBlockSize;
  answer.f_blocks = stats.total_bytes / kBlockSize;
  answer.f_bfree = stats.free_bytes / kBlockSize;
  answer.f_bavail = answer.f_bfree;
  answer.f_files = stats.max_files;
  answer.f_ffree = stats.max_files > stats.files ? stats.max_files - stats.files : 0;
  answer.f_favail = answer.f_ffree;
  answer.f_namemax = kNameMax;
  fuse_reply_statfs(request, &answer);
  return Status::Ok();
}

}  // namespace sheaf::fuse
