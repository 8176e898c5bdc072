#include "client/file/file_ops.h"

#include <fcntl.h>

#include <optional>

#include "client/file/attr.h"
#include "client/file/open_file.h"
#include "common/layout.h"
#include "common/log.h"

namespace sheaf::client {
namespace {

bool WantsWrite(int flags) { return (flags & O_ACCMODE) != O_RDONLY; }

Status CheckRegular(const proto::Attr& attr) {
  if (S_ISREG(attr.mode())) return Status::Ok();
  const std::string name = "open inode " + std::to_string(attr.inode());
  if (S_ISDIR(attr.mode())) return {Code::kIsDirectory, name + ": is a directory"};
  if (S_ISLNK(attr.mode())) return {Code::kLoop, name + ": is a symbolic link"};
  return {Code::kInvalid, name + ": not a regular file"};
}

bool ChangesMoreThanSize(const AttrChange& change) {
  return change.mode || change.uid || change.gid || change.atime_ns || change.mtime_ns ||
         change.atime_now || change.mtime_now;
}

}  // namespace

FileOps::FileOps(const Options& options, MetaClient& meta, ChunkClient& chunks, InodeTable& inodes,
                 std::function<void(InodeId)> closed)
    : options_(options),
      meta_(meta),
      chunks_(chunks),
      inodes_(inodes),
      closed_(std::move(closed)) {}

Result<std::shared_ptr<File>> FileOps::Open(const Credentials& who, InodeId inode, int flags) {
  const InodeTable::Opening opening(inodes_);
  // Keeps this client's writes out of the way of the truncation.
  std::optional<ExclusiveIo> exclusive;
  const auto known = (flags & O_TRUNC) != 0 ? inodes_.Find(inode) : nullptr;
  if (known != nullptr) {
    ASSIGN_OR_RETURN(auto entered, ExclusiveIo::Enter(known->io_gate, GateTimeout()));
    exclusive.emplace(std::move(entered));
    // A length that metadata does not know would survive its truncation.
    RETURN_IF_ERROR(Report(known->writer(), *known));
  }
  proto::OpenRequest request;
  request.set_inode(inode.value());
  request.set_flags(static_cast<uint32_t>(flags));
  ASSIGN_OR_RETURN(const proto::AttrResponse answer, meta_.Open(who, std::move(request)));
  RETURN_IF_ERROR(CheckRegular(answer.attr()));
  return OpenAnswered(who, answer.attr(), flags);
}

Result<std::shared_ptr<File>> FileOps::OpenFound(const Credentials& who, const proto::Attr& attr,
                                                 int flags) {
  RETURN_IF_ERROR(CheckRegular(attr));
  return OpenAnswered(who, attr, flags);
}

Result<std::shared_ptr<File>> FileOps::OpenAnswered(const Credentials& who,
                                                    const proto::Attr& attr, int flags) {
  ASSIGN_OR_RETURN(auto state, inodes_.Acquire(attr));
  if (WantsWrite(flags)) state->SetWriter(who);
  return std::shared_ptr<File>(std::make_shared<OpenFile>(*this, std::move(state), who, flags));
}

Result<Client::Created> FileOps::Create(const Credentials& who, InodeId parent,
                                        std::string_view name, uint32_t mode, int flags) {
  const InodeTable::Opening opening(inodes_);
  proto::CreateRequest request;
  request.set_parent(parent.value());
  request.set_name(std::string(name));
  request.set_mode(mode);
  request.set_exclusive((flags & O_EXCL) != 0);
  // An existing file is truncated below, with this client's writes held up.
  request.set_open_flags(static_cast<uint32_t>(flags & ~O_TRUNC));
  ASSIGN_OR_RETURN(const proto::CreateResponse answer, meta_.Create(who, std::move(request)));
  RETURN_IF_ERROR(CheckRegular(answer.attr()));
  Client::Created created{.created = answer.created()};
  ASSIGN_OR_RETURN(created.file, OpenAnswered(who, answer.attr(), flags));
  created.attr = Present(answer.attr());
  if (!answer.created() && (flags & O_TRUNC) != 0) {
    ASSIGN_OR_RETURN(created.attr, Truncate(who, created.attr.inode, 0, WantsWrite(flags)));
  }
  return created;
}

Result<FileAttr> FileOps::SetAttr(const Credentials& who, InodeId inode, const AttrChange& change,
                                  File* handle) {
  FileAttr after_truncate;
  if (change.size) {
    auto* open = dynamic_cast<OpenFile*>(handle);
    ASSIGN_OR_RETURN(after_truncate,
                     Truncate(who, inode, *change.size, open != nullptr && open->writable()));
    if (!ChangesMoreThanSize(change)) return after_truncate;
  }
  if (const auto known = inodes_.Find(inode)) RETURN_IF_ERROR(Report(known->writer(), *known));
  proto::SetAttrRequest request;
  request.set_inode(inode.value());
  FillIn(change, request);
  ASSIGN_OR_RETURN(const proto::AttrResponse answer, meta_.SetAttr(who, std::move(request)));
  return Present(answer.attr());
}

Result<FileAttr> FileOps::Truncate(const Credentials& who, InodeId inode, uint64_t size,
                                   bool from_handle) {
  if (size > kMaxFileSize) {
    return Status(Code::kFileTooBig, "truncate inode " + ToString(inode) + ": size " +
                                         std::to_string(size) + " is past the largest file");
  }
  std::optional<ExclusiveIo> exclusive;
  if (const auto known = inodes_.Find(inode)) {
    ASSIGN_OR_RETURN(auto entered, ExclusiveIo::Enter(known->io_gate, GateTimeout()));
    exclusive.emplace(std::move(entered));
    RETURN_IF_ERROR(Report(known->writer(), *known));
  }
  proto::TruncateRequest request;
  request.set_inode(inode.value());
  request.set_size(size);
  request.set_from_handle(from_handle);
  ASSIGN_OR_RETURN(const proto::AttrResponse answer, meta_.Truncate(who, std::move(request)));
  return Present(answer.attr());  // adopts the new data_id and epoch before writes go on
}

FileAttr FileOps::Present(const proto::Attr& attr) {
  FileAttr out = AttrFromProto(attr);
  if (!out.IsRegular()) return out;
  if (const auto known = inodes_.Find(out.inode)) {
    if (known->Adopt(attr).ok()) known->Overlay(out);
  }
  return out;
}

Status FileOps::Report(const Credentials& who, InodeState& inode) {
  const std::unique_lock one_at_a_time(inode.report_mutex, options_.meta_timeout);
  if (!one_at_a_time.owns_lock()) {
    return {Code::kDeadline,
            "sync inode " + ToString(inode.inode()) + ": a sync under way did not end in time"};
  }
  const auto report = inode.TakeReport();
  if (!report) return Status::Ok();
  proto::FsyncRequest request;
  request.set_inode(inode.inode().value());
  *request.mutable_report() = *report;
  const auto answer = meta_.Fsync(who, std::move(request));
  if (!answer.ok()) {
    inode.ReportFailed(*report);
    return answer.status();
  }
  inode.ReportDone();
  if (answer->attr().size_epoch() != report->size_epoch()) {
    LogWarn("client: inode {} was truncated by another client while written here",
            inode.inode().value());
  }
  return inode.Adopt(answer->attr());
}

Status FileOps::ReportAll() {
  Status first;
  for (const auto& inode : inodes_.All()) {
    Status reported = Report(inode->writer(), *inode);
    if (first.ok()) first = std::move(reported);
  }
  return first;
}

Status FileOps::CloseHandle(const Credentials& who, const std::shared_ptr<InodeState>& inode,
                            bool writable) {
  Status closed;
  if (writable) {
    const std::unique_lock one_at_a_time(inode->report_mutex, options_.meta_timeout);
    const auto report = inode->TakeReport();
    proto::CloseRequest request;
    request.set_inode(inode->inode().value());
    if (report) *request.mutable_report() = *report;
    const auto answer = meta_.Close(who, std::move(request));
    closed = answer.status();
    if (answer.ok()) {
      inode->ReportDone();
      if (answer->has_attr()) closed = inode->Adopt(answer->attr());
    } else if (report) {
      inode->ReportFailed(*report);
    }
  }
  if (inodes_.Release(inode->inode())) closed_(inode->inode());
  return closed;
}

}  // namespace sheaf::client
