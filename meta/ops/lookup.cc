#include "meta/ops/ops.h"

#include "meta/ops/access.h"
#include "meta/ops/directory.h"
#include "meta/ops/rows.h"

namespace sheaf::meta {

Result<proto::AttrResponse> Lookup(const ReadView& view, const proto::LookupRequest& request) {
  RETURN_IF_ERROR(CheckCaller(request.ctx()));
  RETURN_IF_ERROR(CheckName(request.name()).With("lookup"));
  ASSIGN_OR_RETURN(const Inode parent, LoadDirectory(view, InodeId(request.parent())));
  RETURN_IF_ERROR(CheckAccess(request.ctx().caller(), parent, kMayExecute));
  ASSIGN_OR_RETURN(const InodeId found, ResolveName(view, parent, request.name()));
  ASSIGN_OR_RETURN(const Inode inode, LoadInode(view, found));
  return AttrAnswer(inode);
}

}  // namespace sheaf::meta
