#include "meta/ops/ops.h"

#include <stdio.h>

#include "meta/ops/access.h"
#include "meta/ops/directory.h"
#include "meta/ops/rows.h"

// rename(2) and renameat2(2) with RENAME_NOREPLACE and RENAME_EXCHANGE, in one step: no reader sees
// neither name, or both.
//
// The order of checks is the kernel's (vfs_rename), because programs tell errors apart.

namespace sheaf::meta {
namespace {

using Request = proto::RenameRequest;

// The rows of one rename, each loaded once. Where both names are in one directory there is one row
// for it: `to_parent()` is then `from_parent` itself.
struct Move {
  const Request& request;
  Inode from_parent;
  std::optional<Inode> other_parent;
  Dentry from;
  Inode moved;
  std::optional<Dentry> to;
  std::optional<Inode> replaced;  // what `to` names

  Inode& to_parent() { return other_parent ? *other_parent : from_parent; }
  bool crosses() const { return other_parent.has_value(); }
  bool exchanges() const { return (request.flags() & RENAME_EXCHANGE) != 0; }
  const proto::Caller& caller() const { return request.ctx().caller(); }
  Status Error(Code code, const char* cause) const {
    return EntryError(code, "rename", InodeId(request.parent()), request.name(), cause);
  }
};

Status CheckRequest(const Request& request) {
  RETURN_IF_ERROR(CheckCaller(request.ctx()));
  constexpr uint32_t kKnown = RENAME_NOREPLACE | RENAME_EXCHANGE;
  if ((request.flags() & ~kKnown) != 0 || request.flags() == kKnown) {
    return {Code::kInvalid, "rename: flags " + std::to_string(request.flags())};
  }
  RETURN_IF_ERROR(CheckName(request.name()).With("rename"));
  RETURN_IF_ERROR(CheckName(request.new_name()).With("rename"));
  if (!IsDots(request.name()) && !IsDots(request.new_name())) return Status::Ok();
  return {Code::kInvalid, "rename: \".\" and \"..\" cannot be renamed"};
}

Status LoadSource(const ReadView& view, Move& move) {
  const Request& request = move.request;
  ASSIGN_OR_RETURN(move.from_parent, LoadDirectory(view, InodeId(request.parent())));
  RETURN_IF_ERROR(CheckAccess(move.caller(), move.from_parent, kMayExecute));
  if (request.new_parent() != request.parent()) {
    ASSIGN_OR_RETURN(move.other_parent, LoadDirectory(view, InodeId(request.new_parent())));
    RETURN_IF_ERROR(CheckAccess(move.caller(), *move.other_parent, kMayExecute));
  }
  ASSIGN_OR_RETURN(const auto from, FindEntry(view, move.from_parent.id, request.name()));
  if (!from) return move.Error(Code::kNotFound, "no such entry");
  move.from = *from;
  ASSIGN_OR_RETURN(move.moved, LoadInode(view, from->inode));
  return Status::Ok();
}

Status LoadTarget(const ReadView& view, Move& move) {
  ASSIGN_OR_RETURN(move.to, FindEntry(view, move.to_parent().id, move.request.new_name()));
  if (!move.to) {
    return move.exchanges() ? move.Error(Code::kNotFound, "nothing to exchange with")
                            : Status::Ok();
  }
  if ((move.request.flags() & RENAME_NOREPLACE) != 0) {
    return move.Error(Code::kExists, "the new name exists");
  }
  if (move.to->inode == move.moved.id) return Status::Ok();
  ASSIGN_OR_RETURN(move.replaced, LoadInode(view, move.to->inode));
  return Status::Ok();
}

// No directory comes to lie under itself. What is above `to_parent` is walked once for depth and
// loop; an exchange has the other direction too.
Status CheckLoops(const ReadView& view, Move& move) {
  if (!move.crosses()) return Status::Ok();
  if (move.moved.IsDirectory()) {
    ASSIGN_OR_RETURN(const Ancestry above, WalkUp(view, move.to_parent(), move.moved.id));
    if (above.met) return move.Error(Code::kInvalid, "into itself or below");
    RETURN_IF_ERROR(CheckDepth(above, "rename", move.to_parent().id));
  }
  if (!move.replaced || !move.replaced->IsDirectory()) return Status::Ok();
  ASSIGN_OR_RETURN(const Ancestry above, WalkUp(view, move.from_parent, move.replaced->id));
  if (above.met) {
    return move.exchanges() ? move.Error(Code::kInvalid, "with a directory above it")
                            : move.Error(Code::kNotEmpty, "the new name is a directory above it");
  }
  return move.exchanges() ? CheckDepth(above, "rename", move.from_parent.id) : Status::Ok();
}

Status CheckTypes(const Move& move) {
  if (!move.replaced || move.exchanges()) return Status::Ok();
  const bool directory = move.moved.IsDirectory();
  if (directory && !move.replaced->IsDirectory()) {
    return move.Error(Code::kNotDirectory, "the new name is not a directory");
  }
  if (!directory && move.replaced->IsDirectory()) {
    return move.Error(Code::kIsDirectory, "the new name is a directory");
  }
  return Status::Ok();
}

Status CheckPermissions(Move& move) {
  const proto::Caller& caller = move.caller();
  RETURN_IF_ERROR(CheckMayRemove(caller, move.from_parent, move.moved));
  RETURN_IF_ERROR(move.replaced ? CheckMayRemove(caller, move.to_parent(), *move.replaced)
                                : CheckMayChangeEntries(caller, move.to_parent()));
  if (!move.crosses()) return Status::Ok();
  // A directory that gets another ".." is itself written.
  if (move.moved.IsDirectory()) RETURN_IF_ERROR(CheckAccess(caller, move.moved, kMayWrite));
  if (move.exchanges() && move.replaced && move.replaced->IsDirectory()) {
    RETURN_IF_ERROR(CheckAccess(caller, *move.replaced, kMayWrite));
  }
  return Status::Ok();
}

Status CheckLimits(Move& move) {
  if (!move.crosses()) return Status::Ok();
  if (move.from_parent.project_id != move.to_parent().project_id) {
    return move.Error(Code::kCrossDevice, "the new directory is of another project");
  }
  const bool gains = move.moved.IsDirectory() && !(move.replaced && move.replaced->IsDirectory());
  if (gains && move.to_parent().nlink >= kMaxLinks) {
    return move.Error(Code::kTooManyLinks, "the new directory has too many subdirectories");
  }
  return Status::Ok();
}

// A directory's ".." counts as a link of its parent.
void MoveDotDot(Inode& directory, Inode& from, Inode& to) {
  if (!directory.IsDirectory() || from.id == to.id) return;
  directory.parent = to.id;
  --from.nlink;
  ++to.nlink;
}

void Exchange(OpContext& ctx, Move& move) {
  Inode& to_parent = move.to_parent();
  ReplaceEntry(ctx, move.from_parent, move.request.name(), move.from, move.replaced->id,
               move.replaced->mode);
  ReplaceEntry(ctx, to_parent, move.request.new_name(), *move.to, move.moved.id, move.moved.mode);
  MoveDotDot(move.moved, move.from_parent, to_parent);
  MoveDotDot(*move.replaced, to_parent, move.from_parent);
  TouchChange(ctx, *move.replaced);
  StoreInode(ctx, *move.replaced);
}

Status Replace(OpContext& ctx, Move& move) {
  Inode& to_parent = move.to_parent();
  RemoveEntry(ctx, move.from_parent, move.request.name(), move.from);
  if (move.replaced) {
    RemoveEntry(ctx, to_parent, move.request.new_name(), *move.to);
    if (move.replaced->IsDirectory()) --to_parent.nlink;
    RETURN_IF_ERROR(ReleaseLink(ctx, *move.replaced));
  }
  // A new cookie: a reader past the old one may see the entry again under its new name.
  AddEntry(ctx, to_parent, move.request.new_name(), move.moved.id, move.moved.mode);
  MoveDotDot(move.moved, move.from_parent, to_parent);
  return Status::Ok();
}

proto::RenameResponse Answer(const Move& move) {
  proto::RenameResponse answer;
  answer.set_inode(move.moved.id.value());
  if (move.replaced) answer.set_replaced_inode(move.replaced->id.value());
  return answer;
}

}  // namespace

Result<proto::RenameResponse> Rename(OpContext& ctx, const proto::RenameRequest& request) {
  RETURN_IF_ERROR(CheckRequest(request));
  Move move = {.request = request};
  RETURN_IF_ERROR(LoadSource(ctx, move));
  RETURN_IF_ERROR(LoadTarget(ctx, move));
  // Two names of one file: POSIX lets nothing happen.
  if (move.to && move.to->inode == move.moved.id) return Answer(move);
  RETURN_IF_ERROR(CheckLoops(ctx, move));
  RETURN_IF_ERROR(CheckPermissions(move));
  RETURN_IF_ERROR(CheckTypes(move));
  RETURN_IF_ERROR(CheckLimits(move));
  if (move.replaced && !move.exchanges() && move.replaced->entries > 0) {
    return move.Error(Code::kNotEmpty, "the new name is a directory with entries");
  }
  if (move.exchanges()) {
    Exchange(ctx, move);
  } else {
    RETURN_IF_ERROR(Replace(ctx, move));
  }
  TouchChange(ctx, move.moved);
  StoreInode(ctx, move.moved);
  StoreInode(ctx, move.from_parent);
  if (move.crosses()) StoreInode(ctx, *move.other_parent);
  return Answer(move);
}

}  // namespace sheaf::meta
