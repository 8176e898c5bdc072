#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>

#include "common/ids.h"
#include "common/status.h"
#include "meta/ops/executor.h"
#include "meta/ops/op_context.h"
#include "meta/schema/values.h"
#include "proto/meta.pb.h"

// The namespace operations, one file each. Reads take a ReadView (Executor::Committed); mutations
// take an OpContext and run on the executor. All check names, permissions and limits by themselves;
// errors are POSIX's. An inode that does not exist is kStale, a name that does not is kNotFound.
//
// Times: creation sets all four; a change of a directory's entries sets its mtime and ctime; a
// change of an inode its ctime. atime is what SetAttr makes it: reading costs no write.

namespace sheaf::meta {

// --- Reads ---
Result<proto::AttrResponse> Lookup(const ReadView& view, const proto::LookupRequest& request);
Result<proto::AttrResponse> GetAttr(const ReadView& view, const proto::GetAttrRequest& request);
Result<proto::ReadlinkResponse> Readlink(const ReadView& view,
                                         const proto::ReadlinkRequest& request);
Result<proto::ReadDirResponse> ReadDir(const ReadView& view, const proto::ReadDirRequest& request);
Result<proto::GetXattrResponse> GetXattr(const ReadView& view,
                                         const proto::GetXattrRequest& request);
Result<proto::ListXattrResponse> ListXattr(const ReadView& view,
                                           const proto::ListXattrRequest& request);

// What the cluster manager knows of the disks.
struct SpaceTotals {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
};
Result<proto::StatFsResponse> StatFs(const ReadView& view, const proto::StatFsRequest& request,
                                     const SpaceTotals& space);

// Opening without write access and O_TRUNC changes nothing: the service may answer it from a view.
bool OpenMutates(const proto::OpenRequest& request);
Result<proto::AttrResponse> OpenForRead(const ReadView& view, const proto::OpenRequest& request);

// --- Mutations ---
Result<proto::AttrResponse> SetAttr(OpContext& ctx, const proto::SetAttrRequest& request);
Result<proto::CreateResponse> Create(OpContext& ctx, const proto::CreateRequest& request);
Result<proto::AttrResponse> Mkdir(OpContext& ctx, const proto::MkdirRequest& request);
Result<proto::AttrResponse> Mknod(OpContext& ctx, const proto::MknodRequest& request);
Result<proto::AttrResponse> Symlink(OpContext& ctx, const proto::SymlinkRequest& request);
Result<proto::AttrResponse> Link(OpContext& ctx, const proto::LinkRequest& request);
Result<proto::UnlinkResponse> Unlink(OpContext& ctx, const proto::UnlinkRequest& request);
Result<proto::RmdirResponse> Rmdir(OpContext& ctx, const proto::RmdirRequest& request);
Result<proto::RenameResponse> Rename(OpContext& ctx, const proto::RenameRequest& request);
// Opening for writing files a write-open row of the session; each such Open or Create is undone by
// one Close, or by DropWriteOpens when the session ends.
Result<proto::AttrResponse> Open(OpContext& ctx, const proto::OpenRequest& request);
// Close is for handles that were opened for writing.
Result<proto::AttrResponse> Close(OpContext& ctx, const proto::CloseRequest& request);
Result<proto::AttrResponse> Fsync(OpContext& ctx, const proto::FsyncRequest& request);
// First step of a truncate. Shortening to a length other than 0 leaves a TruncateIntent: the caller
// trims the chunks it names and then runs FinishTruncate; until then extending answers kBusy. To 0
// of a file that may have chunks the data_id is replaced. A client reports what it wrote (Fsync)
// before it truncates its own file.
Result<proto::AttrResponse> Truncate(OpContext& ctx, const proto::TruncateRequest& request);
// Takes a range at the end of a file that the session has open for writing: no other reservation
// gets a byte of it. kBadHandle without the write-open, kBusy while a truncate is pending.
inline constexpr uint64_t kMaxAppendBytes = uint64_t{1} << 30;  // in one reservation
Result<proto::ReserveAppendResponse> ReserveAppend(OpContext& ctx,
                                                   const proto::ReserveAppendRequest& request);
Result<proto::SetXattrResponse> SetXattr(OpContext& ctx, const proto::SetXattrRequest& request);
Result<proto::RemoveXattrResponse> RemoveXattr(OpContext& ctx,
                                               const proto::RemoveXattrRequest& request);

// --- For the service's own work ---

// kNoData when nothing is pending.
Result<TruncateIntent> ReadTruncateIntent(const ReadView& view, InodeId inode);
// The tail that `intent` (as read) names is trimmed. Does nothing when a later truncate has
// replaced the intent.
Status FinishTruncate(OpContext& ctx, InodeId inode, const TruncateIntent& intent);

// Raises a file's length to what its chunks hold, after its writer was fenced. Does nothing when
// `data_id` is no longer the inode's or it is gone.
Status SettleLength(OpContext& ctx, InodeId inode, DataId data_id, uint64_t length);
// Ends at most `limit` write-opens of a session; answers whether more are left.
Result<bool> DropWriteOpens(OpContext& ctx, Incarnation session, size_t limit);
// Drops at most `limit` stored results of a session; answers whether more are left. Only for a
// session whose row is gone or fenced.
Result<bool> DropResults(OpContext& ctx, Incarnation session, size_t limit);
// Forgets a removal whose chunks are reclaimed: its row, and for kInode the inode's row and xattrs,
// at most `limit` rows a call; answers whether more are left. Idempotent.
Result<bool> FinishRemoval(OpContext& ctx, RemovalEpoch epoch, size_t limit);

// kNoSession when the request names no incarnation or sequence.
Result<RequestId> RequestIdOf(const proto::Context& context);

// An executor operation out of one of the mutations above and its request.
template <typename Request, typename Response>
Operation Bind(Result<Response> (*operation)(OpContext&, const Request&), Request request) {
  return [operation, request = std::move(request)](OpContext& ctx) -> Result<std::string> {
    Result<Response> response = operation(ctx, request);
    if (!response.ok()) return response.status();
    return response->SerializeAsString();
  };
}

}  // namespace sheaf::meta
