#include "meta/ops/ops.h"

#include "meta/ops/directory.h"
#include "meta/ops/rows.h"

namespace sheaf::meta {

Result<proto::AttrResponse> Mkdir(OpContext& ctx, const proto::MkdirRequest& request) {
  ASSIGN_OR_RETURN(Inode parent, BeginCreation(ctx, request.ctx(), "mkdir",
                                               InodeId(request.parent()), request.name()));
  if (parent.nlink >= kMaxLinks) {
    return EntryError(Code::kTooManyLinks, "mkdir", parent.id, request.name(),
                      "the directory has too many subdirectories");
  }
  ASSIGN_OR_RETURN(const Ancestry ancestry, WalkUp(ctx, parent, kRootInode));
  RETURN_IF_ERROR(CheckDepth(ancestry, "mkdir", parent.id));
  ASSIGN_OR_RETURN(Inode directory, NewInode(ctx, request.ctx().caller(), parent,
                                             S_IFDIR | (request.mode() & 01777)));
  directory.nlink = 2;  // its name and its "."
  directory.parent = parent.id;
  directory.chunk_size_log2 = parent.chunk_size_log2;
  ++parent.nlink;  // the new one's ".."
  RETURN_IF_ERROR(FinishCreation(ctx, parent, request.name(), directory));
  return AttrAnswer(directory);
}

}  // namespace sheaf::meta
