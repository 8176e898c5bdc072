#include "meta/ops/ops.h"

#include "meta/ops/access.h"
#include "meta/ops/directory.h"
#include "meta/ops/rows.h"

namespace sheaf::meta {

Result<proto::UnlinkResponse> Unlink(OpContext& ctx, const proto::UnlinkRequest& request) {
  const std::string& name = request.name();
  RETURN_IF_ERROR(CheckCaller(request.ctx()));
  RETURN_IF_ERROR(CheckName(name).With("unlink"));
  ASSIGN_OR_RETURN(Inode parent, LoadDirectory(ctx, InodeId(request.parent())));
  RETURN_IF_ERROR(CheckAccess(request.ctx().caller(), parent, kMayExecute));
  if (IsDots(name)) return EntryError(Code::kIsDirectory, "unlink", parent.id, name, "a directory");
  ASSIGN_OR_RETURN(const auto dentry, FindEntry(ctx, parent.id, name));
  if (!dentry) return EntryError(Code::kNotFound, "unlink", parent.id, name, "no such entry");
  ASSIGN_OR_RETURN(Inode inode, LoadInode(ctx, dentry->inode));
  RETURN_IF_ERROR(CheckMayRemove(request.ctx().caller(), parent, inode));
  if (inode.IsDirectory()) {
    return EntryError(Code::kIsDirectory, "unlink", parent.id, name, "a directory");
  }
  RemoveEntry(ctx, parent, name, *dentry);
  StoreInode(ctx, parent);
  RETURN_IF_ERROR(ReleaseLink(ctx, inode));
  proto::UnlinkResponse answer;
  answer.set_inode(inode.id.value());
  answer.set_nlink(inode.nlink);
  if (request.tell_parent()) FillAttr(parent, answer.mutable_parent());
  return answer;
}

}  // namespace sheaf::meta
