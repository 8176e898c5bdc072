#include "meta/ops/ops.h"

#include <fcntl.h>

#include "meta/ops/access.h"
#include "meta/ops/directory.h"
#include "meta/ops/file_length.h"
#include "meta/ops/rows.h"

namespace sheaf::meta {
namespace {

bool WantsWrite(uint32_t flags) { return (flags & O_ACCMODE) != O_RDONLY; }

proto::CreateResponse Answer(const Inode& file, bool created) {
  proto::CreateResponse answer;
  FillAttr(file, answer.mutable_attr());
  answer.set_created(created);
  return answer;
}

Result<proto::CreateResponse> OpenExisting(OpContext& ctx, const proto::CreateRequest& request,
                                           InodeId inode) {
  proto::OpenRequest open;
  *open.mutable_ctx() = request.ctx();
  open.set_inode(inode.value());
  open.set_flags(request.open_flags() | O_CREAT);
  ASSIGN_OR_RETURN(proto::AttrResponse opened, Open(ctx, open));
  proto::CreateResponse answer;
  answer.mutable_attr()->Swap(opened.mutable_attr());
  return answer;
}

Result<proto::CreateResponse> CreateNew(OpContext& ctx, const proto::CreateRequest& request) {
  ASSIGN_OR_RETURN(Inode parent, BeginCreation(ctx, request.ctx(), "create",
                                               InodeId(request.parent()), request.name()));
  ASSIGN_OR_RETURN(Inode file, NewInode(ctx, request.ctx().caller(), parent,
                                        S_IFREG | (request.mode() & 07777)));
  RETURN_IF_ERROR(PlaceFile(ctx, parent, request.chunk_size_log2(), file));
  if (WantsWrite(request.open_flags())) RETURN_IF_ERROR(BeginWriteOpen(ctx, file));
  RETURN_IF_ERROR(FinishCreation(ctx, parent, request.name(), file));
  proto::CreateResponse answer = Answer(file, true);
  if (request.tell_parent()) FillAttr(parent, answer.mutable_parent());
  return answer;
}

}  // namespace

Result<proto::CreateResponse> Create(OpContext& ctx, const proto::CreateRequest& request) {
  RETURN_IF_ERROR(OpenMask(request.open_flags()).status());
  if (request.exclusive()) return CreateNew(ctx, request);
  RETURN_IF_ERROR(CheckCaller(request.ctx()));
  RETURN_IF_ERROR(CheckName(request.name()).With("create"));
  ASSIGN_OR_RETURN(const Inode parent, LoadDirectory(ctx, InodeId(request.parent())));
  RETURN_IF_ERROR(CheckAccess(request.ctx().caller(), parent, kMayExecute));
  if (IsDots(request.name())) {
    return EntryError(Code::kIsDirectory, "create", parent.id, request.name(), "a directory");
  }
  ASSIGN_OR_RETURN(const auto existing, FindEntry(ctx, parent.id, request.name()));
  return existing ? OpenExisting(ctx, request, existing->inode) : CreateNew(ctx, request);
}

}  // namespace sheaf::meta
