#include "meta/ops/ops.h"

#include "meta/ops/rows.h"

namespace sheaf::meta {

Result<proto::AttrResponse> GetAttr(const ReadView& view, const proto::GetAttrRequest& request) {
  ASSIGN_OR_RETURN(const Inode inode, LoadInode(view, InodeId(request.inode())));
  return AttrAnswer(inode);
}

}  // namespace sheaf::meta
