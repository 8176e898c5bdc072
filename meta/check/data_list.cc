#include "meta/check/data_list.h"

#include <array>
#include <utility>

#include "meta/ops/rows.h"
#include "meta/schema/keys.h"
#include "meta/schema/values.h"

namespace sheaf::meta {
namespace {

// In this order: a file that is removed between two states moves on to a later table.
constexpr std::array kTables = {Table::kInode, Table::kTruncateIntent, Table::kRemoval,
                                Table::kRecord, Table::kRecordLive};

void FillLayout(const Layout& layout, proto::Layout* into) {
  into->set_chunk_size_log2(layout.chunk_size_log2);
  into->set_stripe_width(layout.stripe_width);
  into->set_table_version(layout.table_version);
  into->set_seed(layout.seed);
}

// The data that a row names; data_id 0: none. A row that does not decode is an error: what it
// names would look dead.
Result<proto::DataEntry> EntryOf(Table table, std::string_view key, std::string_view value) {
  proto::DataEntry entry;
  ASSIGN_OR_RETURN(const uint64_t id, KeyField(key, 0));
  if (table == Table::kInode) {
    ASSIGN_OR_RETURN(const Inode inode, DecodeInode(InodeId(id), value));
    if (!inode.IsRegular()) return entry;
    entry.set_data_id(inode.data_id.value());
    if (inode.nlink == 0) return entry;  // about to go
    entry.set_inode(id);
    entry.set_size(inode.size);
    FillLayout(inode.layout, entry.mutable_layout());
  } else if (table == Table::kRemoval) {
    ASSIGN_OR_RETURN(const Removal removal, DecodeRemoval(value));
    entry.set_data_id(removal.data_id.value());
  } else if (table == Table::kTruncateIntent) {
    ASSIGN_OR_RETURN(const TruncateIntent intent, DecodeTruncateIntent(value));
    entry.set_data_id(intent.data_id.value());
  } else {
    entry.set_data_id(id);
  }
  return entry;
}

Result<uint64_t> NextDataId(const ReadView& view) {
  ASSIGN_OR_RETURN(const auto row, view.Get(AllocatorKey(Sequence::kDataId)));
  if (!row) return uint64_t{1};
  return DecodeCounter(*row);
}

const KeyRange& RangeOf(size_t table) {
  static const auto ranges = [] {
    std::array<KeyRange, kTables.size()> all;
    for (size_t i = 0; i < all.size(); ++i) all[i] = TableRange(kTables[i]);
    return all;
  }();
  return ranges[table];
}

// Visits rows from `begin` of kTables[table] on, at most `limit`; answers where to go on, empty at
// the end of the table.
template <typename Visit>
Result<std::string> VisitTable(const ReadView& view, size_t table, const std::string& begin,
                               size_t limit, Visit visit) {
  Status status;
  size_t rows = 0;
  std::string last;
  RETURN_IF_ERROR(view.Scan(begin, RangeOf(table).end, limit, [&](auto key, auto value) {
    Result<proto::DataEntry> entry = EntryOf(kTables[table], key, value);
    status = entry.status();
    if (!entry.ok()) return false;
    if (++rows == limit) last = std::string(key) + '\0';
    if (entry->data_id() != 0) visit(std::move(*entry));
    return true;
  }));
  RETURN_IF_ERROR(status.With("list data"));
  return last;
}

}  // namespace

Result<proto::ListDataResponse> ListData(const ReadView& view, const std::string& cursor,
                                         uint64_t min_data_id, uint64_t max_data_id) {
  // The cursor: which table, and the key to go on at.
  size_t table = 0;
  std::string begin = RangeOf(0).begin;
  if (!cursor.empty()) {
    table = static_cast<uint8_t>(cursor[0]);
    if (table >= kTables.size()) return Status(Code::kInvalid, "list data: not a cursor of mine");
    begin = cursor.substr(1);
  }
  proto::ListDataResponse page;
  ASSIGN_OR_RETURN(const uint64_t next_data_id, NextDataId(view));
  page.set_next_data_id(next_data_id);
  ASSIGN_OR_RETURN(const std::string next,
                   VisitTable(view, table, begin, kDataPage, [&](proto::DataEntry entry) {
                     if (entry.data_id() < min_data_id) return;
                     if (max_data_id != 0 && entry.data_id() > max_data_id) return;
                     *page.add_entries() = std::move(entry);
                   }));
  if (!next.empty()) {
    page.set_cursor(std::string(1, static_cast<char>(table)) + next);
  } else if (++table < kTables.size()) {
    page.set_cursor(std::string(1, static_cast<char>(table)) + RangeOf(table).begin);
  }
  return page;
}

Result<DeadData> FindDead(const ReadView& view, std::unordered_set<uint64_t> ids) {
  for (size_t table = 0; table < kTables.size(); ++table) {
    std::string begin = RangeOf(table).begin;
    while (!begin.empty()) {
      ASSIGN_OR_RETURN(
          begin, VisitTable(view, table, begin, kDataPage,
                            [&](const proto::DataEntry& entry) { ids.erase(entry.data_id()); }));
    }
  }
  DeadData dead;
  ASSIGN_OR_RETURN(dead.next, NextDataId(view));
  for (uint64_t id : ids) {
    if (id != 0) dead.ids.emplace_back(id);
  }
  return dead;
}

Result<proto::GetDataResponse> GetData(const ReadView& view, InodeId id) {
  proto::GetDataResponse answer;
  const Result<Inode> inode = LoadInode(view, id);
  if (inode.status().code() == Code::kStale) return answer;
  RETURN_IF_ERROR(inode.status());
  if (!inode->IsRegular()) return answer;
  ASSIGN_OR_RETURN(const auto intent, view.Get(TruncateIntentKey(id)));
  answer.set_exists(inode->nlink > 0);
  answer.set_data_id(inode->data_id.value());
  answer.set_size(inode->size);
  answer.set_version(inode->version);
  answer.set_settled(inode->writers == 0 && !intent);
  return answer;
}

}  // namespace sheaf::meta
