#include "meta/inspect/inspect.h"

#include <charconv>
#include <memory>
#include <optional>

#include "common/state_dir.h"
#include "meta/inspect/row_facts.h"
#include "meta/kv/rocksdb_kv.h"
#include "meta/schema/keys.h"

namespace sheaf::meta {
namespace {

Result<uint64_t> Number(const InspectRequest& request, size_t argument, const char* name) {
  uint64_t value = 0;
  if (argument < request.arguments.size()) {
    const std::string& text = request.arguments[argument];
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size()) return value;
    return Status(Code::kUsage,
                  "inspect " + request.what + ": " + name + " " + text + " is not a number");
  }
  return Status(Code::kUsage, "inspect " + request.what + ": name the " + name);
}

Status ShowRange(const ReadView& store, const KeyRange& range, uint64_t limit,
                 const PrintFacts& print) {
  uint64_t shown = 0;
  bool more = false;
  RETURN_IF_ERROR(store.Scan(range.begin, range.end, 0, [&](auto key, auto value) {
    if (limit != 0 && shown == limit) {
      more = true;
      return false;
    }
    ++shown;
    const Result<Facts> facts = RowFacts(key, value);
    print(facts.ok() ? *facts
                     : Facts().Add("key", Hex(key)).Add("error", facts.status().message()));
    return true;
  }));
  if (more) print(Facts().Add("more", "yes; raise --limit, or 0 for all"));
  return Status::Ok();
}

Status ShowRow(const ReadView& store, const std::string& key, const std::string& what,
               const PrintFacts& print) {
  ASSIGN_OR_RETURN(const auto row, store.Get(key));
  if (!row) return {Code::kNotFound, what + ": there is none"};
  ASSIGN_OR_RETURN(const Facts facts, RowFacts(key, *row));
  print(facts);
  return Status::Ok();
}

Status ShowSummary(const InspectRequest& request, const ReadView& store, const PrintFacts& print) {
  ASSIGN_OR_RETURN(const StateMarker marker, ReadStateMarker(request.directory));
  print(Facts()
            .Add("kind", marker.kind)
            .Add("format", marker.format_version)
            .Add("uuid", marker.uuid));
  for (Table table : {Table::kStore, Table::kUsage, Table::kAllocator}) {
    RETURN_IF_ERROR(ShowRange(store, TableRange(table), 0, print));
  }
  return Status::Ok();
}

// An inode with what hangs on it.
Status ShowInode(const InspectRequest& request, const ReadView& store, const PrintFacts& print) {
  ASSIGN_OR_RETURN(const uint64_t id, Number(request, 0, "inode"));
  RETURN_IF_ERROR(ShowRow(store, InodeKey(InodeId(id)), "inode " + std::to_string(id), print));
  RETURN_IF_ERROR(ShowRange(store, IdRange(Table::kXattr, id), request.limit, print));
  return ShowRange(store, IdRange(Table::kTruncateIntent, id), request.limit, print);
}

Status ShowDentry(const InspectRequest& request, const ReadView& store, const PrintFacts& print) {
  ASSIGN_OR_RETURN(const uint64_t parent, Number(request, 0, "parent"));
  if (request.arguments.size() < 2) return {Code::kUsage, "inspect dentry: name the entry"};
  const std::string& name = request.arguments[1];
  return ShowRow(store, DentryKey(InodeId(parent), name),
                 "dentry " + std::to_string(parent) + "/" + name, print);
}

Status ShowRows(const InspectRequest& request, const ReadView& store, const PrintFacts& print) {
  if (request.arguments.empty()) {
    return ShowRange(store, {std::string(1, '\0'), "\xff"}, request.limit, print);
  }
  const std::string& table = request.arguments[0];
  if (table.size() != 1) {
    return {Code::kUsage, "inspect rows: table " + table + " is not one letter of docs/FORMAT.md"};
  }
  return ShowRange(store, TableRange(static_cast<Table>(table[0])), request.limit, print);
}

}  // namespace

Status Inspect(const InspectRequest& request, const PrintFacts& print) {
  RETURN_IF_ERROR(ReadStateMarker(request.directory).status());
  ASSIGN_OR_RETURN(const std::unique_ptr<ReadView> store,
                   OpenRocksDbReadOnly(request.directory + "/db"));
  const auto table = [&](Table which) {
    return ShowRange(*store, TableRange(which), request.limit, print);
  };
  if (request.what == "summary") return ShowSummary(request, *store, print);
  if (request.what == "rows") return ShowRows(request, *store, print);
  if (request.what == "inode") return ShowInode(request, *store, print);
  if (request.what == "dentry") return ShowDentry(request, *store, print);
  if (request.what == "removals") return table(Table::kRemoval);
  if (request.what == "intents") return table(Table::kTruncateIntent);
  if (request.what == "sessions") return table(Table::kSession);
  if (request.what == "chains") return table(Table::kCluster);
  if (request.what == "directory") {
    ASSIGN_OR_RETURN(const uint64_t id, Number(request, 0, "inode"));
    return ShowRange(*store, IdRange(Table::kDirectory, id), request.limit, print);
  }
  return {Code::kUsage, "inspect: " + request.what +
                            " is nothing of a metadata directory (summary, rows, inode, dentry, "
                            "directory, removals, intents, sessions, chains)"};
}

}  // namespace sheaf::meta
