#include "meta/check/row_check.h"

#include <string>
#include <utility>
#include <vector>

#include "meta/schema/values.h"

namespace sheaf::meta {

const char* OwnedRowCheck::name() const {
  switch (table_) {
    case Table::kRemoval:
      return "removal queue";
    case Table::kTruncateIntent:
      return "truncate intents";
    case Table::kWriteOpen:
      return "write-opens";
    case Table::kResult:
      return "results";
    default:
      return "extended attributes";
  }
}

Result<size_t> OwnedRowCheck::Step() {
  ASSIGN_OR_RETURN(const std::vector<CheckRow> rows, cursor_.Next(kCheckPage));
  for (const CheckRow& row : rows) {
    const Result<uint64_t> id = KeyField(row.key, 0);
    if (!id.ok()) {
      findings_.AddBadRow(row.key, id.status().message());
      continue;
    }
    bool skip = false;
    switch (table_) {
      case Table::kRemoval:
        RETURN_IF_ERROR(CheckRemoval(row, *id));
        break;
      case Table::kTruncateIntent:
        RETURN_IF_ERROR(CheckIntent(row, InodeId(*id)));
        break;
      case Table::kWriteOpen:
      case Table::kResult: {
        ASSIGN_OR_RETURN(skip, CheckSessionRow(row, Incarnation(*id)));
        break;
      }
      default: {
        ASSIGN_OR_RETURN(skip, CheckXattr(InodeId(*id)));
        break;
      }
    }
    if (!skip) continue;
    cursor_.SkipTo(IdRange(table_, *id).end);
    break;
  }
  return rows.size();
}

Status OwnedRowCheck::CheckRemoval(const CheckRow& row, uint64_t epoch) {
  const Result<Removal> removal = DecodeRemoval(row.value);
  if (!removal.ok()) {
    findings_.AddBadRow(row.key, removal.status().message());
    return Status::Ok();
  }
  if (removal->kind != Removal::Kind::kData || !removal->inode.IsSet()) return Status::Ok();
  ASSIGN_OR_RETURN(const auto inode_row, view_.Get(InodeKey(removal->inode)));
  if (!inode_row) return Status::Ok();
  const Result<Inode> inode = DecodeInode(removal->inode, *inode_row);
  if (!inode.ok() || !inode->IsRegular() || inode->data_id != removal->data_id) {
    return Status::Ok();
  }
  proto::Finding& finding =
      findings_.Add(proto::QUEUED_LIVE_DATA, "removal " + std::to_string(epoch) + ": data " +
                                                 ToString(removal->data_id) + " is what inode " +
                                                 ToString(inode->id) + " has now");
  finding.set_epoch(epoch);
  finding.set_inode(inode->id.value());
  return Status::Ok();
}

Status OwnedRowCheck::CheckIntent(const CheckRow& row, InodeId id) {
  const Result<TruncateIntent> intent = DecodeTruncateIntent(row.value);
  if (!intent.ok()) {
    findings_.AddBadRow(row.key, intent.status().message());
    return Status::Ok();
  }
  ASSIGN_OR_RETURN(const auto inode_row, view_.Get(InodeKey(id)));
  if (inode_row) {
    const Result<Inode> inode = DecodeInode(id, *inode_row);
    if (!inode.ok() || (inode->IsRegular() && inode->data_id == intent->data_id)) {
      return Status::Ok();
    }
  }
  proto::Finding& finding = findings_.Add(
      proto::STALE_INTENT,
      "truncate intent of inode " + ToString(id) +
          (inode_row ? ": it is about bytes the file has not" : ": the inode does not exist"));
  finding.set_inode(id.value());
  return Status::Ok();
}

Result<bool> OwnedRowCheck::CheckSessionRow(const CheckRow& row, Incarnation session) {
  const bool is_result = table_ == Table::kResult;
  const Status status =
      is_result ? DecodeResult(row.value).status() : DecodeWriteOpen(row.value).status();
  if (!status.ok()) findings_.AddBadRow(row.key, status.message());
  ASSIGN_OR_RETURN(const bool exists, owners_.Has(SessionKey(session)));
  if (exists) return false;
  proto::Finding& finding =
      findings_.Add(is_result ? proto::DEAD_RESULTS : proto::DEAD_WRITE_OPEN,
                    std::string(is_result ? "results" : "write-opens") + " of session " +
                        ToString(session) + ": there is no such session");
  finding.set_incarnation(session.value());
  return true;
}

Result<bool> OwnedRowCheck::CheckXattr(InodeId inode) {
  ASSIGN_OR_RETURN(const bool exists, owners_.Has(InodeKey(inode)));
  if (exists) return false;
  proto::Finding& finding =
      findings_.Add(proto::ORPHAN_XATTRS, "extended attributes of inode " + ToString(inode) +
                                              ": the inode does not exist");
  finding.set_inode(inode.value());
  return true;
}

}  // namespace sheaf::meta
