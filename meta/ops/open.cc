#include "meta/ops/ops.h"

#include <fcntl.h>

#include "meta/ops/access.h"
#include "meta/ops/file_length.h"
#include "meta/ops/rows.h"

namespace sheaf::meta {
namespace {

bool WantsWrite(uint32_t flags) { return (flags & O_ACCMODE) != O_RDONLY; }

}  // namespace

Status CheckOpen(const proto::OpenRequest& request, const Inode& inode) {
  const std::string what = "open inode " + ToString(inode.id) + ": ";
  const uint32_t flags = request.flags();
  RETURN_IF_ERROR(CheckCaller(request.ctx()));
  ASSIGN_OR_RETURN(const uint32_t mask, OpenMask(flags));
  if (inode.IsSymlink()) return {Code::kLoop, what + "a symbolic link"};
  if (inode.IsDirectory() && ((mask & kMayWrite) != 0 || (flags & O_CREAT) != 0)) {
    return {Code::kIsDirectory, what + "a directory"};
  }
  if (!inode.IsDirectory() && (flags & O_DIRECTORY) != 0) {
    return {Code::kNotDirectory, what + "not a directory"};
  }
  RETURN_IF_ERROR(CheckAccess(request.ctx().caller(), inode, mask));
  if ((flags & O_NOATIME) == 0 || IsOwner(request.ctx().caller(), inode)) return Status::Ok();
  return {Code::kNotPermitted, what + "O_NOATIME is the owner's"};
}

bool OpenMutates(const proto::OpenRequest& request) {
  return WantsWrite(request.flags()) || (request.flags() & O_TRUNC) != 0;
}

Result<proto::AttrResponse> OpenForRead(const ReadView& view, const proto::OpenRequest& request) {
  ASSIGN_OR_RETURN(const Inode inode, LoadInode(view, InodeId(request.inode())));
  RETURN_IF_ERROR(CheckOpen(request, inode));
  return AttrAnswer(inode);
}

Result<proto::AttrResponse> Open(OpContext& ctx, const proto::OpenRequest& request) {
  ASSIGN_OR_RETURN(Inode inode, LoadInode(ctx, InodeId(request.inode())));
  RETURN_IF_ERROR(CheckOpen(request, inode));
  // Devices, pipes and sockets have no bytes here.
  if (!inode.IsRegular() || !OpenMutates(request)) return AttrAnswer(inode);
  if ((request.flags() & O_TRUNC) != 0) {
    RETURN_IF_ERROR(TruncateFile(ctx, request.ctx().caller(), inode, 0));
  }
  if (WantsWrite(request.flags())) RETURN_IF_ERROR(BeginWriteOpen(ctx, inode));
  return StoreAndAnswer(ctx, inode);
}

}  // namespace sheaf::meta
