#include "meta/ops/ops.h"

#include "meta/ops/directory.h"
#include "meta/ops/rows.h"

namespace sheaf::meta {
namespace {

Status CheckTarget(const std::string& target) {
  // symlink(2): an empty target is as a name that does not exist.
  if (target.empty()) return {Code::kNotFound, "symlink: the target is empty"};
  if (target.size() > kMaxSymlinkBytes) {
    return {Code::kNameTooLong, "symlink: a target of " + std::to_string(target.size()) +
                                    " bytes (at most " + std::to_string(kMaxSymlinkBytes) + ")"};
  }
  if (target.find('\0') == std::string::npos) return Status::Ok();
  return {Code::kInvalid, "symlink: the target contains NUL"};
}

}  // namespace

Result<proto::AttrResponse> Symlink(OpContext& ctx, const proto::SymlinkRequest& request) {
  RETURN_IF_ERROR(CheckTarget(request.target()));
  ASSIGN_OR_RETURN(Inode parent, BeginCreation(ctx, request.ctx(), "symlink",
                                               InodeId(request.parent()), request.name()));
  ASSIGN_OR_RETURN(Inode link, NewInode(ctx, request.ctx().caller(), parent, S_IFLNK | 0777));
  link.target = request.target();
  RETURN_IF_ERROR(FinishCreation(ctx, parent, request.name(), link));
  return AttrAnswer(link);
}

}  // namespace sheaf::meta
