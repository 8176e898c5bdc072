#include "meta/ops/ops.h"

#include <sys/xattr.h>

#include "meta/ops/rows.h"
#include "meta/ops/xattr.h"
#include "meta/schema/keys.h"

namespace sheaf::meta {
namespace {

Status CheckValue(const proto::SetXattrRequest& request) {
  if (request.value().size() > kMaxXattrBytes) {
    return {Code::kTooBig, "setxattr " + request.name() + ": a value of " +
                               std::to_string(request.value().size()) + " bytes (at most " +
                               std::to_string(kMaxXattrBytes) + ")"};
  }
  constexpr uint32_t kKnown = XATTR_CREATE | XATTR_REPLACE;
  if ((request.flags() & ~kKnown) == 0 && request.flags() != kKnown) return Status::Ok();
  return {Code::kInvalid,
          "setxattr " + request.name() + ": flags " + std::to_string(request.flags())};
}

// What listxattr can answer at most, which it gives a caller in one piece.
Status CheckListFits(const ReadView& view, InodeId inode, const std::string& name) {
  size_t bytes = name.size() + 1;
  const KeyRange range = IdRange(Table::kXattr, inode.value());
  RETURN_IF_ERROR(view.Scan(range.begin, range.end, 0, [&](std::string_view key, std::string_view) {
    bytes += key.size() - range.begin.size() + 1;
    return bytes <= kMaxXattrListBytes;
  }));
  if (bytes <= kMaxXattrListBytes) return Status::Ok();
  return {Code::kNoSpace, "setxattr " + name + ": inode " + ToString(inode) +
                              " would have more than " + std::to_string(kMaxXattrListBytes) +
                              " bytes of names"};
}

}  // namespace

Result<proto::SetXattrResponse> SetXattr(OpContext& ctx, const proto::SetXattrRequest& request) {
  RETURN_IF_ERROR(CheckCaller(request.ctx()));
  RETURN_IF_ERROR(CheckXattrName(request.name()));
  RETURN_IF_ERROR(CheckValue(request));
  ASSIGN_OR_RETURN(Inode inode, LoadInode(ctx, InodeId(request.inode())));
  RETURN_IF_ERROR(CheckXattrWrite(request.ctx().caller(), inode, request.name()));
  std::string key = XattrKey(inode.id, request.name());
  ASSIGN_OR_RETURN(const auto existing, ctx.Get(key));
  if (existing && request.flags() == XATTR_CREATE) {
    return Status(Code::kExists, "setxattr " + request.name() + ": set already");
  }
  if (!existing && request.flags() == XATTR_REPLACE) return NoSuchXattr(inode, request.name());
  RETURN_IF_ERROR(ctx.CheckSpace("setxattr"));
  if (!existing) RETURN_IF_ERROR(CheckListFits(ctx, inode.id, request.name()));
  ctx.Put(std::move(key), request.value());
  TouchChange(ctx, inode);
  StoreInode(ctx, inode);
  return proto::SetXattrResponse();
}

}  // namespace sheaf::meta
