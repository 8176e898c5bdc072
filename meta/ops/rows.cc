#include "meta/ops/rows.h"

#include <string>

#include "meta/ops/ops.h"
#include "meta/schema/keys.h"

namespace sheaf::meta {
namespace {

constexpr int kMaxGroups = 1024;

Result<Usage> UsageAt(const ReadView& view, const std::string& key) {
  ASSIGN_OR_RETURN(const auto row, view.Get(key));
  if (!row) return Usage();
  return DecodeUsage(*row);
}

uint64_t Moved(uint64_t value, int64_t by) {
  CHECK(by >= 0 || value >= static_cast<uint64_t>(-by), "usage would fall below 0");
  return value + static_cast<uint64_t>(by);
}

Status AddUsageAt(OpContext& ctx, std::string key, int64_t inodes, int64_t bytes) {
  ASSIGN_OR_RETURN(Usage usage, UsageAt(ctx, key));
  usage.inodes = Moved(usage.inodes, inodes);
  usage.bytes = Moved(usage.bytes, bytes);
  ctx.Put(std::move(key), EncodeUsage(usage));
  return Status::Ok();
}

}  // namespace

Result<Inode> LoadInode(const ReadView& view, InodeId id) {
  ASSIGN_OR_RETURN(const auto row, view.Get(InodeKey(id)));
  if (!row) return Status(Code::kStale, "inode " + ToString(id) + ": does not exist");
  return DecodeInode(id, *row);
}

Result<Inode> LoadDirectory(const ReadView& view, InodeId id) {
  ASSIGN_OR_RETURN(Inode inode, LoadInode(view, id));
  if (!inode.IsDirectory()) {
    return Status(Code::kNotDirectory, "inode " + ToString(id) + ": not a directory");
  }
  return inode;
}

void StoreInode(OpContext& ctx, Inode& inode) {
  ++inode.version;
  ctx.Put(InodeKey(inode.id), EncodeInode(inode));
}

void FillAttr(const Inode& inode, proto::Attr* attr) {
  attr->set_inode(inode.id.value());
  attr->set_mode(inode.mode);
  attr->set_nlink(inode.nlink);
  attr->set_uid(inode.uid);
  attr->set_gid(inode.gid);
  attr->set_rdev(inode.rdev);
  // A symbolic link's length is its target's; a directory's stands for its entries.
  attr->set_size(inode.IsSymlink()     ? inode.target.size()
                 : inode.IsDirectory() ? inode.entries
                                       : inode.size);
  attr->set_atime_ns(inode.atime_ns);
  attr->set_mtime_ns(inode.mtime_ns);
  attr->set_ctime_ns(inode.ctime_ns);
  attr->set_btime_ns(inode.btime_ns);
  attr->set_version(inode.version);
  attr->set_project_id(inode.project_id);
  attr->set_flags(inode.flags);
  if (inode.IsDirectory()) attr->set_parent(inode.parent.value());
  if (!inode.IsRegular()) return;
  attr->set_data_id(inode.data_id.value());
  attr->set_size_epoch(inode.size_epoch.value());
  proto::Layout* layout = attr->mutable_layout();
  layout->set_chunk_size_log2(inode.layout.chunk_size_log2);
  layout->set_stripe_width(inode.layout.stripe_width);
  layout->set_table_version(inode.layout.table_version);
  layout->set_seed(inode.layout.seed);
}

proto::AttrResponse AttrAnswer(const Inode& inode) {
  proto::AttrResponse answer;
  FillAttr(inode, answer.mutable_attr());
  return answer;
}

proto::AttrResponse StoreAndAnswer(OpContext& ctx, Inode& inode) {
  StoreInode(ctx, inode);
  return AttrAnswer(inode);
}

void TouchChange(const OpContext& ctx, Inode& inode) { inode.ctime_ns = ctx.now_ns(); }

void TouchContents(const OpContext& ctx, Inode& inode) {
  inode.mtime_ns = inode.ctime_ns = ctx.now_ns();
}

Status AddUsage(OpContext& ctx, const Inode& inode, int64_t inodes, int64_t bytes) {
  if (inodes == 0 && bytes == 0) return Status::Ok();
  RETURN_IF_ERROR(AddUsageAt(ctx, UsageKey(), inodes, bytes));
  return AddUsageAt(ctx, ProjectUsageKey(inode.project_id), inodes, bytes);
}

Result<Usage> LoadUsage(const ReadView& view) { return UsageAt(view, UsageKey()); }

Status AddRemoval(OpContext& ctx, Removal::Kind kind, const Inode& inode) {
  ASSIGN_OR_RETURN(const uint64_t epoch, ctx.Allocate(Sequence::kRemovalEpoch));
  Removal removal = {.kind = kind, .inode = inode.id};
  if (inode.IsRegular()) {
    removal.data_id = inode.data_id;
    removal.layout = inode.layout;
    removal.size = inode.size;
  }
  ctx.Put(RemovalKey(RemovalEpoch(epoch)), EncodeRemoval(removal));
  return Status::Ok();
}

Status ReleaseLink(OpContext& ctx, Inode& inode) {
  CHECK(inode.nlink > 0, "inode " + ToString(inode.id) + " has no link to release");
  inode.nlink = inode.IsDirectory() ? 0 : inode.nlink - 1;
  TouchChange(ctx, inode);
  StoreInode(ctx, inode);
  if (inode.nlink > 0) return Status::Ok();
  RETURN_IF_ERROR(AddUsage(ctx, inode, -1, -static_cast<int64_t>(inode.size)));
  return AddRemoval(ctx, Removal::Kind::kInode, inode);
}

Status CheckCaller(const proto::Context& context) {
  if (context.caller().groups_size() <= kMaxGroups) return Status::Ok();
  return {Code::kInvalid, "caller: " + std::to_string(context.caller().groups_size()) +
                              " supplementary groups (at most " + std::to_string(kMaxGroups) + ")"};
}

Result<RequestId> RequestIdOf(const proto::Context& context) {
  const proto::RequestId& id = context.request();
  if (id.incarnation() == 0 || id.sequence() == 0) {
    return Status(Code::kNoSession, "request: it names no session or no sequence");
  }
  return RequestId{Incarnation(id.incarnation()), id.sequence(), id.lowest_outstanding()};
}

}  // namespace sheaf::meta
