#include "meta/ops/file_length.h"

#include <algorithm>
#include <string>

#include "meta/ops/access.h"
#include "meta/ops/directory.h"
#include "meta/ops/ops.h"
#include "meta/ops/rows.h"
#include "meta/schema/keys.h"

namespace sheaf::meta {
namespace {

Status CheckSize(uint64_t size, const Inode& file) {
  if (size <= kMaxFileSize) return Status::Ok();
  return {Code::kFileTooBig, "set length of inode " + ToString(file.id) + ": " +
                                 std::to_string(size) + " bytes (at most " +
                                 std::to_string(kMaxFileSize) + ")"};
}

Status SetSize(OpContext& ctx, uint64_t size, Inode& file) {
  const auto change = static_cast<int64_t>(size) - static_cast<int64_t>(file.size);
  file.size = size;
  // An unlinked file's bytes are out of the totals already.
  return file.nlink == 0 ? Status::Ok() : AddUsage(ctx, file, 0, change);
}

// Truncation to nothing: the bytes get a new name and the old ones are reclaimed in the background,
// so that no chunk is touched while the caller waits, and a stale writer hits a dead data_id.
Status ReplaceData(OpContext& ctx, Inode& file) {
  RETURN_IF_ERROR(AddRemoval(ctx, Removal::Kind::kData, file));
  ASSIGN_OR_RETURN(const uint64_t data_id, ctx.Allocate(Sequence::kDataId));
  file.data_id = DataId(data_id);
  file.layout.seed = MixBits(data_id);
  ctx.Delete(TruncateIntentKey(file.id));  // it was about the old bytes
  return SetSize(ctx, 0, file);
}

Result<std::optional<TruncateIntent>> LoadIntent(const ReadView& view, InodeId inode) {
  ASSIGN_OR_RETURN(const auto row, view.Get(TruncateIntentKey(inode)));
  if (!row) return std::optional<TruncateIntent>();
  ASSIGN_OR_RETURN(const TruncateIntent intent, DecodeTruncateIntent(*row));
  return std::optional(intent);
}

Status CheckNotTrimming(const ReadView& view, const Inode& file) {
  ASSIGN_OR_RETURN(const auto pending, LoadIntent(view, file.id));
  if (!pending) return Status::Ok();
  return {Code::kBusy, "extend inode " + ToString(file.id) + ": its tail is being trimmed"};
}

// REQUIRES: 0 < size < file.size; size_epoch is raised already.
Status Shorten(OpContext& ctx, uint64_t size, Inode& file) {
  ASSIGN_OR_RETURN(const auto pending, LoadIntent(ctx, file.id));
  const TruncateIntent intent = {
      .size_epoch = file.size_epoch,
      .data_id = file.data_id,
      .layout = file.layout,
      .keep_bytes = size,
      .old_bytes = pending ? std::max(pending->old_bytes, file.size) : file.size};
  ctx.Put(TruncateIntentKey(file.id), EncodeTruncateIntent(intent));
  return SetSize(ctx, size, file);
}

}  // namespace

Status RaiseLength(OpContext& ctx, uint64_t length, Inode& file) {
  if (length <= file.size) return Status::Ok();
  RETURN_IF_ERROR(CheckSize(length, file));
  RETURN_IF_ERROR(CheckNotTrimming(ctx, file));
  return SetSize(ctx, length, file);
}

// The length stays: the report after the write raises it. Until then nobody else gets the range.
Result<uint64_t> ReserveAtEnd(OpContext& ctx, uint64_t known_length, uint64_t bytes, Inode& file) {
  RETURN_IF_ERROR(CheckNotTrimming(ctx, file));
  const uint64_t offset = std::max({file.size, file.append_end, known_length});
  RETURN_IF_ERROR(CheckSize(offset, file));  // by itself: the sum below must not wrap
  RETURN_IF_ERROR(CheckSize(offset + bytes, file));
  file.append_end = offset + bytes;
  return offset;
}

Status TruncateFile(OpContext& ctx, const proto::Caller& caller, Inode& file, uint64_t size) {
  RETURN_IF_ERROR(CheckSize(size, file));
  file.size_epoch = SizeEpoch(file.size_epoch.value() + 1);
  file.append_end = 0;  // reservations go with the epoch
  // A writer may have put down bytes that it has not reported yet.
  const bool may_have_chunks = file.size > 0 || file.writers > 0;
  if (size == 0) {
    if (may_have_chunks) RETURN_IF_ERROR(ReplaceData(ctx, file));
  } else if (size < file.size) {
    RETURN_IF_ERROR(Shorten(ctx, size, file));
  } else {
    RETURN_IF_ERROR(RaiseLength(ctx, size, file));
  }
  if (!IsSuperuser(caller)) DropPrivilegeBits(file);
  TouchContents(ctx, file);
  return Status::Ok();
}

Status ApplyReport(OpContext& ctx, const proto::Caller& caller, const proto::LengthReport& report,
                   Inode& file) {
  if (report.size_epoch() == file.size_epoch.value()) {
    RETURN_IF_ERROR(RaiseLength(ctx, report.length(), file));
  }
  if (report.wrote()) {
    if (!IsSuperuser(caller)) DropPrivilegeBits(file);
    TouchContents(ctx, file);
  }
  return Status::Ok();
}

Status BeginWriteOpen(OpContext& ctx, Inode& file) {
  if (!ctx.request()) return Status::Ok();
  std::string key = WriteOpenKey(ctx.request()->incarnation, file.id);
  ASSIGN_OR_RETURN(const auto row, ctx.Get(key));
  WriteOpen open;
  if (row) {
    ASSIGN_OR_RETURN(open, DecodeWriteOpen(*row));
  } else {
    ++file.writers;
  }
  ++open.count;
  ctx.Put(std::move(key), EncodeWriteOpen(open));
  return Status::Ok();
}

Status EndWriteOpen(OpContext& ctx, Inode& file) {
  if (!ctx.request()) return Status::Ok();
  std::string key = WriteOpenKey(ctx.request()->incarnation, file.id);
  ASSIGN_OR_RETURN(const auto row, ctx.Get(key));
  if (!row) return Status::Ok();
  ASSIGN_OR_RETURN(WriteOpen open, DecodeWriteOpen(*row));
  if (open.count > 1) {
    --open.count;
    ctx.Put(std::move(key), EncodeWriteOpen(open));
    return Status::Ok();
  }
  ctx.Delete(std::move(key));
  CHECK(file.writers > 0, "inode " + ToString(file.id) + " counts fewer writers than it has");
  --file.writers;
  return Status::Ok();
}

Result<bool> HasWriteOpen(const OpContext& ctx, InodeId file) {
  if (!ctx.request()) return false;
  ASSIGN_OR_RETURN(const auto row, ctx.Get(WriteOpenKey(ctx.request()->incarnation, file)));
  return row.has_value();
}

Result<TruncateIntent> ReadTruncateIntent(const ReadView& view, InodeId inode) {
  ASSIGN_OR_RETURN(const auto pending, LoadIntent(view, inode));
  if (pending) return *pending;
  return Status(Code::kNoData, "inode " + ToString(inode) + ": no truncate is pending");
}

Status FinishTruncate(OpContext& ctx, InodeId inode, const TruncateIntent& intent) {
  ASSIGN_OR_RETURN(const auto pending, LoadIntent(ctx, inode));
  if (pending && *pending == intent) ctx.Delete(TruncateIntentKey(inode));
  return Status::Ok();
}

}  // namespace sheaf::meta
