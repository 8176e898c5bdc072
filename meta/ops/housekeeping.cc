#include "meta/ops/ops.h"

#include <string>
#include <utility>
#include <vector>

#include "meta/ops/file_length.h"
#include "meta/ops/rows.h"
#include "meta/schema/keys.h"

// The service's own steps: what ends with a session, and what is left of a removed inode. Each is
// bounded by its caller and idempotent, so that it can be cut short anywhere and repeated.

namespace sheaf::meta {
namespace {

// The first `limit` keys of a range; `more` tells whether there are others.
struct Keys {
  std::vector<std::string> keys;
  bool more = false;
};

Result<Keys> FirstKeys(const ReadView& view, const KeyRange& range, size_t limit) {
  Keys found;
  RETURN_IF_ERROR(view.Scan(range.begin, range.end, 0, [&](std::string_view key, std::string_view) {
    found.more = found.keys.size() == limit;
    if (!found.more) found.keys.emplace_back(key);
    return !found.more;
  }));
  return found;
}

Result<bool> DeleteRange(OpContext& ctx, const KeyRange& range, size_t limit) {
  ASSIGN_OR_RETURN(Keys found, FirstKeys(ctx, range, limit));
  for (std::string& key : found.keys) ctx.Delete(std::move(key));
  return found.more;
}

Status DropWriteOpenRow(OpContext& ctx, std::string key) {
  ASSIGN_OR_RETURN(const uint64_t inode_number, KeyField(key, 1));
  ctx.Delete(std::move(key));
  Result<Inode> inode = LoadInode(ctx, InodeId(inode_number));
  if (inode.status().code() == Code::kStale) return Status::Ok();
  RETURN_IF_ERROR(inode.status());
  CHECK(inode->writers > 0, "inode counts fewer writers than it has");
  --inode->writers;
  StoreInode(ctx, *inode);
  return Status::Ok();
}

}  // namespace

// The epoch matters as much as the data_id: a truncate that keeps bytes keeps the data_id, and what
// was seen before it would bring the bytes back that it took away.
Result<bool> SettleLength(OpContext& ctx, InodeId id, DataId data_id, SizeEpoch epoch,
                          uint64_t length) {
  Result<Inode> file = LoadInode(ctx, id);
  if (file.status().code() == Code::kStale) return true;
  RETURN_IF_ERROR(file.status());
  if (!file->IsRegular()) return true;
  if (file->data_id != data_id || file->size_epoch != epoch) return false;
  if (length <= file->size) return true;
  RETURN_IF_ERROR(RaiseLength(ctx, length, *file));
  TouchContents(ctx, *file);
  StoreInode(ctx, *file);
  return true;
}

Status DropWriteOpen(OpContext& ctx, Incarnation session, InodeId inode) {
  std::string key = WriteOpenKey(session, inode);
  ASSIGN_OR_RETURN(const auto row, ctx.Get(key));
  if (!row.has_value()) return Status::Ok();
  return DropWriteOpenRow(ctx, std::move(key));
}

Result<bool> DropWriteOpens(OpContext& ctx, Incarnation session, size_t limit) {
  ASSIGN_OR_RETURN(Keys found, FirstKeys(ctx, IdRange(Table::kWriteOpen, session.value()), limit));
  for (std::string& key : found.keys) RETURN_IF_ERROR(DropWriteOpenRow(ctx, std::move(key)));
  return found.more;
}

Result<bool> DropResults(OpContext& ctx, Incarnation session, size_t limit) {
  return DeleteRange(ctx, IdRange(Table::kResult, session.value()), limit);
}

Result<bool> FinishRemoval(OpContext& ctx, RemovalEpoch epoch, size_t limit) {
  ASSIGN_OR_RETURN(const auto row, ctx.Get(RemovalKey(epoch)));
  if (!row) return false;
  ASSIGN_OR_RETURN(const Removal removal, DecodeRemoval(*row));
  if (removal.kind == Removal::Kind::kInode) {
    ASSIGN_OR_RETURN(const bool more,
                     DeleteRange(ctx, IdRange(Table::kXattr, removal.inode.value()), limit));
    if (more) return true;
    ctx.Delete(TruncateIntentKey(removal.inode));
    ctx.Delete(InodeKey(removal.inode));
  }
  ctx.Delete(RemovalKey(epoch));
  return false;
}

}  // namespace sheaf::meta
