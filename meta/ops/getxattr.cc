#include "meta/ops/ops.h"

#include "meta/ops/rows.h"
#include "meta/ops/xattr.h"
#include "meta/schema/keys.h"

namespace sheaf::meta {

Result<proto::GetXattrResponse> GetXattr(const ReadView& view,
                                         const proto::GetXattrRequest& request) {
  RETURN_IF_ERROR(CheckCaller(request.ctx()));
  RETURN_IF_ERROR(CheckXattrName(request.name()));
  ASSIGN_OR_RETURN(const Inode inode, LoadInode(view, InodeId(request.inode())));
  RETURN_IF_ERROR(CheckXattrRead(request.ctx().caller(), inode, request.name()));
  ASSIGN_OR_RETURN(auto value, view.Get(XattrKey(inode.id, request.name())));
  if (!value) return NoSuchXattr(inode, request.name());
  proto::GetXattrResponse answer;
  answer.set_value(*std::move(value));
  return answer;
}

}  // namespace sheaf::meta
