#include "meta/ops/ops.h"

#include "meta/ops/file_length.h"
#include "meta/ops/rows.h"

namespace sheaf::meta {

// Everything answered is durable already: without a report there is nothing to do.
Result<proto::AttrResponse> Fsync(OpContext& ctx, const proto::FsyncRequest& request) {
  ASSIGN_OR_RETURN(Inode inode, LoadInode(ctx, InodeId(request.inode())));
  if (!inode.IsRegular() || !request.has_report()) return AttrAnswer(inode);
  RETURN_IF_ERROR(ApplyReport(ctx, request.ctx().caller(), request.report(), inode));
  return StoreAndAnswer(ctx, inode);
}

}  // namespace sheaf::meta
