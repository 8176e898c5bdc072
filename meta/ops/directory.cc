#include "meta/ops/directory.h"

#include <algorithm>

#include "meta/ops/access.h"
#include "meta/ops/rows.h"
#include "meta/schema/keys.h"

namespace sheaf::meta {
namespace {

// Inode numbers a directory takes at a time: a few while it is small, as many as it has entries
// later.
constexpr uint64_t kMinInodeRun = 16;
constexpr uint64_t kMaxInodeRun = 1024;

Result<InodeId> TakeInodeId(OpContext& ctx, Inode& parent) {
  if (parent.run_next == parent.run_end) {
    const uint64_t count = std::clamp(parent.entries, kMinInodeRun, kMaxInodeRun);
    ASSIGN_OR_RETURN(parent.run_next, ctx.Allocate(Sequence::kInode, count));
    parent.run_end = parent.run_next + count;
  }
  return InodeId(parent.run_next++);
}

// A file that inherits its group from a set-group-id directory may not itself become set-group-id
// for a group that its creator is not in.
uint32_t StripForeignSetGid(const proto::Caller& caller, uint32_t gid, uint32_t mode) {
  constexpr uint32_t kBoth = S_ISGID | S_IXGRP;
  if ((mode & kBoth) != kBoth || InGroup(caller, gid) || IsSuperuser(caller)) return mode;
  return mode & ~uint32_t{S_ISGID};
}

}  // namespace

Status EntryError(Code code, const char* operation, InodeId parent, std::string_view name,
                  const char* cause) {
  return {code,
          std::string(operation) + " " + ToString(parent) + "/" + std::string(name) + ": " + cause};
}

Status CheckName(std::string_view name) {
  if (name.empty()) return {Code::kInvalid, "name: empty"};
  if (name.size() > kMaxNameBytes) {
    return {Code::kNameTooLong, "name: " + std::to_string(name.size()) + " bytes (at most " +
                                    std::to_string(kMaxNameBytes) + ")"};
  }
  if (name.find('/') != std::string_view::npos || name.find('\0') != std::string_view::npos) {
    return {Code::kInvalid, "name: it contains '/' or NUL"};
  }
  return Status::Ok();
}

bool IsDots(std::string_view name) { return name == "." || name == ".."; }

Result<std::optional<Dentry>> FindEntry(const ReadView& view, InodeId parent,
                                        std::string_view name) {
  ASSIGN_OR_RETURN(const auto row, view.Get(DentryKey(parent, name)));
  if (!row) return std::optional<Dentry>();
  ASSIGN_OR_RETURN(const Dentry dentry, DecodeDentry(*row));
  return std::optional(dentry);
}

Result<InodeId> ResolveName(const ReadView& view, const Inode& directory, std::string_view name) {
  if (name == ".") return directory.id;
  if (name == "..") return directory.parent;
  ASSIGN_OR_RETURN(const auto dentry, FindEntry(view, directory.id, name));
  if (!dentry) return EntryError(Code::kNotFound, "lookup", directory.id, name, "no such entry");
  return dentry->inode;
}

void AddEntry(OpContext& ctx, Inode& parent, std::string_view name, InodeId inode, uint32_t type) {
  const Dentry dentry = {.inode = inode, .type = type & S_IFMT, .cookie = parent.next_cookie++};
  ReplaceEntry(ctx, parent, name, dentry, inode, type);
  ++parent.entries;
}

void RemoveEntry(OpContext& ctx, Inode& parent, std::string_view name, const Dentry& dentry) {
  ctx.Delete(DentryKey(parent.id, name));
  ctx.Delete(DirectoryKey(parent.id, dentry.cookie));
  CHECK(parent.entries > 0,
        "directory " + ToString(parent.id) + " counts fewer entries than it has");
  --parent.entries;
  TouchContents(ctx, parent);
}

void ReplaceEntry(OpContext& ctx, Inode& parent, std::string_view name, const Dentry& dentry,
                  InodeId inode, uint32_t type) {
  const uint32_t format = type & S_IFMT;
  ctx.Put(DentryKey(parent.id, name),
          EncodeDentry({.inode = inode, .type = format, .cookie = dentry.cookie}));
  ctx.Put(DirectoryKey(parent.id, dentry.cookie),
          EncodeDirectoryEntry({.inode = inode, .type = format, .name = std::string(name)}));
  TouchContents(ctx, parent);
}

Result<Ancestry> WalkUp(const ReadView& view, const Inode& directory, InodeId stop) {
  Ancestry ancestry;
  InodeId at = directory.id;
  InodeId parent = directory.parent;
  while (at != stop && at != kRootInode && ancestry.depth <= kMaxDirectoryDepth) {
    ASSIGN_OR_RETURN(const Inode above, LoadDirectory(view, parent));
    at = above.id;
    parent = above.parent;
    ++ancestry.depth;
  }
  ancestry.met = at == stop;
  return ancestry;
}

Status CheckDepth(const Ancestry& ancestry, const char* operation, InodeId parent) {
  if (ancestry.depth < kMaxDirectoryDepth) return Status::Ok();
  return {Code::kNameTooLong, std::string(operation) + " in directory " + ToString(parent) +
                                  ": it is " + std::to_string(kMaxDirectoryDepth) +
                                  " directories deep already"};
}

Result<Inode> BeginCreation(OpContext& ctx, const proto::Context& context, const char* operation,
                            InodeId parent_id, std::string_view name) {
  RETURN_IF_ERROR(CheckCaller(context));
  RETURN_IF_ERROR(CheckName(name).With(operation));
  ASSIGN_OR_RETURN(Inode parent, LoadDirectory(ctx, parent_id));
  RETURN_IF_ERROR(CheckAccess(context.caller(), parent, kMayExecute));
  if (IsDots(name)) return EntryError(Code::kExists, operation, parent_id, name, "exists");
  ASSIGN_OR_RETURN(const auto existing, FindEntry(ctx, parent_id, name));
  if (existing) return EntryError(Code::kExists, operation, parent_id, name, "exists");
  RETURN_IF_ERROR(CheckMayChangeEntries(context.caller(), parent));
  RETURN_IF_ERROR(ctx.CheckSpace(operation));
  return parent;
}

Result<Inode> NewInode(OpContext& ctx, const proto::Caller& caller, Inode& parent, uint32_t mode) {
  Inode inode;
  ASSIGN_OR_RETURN(inode.id, TakeInodeId(ctx, parent));
  inode.mode = mode;
  inode.nlink = 1;
  inode.uid = caller.uid();
  inode.gid = caller.gid();
  if ((parent.mode & S_ISGID) != 0) {
    inode.gid = parent.gid;
    inode.mode = inode.IsDirectory() ? mode | S_ISGID : StripForeignSetGid(caller, inode.gid, mode);
  }
  inode.project_id = parent.project_id;
  inode.atime_ns = inode.mtime_ns = inode.ctime_ns = inode.btime_ns = ctx.now_ns();
  return inode;
}

Status PlaceFile(OpContext& ctx, const Inode& parent, uint32_t chunk_size_log2, Inode& file) {
  ASSIGN_OR_RETURN(const auto row, ctx.Get(ClusterKey(ClusterRow::kCurrentTable)));
  if (!row) return {Code::kNotServing, "create file: no chain table yet"};
  ASSIGN_OR_RETURN(const uint64_t table, DecodeCounter(*row));
  ASSIGN_OR_RETURN(const uint64_t data_id, ctx.Allocate(Sequence::kDataId));
  file.data_id = DataId(data_id);
  file.size_epoch = SizeEpoch(1);
  file.layout = {.chunk_size_log2 = chunk_size_log2 != 0 ? chunk_size_log2 : parent.chunk_size_log2,
                 .stripe_width = 0,
                 .table_version = static_cast<uint32_t>(table),
                 .seed = MixBits(data_id)};
  return file.layout.Validate().With("create file");
}

Status FinishCreation(OpContext& ctx, Inode& parent, std::string_view name, Inode& inode) {
  StoreInode(ctx, inode);
  AddEntry(ctx, parent, name, inode.id, inode.mode);
  StoreInode(ctx, parent);
  return AddUsage(ctx, inode, 1, static_cast<int64_t>(inode.size));
}

}  // namespace sheaf::meta
