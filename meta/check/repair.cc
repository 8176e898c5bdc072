#include "meta/check/repair.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "meta/ops/directory.h"
#include "meta/ops/ops.h"
#include "meta/ops/rows.h"
#include "meta/schema/keys.h"
#include "meta/schema/values.h"

namespace sheaf::meta {
namespace {

constexpr char kLostFound[] = "lost+found";
// Rows of one owner that one repair deletes; the rest is found again.
constexpr size_t kMaxRows = 4096;

// Numbers beyond would leave too few for files.
constexpr uint64_t kMaxBuriedDataId = uint64_t{1} << 62;

using proto::Finding;

Result<std::optional<Inode>> LoadIfAny(const ReadView& view, InodeId id) {
  Result<Inode> inode = LoadInode(view, id);
  if (inode.status().code() == Code::kStale) return std::optional<Inode>();
  if (!inode.ok()) return inode.status();
  return std::optional<Inode>(std::move(*inode));
}

// The inode as it was found, or nothing.
Result<std::optional<Inode>> LoadUnchanged(const ReadView& view, const Finding& finding) {
  ASSIGN_OR_RETURN(auto inode, LoadIfAny(view, InodeId(finding.inode())));
  if (inode && inode->version != finding.inode_version()) inode.reset();
  return inode;
}

Result<std::optional<DirectoryEntryRow>> FindRow(const ReadView& view, InodeId parent,
                                                 uint64_t cookie) {
  ASSIGN_OR_RETURN(const auto row, view.Get(DirectoryKey(parent, cookie)));
  if (!row) return std::optional<DirectoryEntryRow>();
  Result<DirectoryEntryRow> decoded = DecodeDirectoryEntry(*row);
  if (!decoded.ok()) return std::optional<DirectoryEntryRow>();
  return std::optional<DirectoryEntryRow>(std::move(*decoded));
}

// Deletes the rows of a name. The parent's counters are mended for themselves: they may be what is
// wrong, and RemoveEntry relies on them.
Status DropName(OpContext& ctx, InodeId parent_id, const std::string& name, const Dentry& dentry) {
  ASSIGN_OR_RETURN(const auto row, FindRow(ctx, parent_id, dentry.cookie));
  if (row && row->name == name) ctx.Delete(DirectoryKey(parent_id, dentry.cookie));
  ctx.Delete(DentryKey(parent_id, name));
  ASSIGN_OR_RETURN(auto parent, LoadIfAny(ctx, parent_id));
  if (!parent || !parent->IsDirectory()) return Status::Ok();
  if (parent->entries > 0) --parent->entries;
  TouchContents(ctx, *parent);
  StoreInode(ctx, *parent);
  return Status::Ok();
}

Result<bool> RepairDangling(OpContext& ctx, const Finding& finding) {
  const InodeId parent(finding.parent());
  ASSIGN_OR_RETURN(const auto dentry, FindEntry(ctx, parent, finding.name()));
  if (!dentry || dentry->inode.value() != finding.inode()) return false;
  ASSIGN_OR_RETURN(const auto inode, LoadIfAny(ctx, dentry->inode));
  if (inode) return false;
  RETURN_IF_ERROR(DropName(ctx, parent, finding.name(), *dentry));
  return true;
}

Result<bool> RepairParentless(OpContext& ctx, const Finding& finding) {
  const InodeId parent(finding.parent());
  ASSIGN_OR_RETURN(const auto directory, LoadIfAny(ctx, parent));
  if (directory && directory->IsDirectory()) return false;
  ASSIGN_OR_RETURN(const auto dentry, FindEntry(ctx, parent, finding.name()));
  if (!dentry) return false;
  RETURN_IF_ERROR(DropName(ctx, parent, finding.name(), *dentry));
  return true;
}

// Both rows are written anew from the dentry and its inode. A cookie that is another name's by now
// is left to it.
Result<bool> RepairEntryRows(OpContext& ctx, const Finding& finding) {
  const std::string& name = finding.name();
  ASSIGN_OR_RETURN(auto parent, LoadIfAny(ctx, InodeId(finding.parent())));
  if (!parent || !parent->IsDirectory()) return false;
  ASSIGN_OR_RETURN(auto dentry, FindEntry(ctx, parent->id, name));
  if (!dentry) return false;
  ASSIGN_OR_RETURN(const auto inode, LoadIfAny(ctx, dentry->inode));
  if (!inode) return false;
  ASSIGN_OR_RETURN(const auto row, FindRow(ctx, parent->id, dentry->cookie));
  const uint32_t type = inode->mode & S_IFMT;
  if (row && row->name == name && row->inode == dentry->inode && row->type == type &&
      dentry->type == type) {
    return false;
  }
  if ((row && row->name != name) || dentry->cookie < kFirstCookie) {
    dentry->cookie = parent->next_cookie++;
  }
  ReplaceEntry(ctx, *parent, name, *dentry, dentry->inode, type);
  StoreInode(ctx, *parent);
  return true;
}

Result<bool> RepairStrayRow(OpContext& ctx, const Finding& finding) {
  const InodeId parent(finding.parent());
  std::string key = DirectoryKey(parent, finding.cookie());
  ASSIGN_OR_RETURN(const auto stored, ctx.Get(key));
  if (!stored) return false;
  ASSIGN_OR_RETURN(const auto row, FindRow(ctx, parent, finding.cookie()));
  if (row) {
    ASSIGN_OR_RETURN(const auto dentry, FindEntry(ctx, parent, row->name));
    if (dentry && dentry->cookie == finding.cookie()) return false;
  }
  ctx.Delete(std::move(key));
  return true;
}

// A finding comes off the wire: what it would set must be something an inode may have.
Status CheckField(const Finding& finding) {
  const uint64_t value = finding.expected();
  const bool fits = finding.kind() == proto::WRONG_NEXT_COOKIE   ? value >= kFirstCookie
                    : finding.kind() == proto::WRONG_PARENT      ? finding.parent() != 0
                    : finding.kind() == proto::WRONG_ENTRY_COUNT ? true
                                                                 : value <= uint64_t{kMaxLinks};
  if (fits) return Status::Ok();
  return {Code::kInvalid, "repair inode " + std::to_string(finding.inode()) + ": " +
                              std::to_string(value) + " is out of range"};
}

// What is one field of an inode that has not changed since.
Result<bool> RepairField(OpContext& ctx, const Finding& finding) {
  RETURN_IF_ERROR(CheckField(finding));
  ASSIGN_OR_RETURN(auto inode, LoadUnchanged(ctx, finding));
  if (!inode) return false;
  const bool of_directory = finding.kind() == proto::WRONG_PARENT ||
                            finding.kind() == proto::WRONG_NEXT_COOKIE ||
                            finding.kind() == proto::WRONG_ENTRY_COUNT;
  if (of_directory && !inode->IsDirectory()) return false;
  switch (finding.kind()) {
    case proto::WRONG_NEXT_COOKIE:
      inode->next_cookie = finding.expected();
      break;
    case proto::WRONG_ENTRY_COUNT:
      inode->entries = finding.expected();
      break;
    case proto::WRONG_LINKS:
      inode->nlink = static_cast<uint32_t>(finding.expected());
      break;
    case proto::WRONG_WRITERS:
      inode->writers = static_cast<uint32_t>(finding.expected());
      break;
    default:
      inode->parent = InodeId(finding.parent());
      break;
  }
  StoreInode(ctx, *inode);
  return true;
}

Result<bool> RepairExtraLink(OpContext& ctx, const Finding& finding) {
  const InodeId parent(finding.parent());
  ASSIGN_OR_RETURN(const auto inode, LoadUnchanged(ctx, finding));
  if (!inode || inode->parent == parent) return false;
  ASSIGN_OR_RETURN(const auto dentry, FindEntry(ctx, parent, finding.name()));
  if (!dentry || dentry->inode != inode->id) return false;
  RETURN_IF_ERROR(DropName(ctx, parent, finding.name(), *dentry));
  return true;
}

// Makes it if need be, the root's owner's.
Result<Inode> LostFound(OpContext& ctx) {
  ASSIGN_OR_RETURN(const auto entry, FindEntry(ctx, kRootInode, kLostFound));
  if (entry) return LoadDirectory(ctx, entry->inode);
  proto::MkdirRequest request;
  request.set_parent(kRootInode.value());
  request.set_name(kLostFound);
  request.set_mode(0700);
  ASSIGN_OR_RETURN(const proto::AttrResponse made, Mkdir(ctx, request));
  ASSIGN_OR_RETURN(const Inode root, LoadInode(ctx, kRootInode));
  ASSIGN_OR_RETURN(Inode directory, LoadInode(ctx, InodeId(made.attr().inode())));
  directory.uid = root.uid;
  directory.gid = root.gid;
  StoreInode(ctx, directory);
  return directory;
}

Status MoveToLostFound(OpContext& ctx, Inode inode) {
  ASSIGN_OR_RETURN(Inode home, LostFound(ctx));
  const std::string name = "#" + ToString(inode.id);
  ASSIGN_OR_RETURN(const auto taken, FindEntry(ctx, home.id, name));
  if (taken) {
    return {Code::kExists, "/lost+found/" + name + ": exists already; rename it and check again"};
  }
  if (inode.IsDirectory()) {
    inode.parent = home.id;
    ++home.nlink;
  } else {
    inode.nlink = 1;
  }
  AddEntry(ctx, home, name, inode.id, inode.mode);
  StoreInode(ctx, home);
  StoreInode(ctx, inode);
  return Status::Ok();
}

Result<bool> RepairUnreachable(OpContext& ctx, const Finding& finding) {
  ASSIGN_OR_RETURN(const auto inode, LoadUnchanged(ctx, finding));
  if (!inode || inode->nlink == 0) return false;
  RETURN_IF_ERROR(MoveToLostFound(ctx, *inode));
  return true;
}

Result<bool> LiesInItself(const ReadView& view, const Inode& directory) {
  InodeId at = directory.parent;
  for (uint32_t step = 0; step <= 2 * kMaxDirectoryDepth; ++step) {
    if (at == directory.id) return true;
    if (at == kRootInode) return false;
    ASSIGN_OR_RETURN(const auto above, LoadIfAny(view, at));
    if (!above || !above->IsDirectory()) return false;
    at = above->parent;
  }
  return false;
}

// Cut at the one that was named: its name goes, it moves, and the rest of the loop hangs below it.
Result<bool> RepairLoop(OpContext& ctx, const Finding& finding) {
  const InodeId parent(finding.parent());
  ASSIGN_OR_RETURN(const auto inode, LoadUnchanged(ctx, finding));
  if (!inode || !inode->IsDirectory() || inode->parent != parent) return false;
  ASSIGN_OR_RETURN(const auto dentry, FindEntry(ctx, parent, finding.name()));
  if (!dentry || dentry->inode != inode->id) return false;
  ASSIGN_OR_RETURN(const bool loops, LiesInItself(ctx, *inode));
  if (!loops) return false;
  RETURN_IF_ERROR(DropName(ctx, parent, finding.name(), *dentry));
  // One more: it may be its own parent, and DropName has stored that.
  ASSIGN_OR_RETURN(const Inode now, LoadInode(ctx, inode->id));
  RETURN_IF_ERROR(MoveToLostFound(ctx, now));
  return true;
}

Result<bool> RepairLostRemoval(OpContext& ctx, const Finding& finding) {
  ASSIGN_OR_RETURN(const auto inode, LoadUnchanged(ctx, finding));
  if (!inode || inode->nlink != 0) return false;
  RETURN_IF_ERROR(AddRemoval(ctx, Removal::Kind::kInode, *inode));
  return true;
}

Result<bool> RepairQueued(OpContext& ctx, const Finding& finding) {
  std::string key = RemovalKey(RemovalEpoch(finding.epoch()));
  ASSIGN_OR_RETURN(const auto row, ctx.Get(key));
  if (!row) return false;
  ASSIGN_OR_RETURN(const Removal removal, DecodeRemoval(*row));
  if (removal.inode.value() != finding.inode()) return false;
  ASSIGN_OR_RETURN(const auto inode, LoadIfAny(ctx, removal.inode));
  if (!inode) return false;
  const bool live = removal.kind == Removal::Kind::kInode
                        ? inode->nlink > 0
                        : inode->IsRegular() && inode->data_id == removal.data_id;
  if (!live) return false;
  ctx.Delete(std::move(key));
  return true;
}

Result<bool> RepairIntent(OpContext& ctx, const Finding& finding) {
  const InodeId id(finding.inode());
  ASSIGN_OR_RETURN(const auto row, ctx.Get(TruncateIntentKey(id)));
  if (!row) return false;
  ASSIGN_OR_RETURN(const TruncateIntent intent, DecodeTruncateIntent(*row));
  ASSIGN_OR_RETURN(const auto inode, LoadIfAny(ctx, id));
  if (inode && inode->IsRegular() && inode->data_id == intent.data_id) return false;
  ctx.Delete(TruncateIntentKey(id));
  return true;
}

Result<bool> DropRows(OpContext& ctx, const KeyRange& range) {
  std::vector<std::string> keys;
  RETURN_IF_ERROR(ctx.Scan(range.begin, range.end, kMaxRows, [&](auto key, auto) {
    keys.emplace_back(key);
    return true;
  }));
  for (std::string& key : keys) ctx.Delete(std::move(key));
  return !keys.empty();
}

// The files' counts of writers are mended for themselves.
Result<bool> RepairSessionRows(OpContext& ctx, const Finding& finding) {
  const Incarnation session(finding.incarnation());
  ASSIGN_OR_RETURN(const auto row, ctx.Get(SessionKey(session)));
  if (row) return false;
  const Table table = finding.kind() == proto::DEAD_RESULTS ? Table::kResult : Table::kWriteOpen;
  return DropRows(ctx, IdRange(table, session.value()));
}

Result<bool> RepairXattrs(OpContext& ctx, const Finding& finding) {
  ASSIGN_OR_RETURN(const auto inode, LoadIfAny(ctx, InodeId(finding.inode())));
  if (inode) return false;
  return DropRows(ctx, IdRange(Table::kXattr, finding.inode()));
}

// The difference is added: it is the same whatever operations have added since.
Result<bool> RepairUsage(OpContext& ctx, const Finding& finding) {
  std::string key = finding.has_project() ? ProjectUsageKey(finding.project()) : UsageKey();
  ASSIGN_OR_RETURN(const auto row, ctx.Get(key));
  Usage usage;
  if (row) {
    ASSIGN_OR_RETURN(usage, DecodeUsage(*row));
  }
  usage.inodes += static_cast<uint64_t>(finding.add_inodes());
  usage.bytes += static_cast<uint64_t>(finding.add_bytes());
  ctx.Put(std::move(key), EncodeUsage(usage));
  return true;
}

Result<bool> RepairAllocator(OpContext& ctx, const Finding& finding) {
  const auto which = static_cast<Sequence>(finding.sequence());
  if (which != Sequence::kInode && which != Sequence::kDataId) return false;
  std::string key = AllocatorKey(which);
  ASSIGN_OR_RETURN(const auto row, ctx.Get(key));
  uint64_t next = 0;
  if (row) {
    ASSIGN_OR_RETURN(next, DecodeCounter(*row));
  }
  if (next >= finding.expected()) return false;
  ctx.Put(std::move(key), EncodeCounter(finding.expected()));
  return true;
}

// An intent to trim to the length the file has: it is lengthened by nobody until that is done.
Result<bool> RepairBeyondLength(OpContext& ctx, const Finding& finding) {
  ASSIGN_OR_RETURN(auto inode, LoadUnchanged(ctx, finding));
  if (!inode || !inode->IsRegular() || inode->writers > 0 ||
      inode->data_id.value() != finding.data_id()) {
    return false;
  }
  ASSIGN_OR_RETURN(const auto pending, ctx.Get(TruncateIntentKey(inode->id)));
  if (pending) return true;  // for another chunk of the same file, or its own truncate
  inode->size_epoch = SizeEpoch(inode->size_epoch.value() + 1);
  StoreInode(ctx, *inode);
  ctx.Put(TruncateIntentKey(inode->id), EncodeTruncateIntent({.size_epoch = inode->size_epoch,
                                                              .data_id = inode->data_id,
                                                              .layout = inode->layout,
                                                              .keep_bytes = inode->size,
                                                              .old_bytes = inode->size}));
  return true;
}

// Whether no file has or will ever have this data_id.
Result<bool> BuryDataId(OpContext& ctx, uint64_t id, uint64_t next_at_look) {
  if (id < next_at_look) return true;
  if (id > kMaxBuriedDataId) return false;
  std::string key = AllocatorKey(Sequence::kDataId);
  ASSIGN_OR_RETURN(const auto row, ctx.Get(key));
  uint64_t next = 1;
  if (row) {
    ASSIGN_OR_RETURN(next, DecodeCounter(*row));
  }
  if (id < next) return false;  // given out since: it may be a file's
  ctx.Put(std::move(key), EncodeCounter(id + 1));
  return true;
}

}  // namespace

Result<bool> RepairFinding(OpContext& ctx, const Finding& finding) {
  if (finding.name().size() > kMaxNameBytes) {
    return Status(Code::kUnsupported, "a name of " + std::to_string(finding.name().size()) +
                                          " bytes is nothing that is mended by itself");
  }
  switch (finding.kind()) {
    case proto::DANGLING_DENTRY:
      return RepairDangling(ctx, finding);
    case proto::PARENTLESS_DENTRY:
      return RepairParentless(ctx, finding);
    case proto::WRONG_TYPE:
    case proto::MISSING_DIRECTORY_ROW:
      return RepairEntryRows(ctx, finding);
    case proto::STRAY_DIRECTORY_ROW:
      return RepairStrayRow(ctx, finding);
    case proto::WRONG_NEXT_COOKIE:
    case proto::WRONG_ENTRY_COUNT:
    case proto::WRONG_LINKS:
    case proto::WRONG_WRITERS:
    case proto::WRONG_PARENT:
      return RepairField(ctx, finding);
    case proto::EXTRA_LINK:
      return RepairExtraLink(ctx, finding);
    case proto::DIRECTORY_LOOP:
      return RepairLoop(ctx, finding);
    case proto::UNREACHABLE_INODE:
      return RepairUnreachable(ctx, finding);
    case proto::LOST_REMOVAL:
      return RepairLostRemoval(ctx, finding);
    case proto::QUEUED_LIVE_INODE:
    case proto::QUEUED_LIVE_DATA:
      return RepairQueued(ctx, finding);
    case proto::STALE_INTENT:
      return RepairIntent(ctx, finding);
    case proto::DEAD_WRITE_OPEN:
    case proto::DEAD_RESULTS:
      return RepairSessionRows(ctx, finding);
    case proto::ORPHAN_XATTRS:
      return RepairXattrs(ctx, finding);
    case proto::WRONG_USAGE:
      return RepairUsage(ctx, finding);
    case proto::WRONG_ALLOCATOR:
      return RepairAllocator(ctx, finding);
    case proto::CHUNK_BEYOND_LENGTH:
      return RepairBeyondLength(ctx, finding);
    default:
      return Status(Code::kUnsupported, "it is nothing that is mended by itself");
  }
}

Result<std::vector<DataId>> QueueOrphans(OpContext& ctx, const DeadData& dead) {
  std::vector<uint32_t> tables;
  const KeyRange range = ClusterRange(ClusterRow::kTable);
  Status status;
  RETURN_IF_ERROR(ctx.Scan(range.begin, range.end, 0, [&](auto key, auto) {
    const Result<uint64_t> version = ClusterIdOf(key);
    status = version.status();
    if (version.ok()) tables.push_back(static_cast<uint32_t>(*version));
    return status.ok();
  }));
  if (!status.ok()) return status;
  // Rising: a number that is passed over does not hide a smaller one.
  std::vector<DataId> ids = dead.ids;
  std::sort(ids.begin(), ids.end());
  std::vector<DataId> queued;
  for (DataId id : ids) {
    ASSIGN_OR_RETURN(const bool gone, BuryDataId(ctx, id.value(), dead.next));
    if (!gone) continue;
    for (uint32_t table : tables) {
      ASSIGN_OR_RETURN(const uint64_t epoch, ctx.Allocate(Sequence::kRemovalEpoch));
      // A stripe of the whole table: wherever they lie.
      const Removal removal = {.kind = Removal::Kind::kData,
                               .inode = InodeId(),
                               .data_id = id,
                               .layout = {.table_version = table}};
      ctx.Put(RemovalKey(RemovalEpoch(epoch)), EncodeRemoval(removal));
    }
    queued.push_back(id);
  }
  return queued;
}

}  // namespace sheaf::meta
