#pragma once

#include <cstdint>
#include <optional>

#include "common/status.h"
#include "meta/ops/op_context.h"
#include "meta/schema/values.h"
#include "proto/meta.pb.h"

// Rows as operations use them: loaded, checked, stored. An operation holds one Inode a row: two
// copies of one row would overwrite each other.

namespace sheaf::meta {

// kStale when there is no such inode.
Result<Inode> LoadInode(const ReadView& view, InodeId id);
// And kNotDirectory.
Result<Inode> LoadDirectory(const ReadView& view, InodeId id);
// Raises the version.
void StoreInode(OpContext& ctx, Inode& inode);

void FillAttr(const Inode& inode, proto::Attr* attr);
proto::AttrResponse AttrAnswer(const Inode& inode);
// StoreInode, then its attributes.
proto::AttrResponse StoreAndAnswer(OpContext& ctx, Inode& inode);

// An inode's own change; a change of its contents (data or entries).
void TouchChange(const OpContext& ctx, Inode& inode);
void TouchContents(const OpContext& ctx, Inode& inode);

// Adds to the totals of the file system and of the inode's project.
Status AddUsage(OpContext& ctx, const Inode& inode, int64_t inodes, int64_t bytes);
Result<Usage> LoadUsage(const ReadView& view);

// Queues the inode, or the bytes it has now, for reclaiming under the next removal epoch.
Status AddRemoval(OpContext& ctx, Removal::Kind kind, const Inode& inode);
// Takes one link away (a directory's all) and stores the inode; the last one sends it to the
// removal queue.
Status ReleaseLink(OpContext& ctx, Inode& inode);

// kInvalid for a caller with more supplementary groups than the protocol allows.
Status CheckCaller(const proto::Context& context);

}  // namespace sheaf::meta
