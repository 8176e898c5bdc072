#include "meta/ops/ops.h"

#include "meta/ops/access.h"
#include "meta/ops/directory.h"
#include "meta/ops/rows.h"

namespace sheaf::meta {
namespace {

Result<uint32_t> CheckType(const proto::MknodRequest& request) {
  const uint32_t type = request.mode() & S_IFMT;
  switch (type) {
    case 0:
      return uint32_t{S_IFREG};
    case S_IFREG:
    case S_IFIFO:
    case S_IFSOCK:
      return type;
    case S_IFCHR:
    case S_IFBLK:
      if (IsSuperuser(request.ctx().caller())) return type;
      return Status(Code::kNotPermitted, "mknod: only the superuser makes devices");
    case S_IFDIR:
      return Status(Code::kNotPermitted, "mknod: directories are made by mkdir");
    default:
      return Status(Code::kInvalid, "mknod: no such type (" + std::to_string(type) + ")");
  }
}

}  // namespace

Result<proto::AttrResponse> Mknod(OpContext& ctx, const proto::MknodRequest& request) {
  ASSIGN_OR_RETURN(const uint32_t type, CheckType(request));
  ASSIGN_OR_RETURN(Inode parent, BeginCreation(ctx, request.ctx(), "mknod",
                                               InodeId(request.parent()), request.name()));
  ASSIGN_OR_RETURN(Inode inode,
                   NewInode(ctx, request.ctx().caller(), parent, type | (request.mode() & 07777)));
  if (inode.IsDevice()) inode.rdev = request.rdev();
  if (inode.IsRegular()) RETURN_IF_ERROR(PlaceFile(ctx, parent, 0, inode));
  RETURN_IF_ERROR(FinishCreation(ctx, parent, request.name(), inode));
  return AttrAnswer(inode);
}

}  // namespace sheaf::meta
