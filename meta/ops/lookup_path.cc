#include "meta/ops/access.h"
#include "meta/ops/directory.h"
#include "meta/ops/ops.h"
#include "meta/ops/rows.h"

namespace sheaf::meta {
namespace {

using Request = proto::LookupPathRequest;

constexpr int kMaxNames = 2048;

Status CheckRequest(const Request& request) {
  RETURN_IF_ERROR(CheckCaller(request.ctx()));
  if (request.names_size() > kMaxNames) {
    return {Code::kInvalid, "lookup path: " + std::to_string(request.names_size()) +
                                " names (at most " + std::to_string(kMaxNames) + ")"};
  }
  if (!request.has_open_flags()) return Status::Ok();
  proto::OpenRequest open;
  open.set_flags(request.open_flags());
  if (!OpenMutates(open)) return Status::Ok();
  return {Code::kInvalid, "lookup path: open flags " + std::to_string(request.open_flags()) +
                              " are not of an open for reading; use Open"};
}

// Where the walk is: the inode, and the directory it was found in.
struct Place {
  Inode inode;
  InodeId parent;
};

// One name further down, as Lookup.
Result<Place> Step(const ReadView& view, const Request& request, const std::string& name,
                   const Inode& directory) {
  RETURN_IF_ERROR(CheckName(name).With("lookup"));
  if (!directory.IsDirectory()) {
    return Status(Code::kNotDirectory, "inode " + ToString(directory.id) + ": not a directory");
  }
  RETURN_IF_ERROR(CheckAccess(request.ctx().caller(), directory, kMayExecute));
  ASSIGN_OR_RETURN(const InodeId found, ResolveName(view, directory, name));
  if (found == directory.id) return Place{directory, directory.parent};
  ASSIGN_OR_RETURN(Inode inode, LoadInode(view, found));
  const InodeId parent = inode.IsDirectory() ? inode.parent : directory.id;
  return Place{std::move(inode), parent};
}

// A symbolic link is not opened here, but followed by the client.
Status CheckOpenFlags(const Request& request, const Inode& last) {
  if (!request.has_open_flags() || last.IsSymlink()) return Status::Ok();
  proto::OpenRequest open;
  *open.mutable_ctx()->mutable_caller() = request.ctx().caller();
  open.set_inode(last.id.value());
  open.set_flags(request.open_flags());
  return CheckOpen(open, last);
}

}  // namespace

Result<proto::LookupPathResponse> LookupPath(const ReadView& view, const Request& request) {
  RETURN_IF_ERROR(CheckRequest(request));
  ASSIGN_OR_RETURN(Inode start, LoadInode(view, InodeId(request.start())));
  const InodeId above = start.IsDirectory() ? start.parent : InodeId();
  Place at{std::move(start), above};
  int resolved = 0;
  for (; resolved < request.names_size() && !at.inode.IsSymlink(); ++resolved) {
    ASSIGN_OR_RETURN(at, Step(view, request, request.names(resolved), at.inode));
  }
  if (resolved == request.names_size()) RETURN_IF_ERROR(CheckOpenFlags(request, at.inode));
  proto::LookupPathResponse answer;
  answer.set_resolved(static_cast<uint32_t>(resolved));
  FillAttr(at.inode, answer.mutable_attr());
  answer.set_parent(at.parent.value());
  return answer;
}

}  // namespace sheaf::meta
