#include "meta/ops/ops.h"

#include "meta/ops/directory.h"
#include "meta/ops/rows.h"

namespace sheaf::meta {
namespace {

Status CheckLinkable(const Inode& inode, const Inode& parent) {
  const std::string what = "link inode " + ToString(inode.id) + ": ";
  if (inode.IsDirectory()) return {Code::kNotPermitted, what + "a directory"};
  if (inode.nlink == 0) return {Code::kNotFound, what + "unlinked"};
  if (inode.nlink >= kMaxLinks) return {Code::kTooManyLinks, what + "too many links"};
  // One file cannot count for two projects.
  if (inode.project_id != parent.project_id) {
    return {Code::kCrossDevice, what + "the directory is of another project"};
  }
  return Status::Ok();
}

}  // namespace

Result<proto::AttrResponse> Link(OpContext& ctx, const proto::LinkRequest& request) {
  ASSIGN_OR_RETURN(Inode parent, BeginCreation(ctx, request.ctx(), "link",
                                               InodeId(request.parent()), request.name()));
  ASSIGN_OR_RETURN(Inode inode, LoadInode(ctx, InodeId(request.inode())));
  RETURN_IF_ERROR(CheckLinkable(inode, parent));
  ++inode.nlink;
  TouchChange(ctx, inode);
  AddEntry(ctx, parent, request.name(), inode.id, inode.mode);
  StoreInode(ctx, parent);
  return StoreAndAnswer(ctx, inode);
}

}  // namespace sheaf::meta
