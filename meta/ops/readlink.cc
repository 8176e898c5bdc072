#include "meta/ops/ops.h"

#include "meta/ops/rows.h"

namespace sheaf::meta {

Result<proto::ReadlinkResponse> Readlink(const ReadView& view,
                                         const proto::ReadlinkRequest& request) {
  ASSIGN_OR_RETURN(Inode inode, LoadInode(view, InodeId(request.inode())));
  if (!inode.IsSymlink()) {
    return Status(Code::kInvalid, "readlink " + ToString(inode.id) + ": not a symbolic link");
  }
  proto::ReadlinkResponse answer;
  answer.set_target(std::move(inode.target));
  return answer;
}

}  // namespace sheaf::meta
