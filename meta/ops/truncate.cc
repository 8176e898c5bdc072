#include "meta/ops/ops.h"

#include "meta/ops/access.h"
#include "meta/ops/file_length.h"
#include "meta/ops/rows.h"

namespace sheaf::meta {

Result<proto::AttrResponse> Truncate(OpContext& ctx, const proto::TruncateRequest& request) {
  RETURN_IF_ERROR(CheckCaller(request.ctx()));
  ASSIGN_OR_RETURN(Inode inode, LoadInode(ctx, InodeId(request.inode())));
  const std::string what = "truncate inode " + ToString(inode.id) + ": ";
  if (inode.IsDirectory()) return Status(Code::kIsDirectory, what + "a directory");
  if (!inode.IsRegular()) return Status(Code::kInvalid, what + "not a regular file");
  if (!request.from_handle()) {
    RETURN_IF_ERROR(CheckAccess(request.ctx().caller(), inode, kMayWrite));
  }
  RETURN_IF_ERROR(TruncateFile(ctx, request.ctx().caller(), inode, request.size()));
  return StoreAndAnswer(ctx, inode);
}

}  // namespace sheaf::meta
