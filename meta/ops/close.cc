#include "meta/ops/ops.h"

#include "meta/ops/file_length.h"
#include "meta/ops/rows.h"

namespace sheaf::meta {

Result<proto::AttrResponse> Close(OpContext& ctx, const proto::CloseRequest& request) {
  ASSIGN_OR_RETURN(Inode inode, LoadInode(ctx, InodeId(request.inode())));
  if (!inode.IsRegular()) return AttrAnswer(inode);
  if (request.has_report()) {
    RETURN_IF_ERROR(ApplyReport(ctx, request.ctx().caller(), request.report(), inode));
  }
  RETURN_IF_ERROR(EndWriteOpen(ctx, inode));
  return StoreAndAnswer(ctx, inode);
}

}  // namespace sheaf::meta
