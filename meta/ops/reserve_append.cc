#include <algorithm>

#include "meta/ops/file_length.h"
#include "meta/ops/ops.h"
#include "meta/ops/rows.h"
#include "meta/schema/keys.h"

namespace sheaf::meta {
namespace {

Status CheckReserve(const OpContext& ctx, const proto::ReserveAppendRequest& request,
                    const Inode& inode) {
  const std::string what = "reserve append to inode " + ToString(inode.id) + ": ";
  if (inode.IsDirectory()) return {Code::kIsDirectory, what + "a directory"};
  if (!inode.IsRegular()) return {Code::kInvalid, what + "not a regular file"};
  if (request.bytes() == 0 || request.bytes() > kMaxAppendBytes) {
    return {Code::kInvalid, what + std::to_string(request.bytes()) + " bytes (1 to " +
                                std::to_string(kMaxAppendBytes) + " at a time)"};
  }
  ASSIGN_OR_RETURN(const bool writes, HasWriteOpen(ctx, inode.id));
  if (!writes) return {Code::kBadHandle, what + "this session does not have it open for writing"};
  return Status::Ok();
}

}  // namespace

Result<proto::ReserveAppendResponse> ReserveAppend(OpContext& ctx,
                                                   const proto::ReserveAppendRequest& request) {
  ASSIGN_OR_RETURN(Inode inode, LoadInode(ctx, InodeId(request.inode())));
  RETURN_IF_ERROR(CheckReserve(ctx, request, inode));
  const bool same_epoch = request.size_epoch() == inode.size_epoch.value();
  ASSIGN_OR_RETURN(const uint64_t offset, ReserveAtEnd(ctx, same_epoch ? request.known_length() : 0,
                                                       request.bytes(), inode));
  StoreInode(ctx, inode);
  proto::ReserveAppendResponse response;
  response.set_offset(offset);
  FillAttr(inode, response.mutable_attr());
  return response;
}

}  // namespace sheaf::meta
