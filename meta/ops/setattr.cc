#include "meta/ops/ops.h"

#include "meta/ops/access.h"
#include "meta/ops/rows.h"

namespace sheaf::meta {
namespace {

using Request = proto::SetAttrRequest;

Status NotPermitted(const Inode& inode, const char* what) {
  return {Code::kNotPermitted, "setattr " + ToString(inode.id) + ": " + what};
}

Status CheckMode(const Request& request, const Inode& inode) {
  if (!request.has_mode()) return Status::Ok();
  if (!IsOwner(request.ctx().caller(), inode)) return NotPermitted(inode, "not the owner");
  if (!inode.IsSymlink()) return Status::Ok();
  return {Code::kUnsupported, "setattr " + ToString(inode.id) + ": a symbolic link has no mode"};
}

// Giving a file away is the superuser's; its owner may move it among the groups he is in.
Status CheckOwners(const Request& request, const Inode& inode) {
  const proto::Caller& caller = request.ctx().caller();
  if (IsSuperuser(caller)) return Status::Ok();
  const bool owner = caller.uid() == inode.uid;
  if (request.has_uid() && !(owner && request.uid() == inode.uid)) {
    return NotPermitted(inode, "only the superuser gives files away");
  }
  if (request.has_gid() &&
      !(owner && (request.gid() == inode.gid || InGroup(caller, request.gid())))) {
    return NotPermitted(inode, "not the owner, or not in the group");
  }
  return Status::Ok();
}

// A chosen time is the owner's to set; "now" is anyone's who may write.
Status CheckTimes(const Request& request, const Inode& inode) {
  if (IsOwner(request.ctx().caller(), inode)) return Status::Ok();
  if (request.has_atime_ns() || request.has_mtime_ns()) {
    return NotPermitted(inode, "only the owner sets times");
  }
  if (!request.atime_now() && !request.mtime_now()) return Status::Ok();
  return CheckAccess(request.ctx().caller(), inode, kMayWrite);
}

Status CheckProject(const Request& request, const Inode& inode) {
  if (!request.has_project_id() || IsSuperuser(request.ctx().caller())) return Status::Ok();
  return NotPermitted(inode, "only the superuser sets projects");
}

void ApplyOwners(const Request& request, Inode& inode) {
  if (!request.has_uid() && !request.has_gid()) return;
  if (request.has_uid()) inode.uid = request.uid();
  if (request.has_gid()) inode.gid = request.gid();
  DropPrivilegeBits(inode);
}

// After the owners: set-group-id is judged by the new group.
void ApplyMode(const Request& request, Inode& inode) {
  if (!request.has_mode()) return;
  uint32_t mode = request.mode() & 07777;
  const proto::Caller& caller = request.ctx().caller();
  if (!IsSuperuser(caller) && !InGroup(caller, inode.gid)) mode &= ~uint32_t{S_ISGID};
  inode.mode = (inode.mode & S_IFMT) | mode;
}

void ApplyTimes(const OpContext& ctx, const Request& request, Inode& inode) {
  if (request.atime_now()) inode.atime_ns = ctx.now_ns();
  if (request.mtime_now()) inode.mtime_ns = ctx.now_ns();
  if (request.has_atime_ns()) inode.atime_ns = request.atime_ns();
  if (request.has_mtime_ns()) inode.mtime_ns = request.mtime_ns();
}

Status ApplyProject(OpContext& ctx, const Request& request, Inode& inode) {
  if (!request.has_project_id() || request.project_id() == inode.project_id) return Status::Ok();
  const bool counted = inode.nlink > 0 && inode.id != kRootInode;
  const auto bytes = static_cast<int64_t>(inode.size);
  if (counted) RETURN_IF_ERROR(AddUsage(ctx, inode, -1, -bytes));
  inode.project_id = request.project_id();
  return counted ? AddUsage(ctx, inode, 1, bytes) : Status::Ok();
}

}  // namespace

Result<proto::AttrResponse> SetAttr(OpContext& ctx, const proto::SetAttrRequest& request) {
  RETURN_IF_ERROR(CheckCaller(request.ctx()));
  ASSIGN_OR_RETURN(Inode inode, LoadInode(ctx, InodeId(request.inode())));
  RETURN_IF_ERROR(CheckMode(request, inode));
  RETURN_IF_ERROR(CheckOwners(request, inode));
  RETURN_IF_ERROR(CheckTimes(request, inode));
  RETURN_IF_ERROR(CheckProject(request, inode));
  ApplyOwners(request, inode);
  ApplyMode(request, inode);
  ApplyTimes(ctx, request, inode);
  RETURN_IF_ERROR(ApplyProject(ctx, request, inode));
  TouchChange(ctx, inode);
  return StoreAndAnswer(ctx, inode);
}

}  // namespace sheaf::meta
