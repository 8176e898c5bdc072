#include "meta/ops/ops.h"

#include "meta/ops/rows.h"
#include "meta/ops/xattr.h"
#include "meta/schema/keys.h"

namespace sheaf::meta {

Result<proto::RemoveXattrResponse> RemoveXattr(OpContext& ctx,
                                               const proto::RemoveXattrRequest& request) {
  RETURN_IF_ERROR(CheckCaller(request.ctx()));
  RETURN_IF_ERROR(CheckXattrName(request.name()));
  ASSIGN_OR_RETURN(Inode inode, LoadInode(ctx, InodeId(request.inode())));
  RETURN_IF_ERROR(CheckXattrWrite(request.ctx().caller(), inode, request.name()));
  std::string key = XattrKey(inode.id, request.name());
  ASSIGN_OR_RETURN(const auto existing, ctx.Get(key));
  if (!existing) return NoSuchXattr(inode, request.name());
  ctx.Delete(std::move(key));
  TouchChange(ctx, inode);
  StoreInode(ctx, inode);
  return proto::RemoveXattrResponse();
}

}  // namespace sheaf::meta
