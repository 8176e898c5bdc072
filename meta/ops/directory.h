#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/status.h"
#include "meta/ops/op_context.h"
#include "meta/schema/values.h"
#include "proto/meta.pb.h"

// Names in directories. A directory with entries is two rows an entry: by name (Dentry) and by
// cookie (DirectoryEntryRow). Cookies rise and are never reused, so that a reader who goes on after
// a cookie misses and repeats nothing that stayed.

namespace sheaf::meta {

// "mkdir 12/name: cause"
Status EntryError(Code code, const char* operation, InodeId parent, std::string_view name,
                  const char* cause);

// kInvalid: empty, or with '/' or NUL; kNameTooLong over 255 bytes. "." and ".." pass.
Status CheckName(std::string_view name);
bool IsDots(std::string_view name);  // "." or ".."

Result<std::optional<Dentry>> FindEntry(const ReadView& view, InodeId parent,
                                        std::string_view name);

// What a name leads to, "." and ".." included. kNotFound.
Result<InodeId> ResolveName(const ReadView& view, const Inode& directory, std::string_view name);

// Both change `parent` (entries, cookie, times) without storing it.
void AddEntry(OpContext& ctx, Inode& parent, std::string_view name, InodeId inode, uint32_t type);
void RemoveEntry(OpContext& ctx, Inode& parent, std::string_view name, const Dentry& dentry);
// The entry keeps its name and cookie and names another inode.
void ReplaceEntry(OpContext& ctx, Inode& parent, std::string_view name, const Dentry& dentry,
                  InodeId inode, uint32_t type);

// Directories above `directory`, itself not counted; the walk stops when it meets `stop` or has
// passed kMaxDirectoryDepth.
struct Ancestry {
  uint32_t depth = 0;
  bool met = false;  // `directory` is `stop` or lies under it
};
Result<Ancestry> WalkUp(const ReadView& view, const Inode& directory, InodeId stop);
Status CheckDepth(const Ancestry& ancestry, const char* operation, InodeId parent);

// What creating a name begins with: the caller may, the parent is a directory that still exists,
// the name is free. Answers the parent.
Result<Inode> BeginCreation(OpContext& ctx, const proto::Context& context, const char* operation,
                            InodeId parent, std::string_view name);
// A new inode of `mode` in `parent`: number, owner and group (the parent's, where it is
// set-group-id), project, times. Not stored; changes `parent`.
Result<Inode> NewInode(OpContext& ctx, const proto::Caller& caller, Inode& parent, uint32_t mode);
// Gives a new regular file its data_id and layout: `chunk_size_log2` or, for 0, the parent's.
// kNotServing before there is a chain table.
Status PlaceFile(OpContext& ctx, const Inode& parent, uint32_t chunk_size_log2, Inode& file);
// Stores the new inode, its entry, the parent and the totals.
Status FinishCreation(OpContext& ctx, Inode& parent, std::string_view name, Inode& inode);

}  // namespace sheaf::meta
