#include "meta/ops/ops.h"

#include "meta/ops/access.h"
#include "meta/ops/directory.h"
#include "meta/ops/rows.h"

namespace sheaf::meta {

Result<proto::RmdirResponse> Rmdir(OpContext& ctx, const proto::RmdirRequest& request) {
  const std::string& name = request.name();
  RETURN_IF_ERROR(CheckCaller(request.ctx()));
  RETURN_IF_ERROR(CheckName(name).With("rmdir"));
  ASSIGN_OR_RETURN(Inode parent, LoadDirectory(ctx, InodeId(request.parent())));
  RETURN_IF_ERROR(CheckAccess(request.ctx().caller(), parent, kMayExecute));
  if (name == ".") return EntryError(Code::kInvalid, "rmdir", parent.id, name, "is \".\"");
  if (name == "..") return EntryError(Code::kNotEmpty, "rmdir", parent.id, name, "not empty");
  ASSIGN_OR_RETURN(const auto dentry, FindEntry(ctx, parent.id, name));
  if (!dentry) return EntryError(Code::kNotFound, "rmdir", parent.id, name, "no such entry");
  ASSIGN_OR_RETURN(Inode directory, LoadInode(ctx, dentry->inode));
  RETURN_IF_ERROR(CheckMayRemove(request.ctx().caller(), parent, directory));
  if (!directory.IsDirectory()) {
    return EntryError(Code::kNotDirectory, "rmdir", parent.id, name, "not a directory");
  }
  if (directory.entries > 0) {
    return EntryError(Code::kNotEmpty, "rmdir", parent.id, name, "not empty");
  }
  RemoveEntry(ctx, parent, name, *dentry);
  --parent.nlink;  // the removed one's ".."
  StoreInode(ctx, parent);
  RETURN_IF_ERROR(ReleaseLink(ctx, directory));
  proto::RmdirResponse answer;
  answer.set_inode(directory.id.value());
  return answer;
}

}  // namespace sheaf::meta
