#include "client/file/file_ops.h"

#include <fcntl.h>

#include <optional>
#include <vector>

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

Status ReportTooSlow(const InodeState& inode) {
  return {Code::kDeadline,
          "sync inode " + ToString(inode.inode()) + ": a sync under way did not end in time"};
}

// What all handles together may have read ahead.
constexpr size_t kReadAheadMemory = size_t{128} << 20;

}  // namespace

// Holds a file still for a truncation: no reads and writes, nothing under way to the chains.
class FileOps::Still {
 public:
  Still(WriteBehind& behind, std::shared_ptr<InodeState> inode, ExclusiveIo exclusive)
      : behind_(behind), inode_(std::move(inode)), exclusive_(std::move(exclusive)) {}
  ~Still() { behind_.Resume(inode_); }
  Still(const Still&) = delete;
  Still& operator=(const Still&) = delete;

 private:
  WriteBehind& behind_;
  const std::shared_ptr<InodeState> inode_;
  const ExclusiveIo exclusive_;  // left after writing back has been resumed
};

FileOps::FileOps(const Options& options, MetaClient& meta, ChunkClient& chunks,
                 WriterIdentity& identity, InodeTable& inodes, std::function<void(InodeId)> closed)
    : options_(options),
      meta_(meta),
      chunks_(chunks),
      identity_(identity),
      inodes_(inodes),
      behind_({.bytes = options.write_behind_bytes,
               .delay = options.write_behind_delay,
               .timeout = options.data_timeout},
              chunks, identity),
      read_ahead_(std::make_shared<MemoryBudget>(kReadAheadMemory)),
      closed_(std::move(closed)) {}

// Reports first what metadata does not know: it would not trim it.
Result<std::unique_ptr<FileOps::Still>> FileOps::HoldStill(
    const std::shared_ptr<InodeState>& inode) {
  ASSIGN_OR_RETURN(auto exclusive, ExclusiveIo::Enter(inode->io_gate, GateTimeout()));
  auto still = std::make_unique<Still>(behind_, inode, std::move(exclusive));
  RETURN_IF_ERROR(behind_.Pause(inode));
  // Bytes beyond what is settled are on the chains, now that none is under way: then all the others
  // go there, too, so that the length may be reported; the service trims no further than it knows.
  // A failure is the writers' to be told.
  if (inode->IsAheadOfSettled()) {
    behind_.Resume(inode);
    (void)behind_.Flush(inode);
    RETURN_IF_ERROR(behind_.Pause(inode));
  }
  RETURN_IF_ERROR(Report(inode->writer(), *inode));
  return still;
}

Result<std::shared_ptr<File>> FileOps::Open(const Credentials& who, InodeId inode, int flags) {
  const InodeTable::Opening opening(inodes_);
  std::unique_ptr<Still> still;  // while it is truncated
  const auto known = (flags & O_TRUNC) != 0 ? inodes_.Find(inode) : nullptr;
  if (known != nullptr) {
    ASSIGN_OR_RETURN(still, HoldStill(known));
  }
  const Incarnation session = identity_.incarnation();
  proto::OpenRequest request;
  request.set_inode(inode.value());
  request.set_flags(static_cast<uint32_t>(flags));
  ASSIGN_OR_RETURN(const proto::AttrResponse answer, meta_.Open(who, std::move(request)));
  RETURN_IF_ERROR(CheckRegular(answer.attr()));
  ASSIGN_OR_RETURN(auto file, OpenAnswered(who, answer.attr(), flags, session));
  return std::shared_ptr<File>(std::move(file));
}

Result<std::shared_ptr<File>> FileOps::OpenFound(const Credentials& who, const proto::Attr& attr,
                                                 int flags) {
  RETURN_IF_ERROR(CheckRegular(attr));
  ASSIGN_OR_RETURN(auto file, OpenAnswered(who, attr, flags, identity_.incarnation()));
  return std::shared_ptr<File>(std::move(file));
}

Result<std::shared_ptr<OpenFile>> FileOps::OpenAnswered(const Credentials& who,
                                                        const proto::Attr& attr, int flags,
                                                        Incarnation session) {
  ASSIGN_OR_RETURN(auto state, inodes_.Acquire(attr));
  if (WantsWrite(flags)) state->SetWriter(who);
  FileAttr opened = Present(attr);
  return std::make_shared<OpenFile>(*this, std::move(state), who, flags, session,
                                    std::move(opened));
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
  request.set_tell_parent(true);
  const Incarnation session = identity_.incarnation();
  ASSIGN_OR_RETURN(const proto::CreateResponse answer, meta_.Create(who, std::move(request)));
  RETURN_IF_ERROR(CheckRegular(answer.attr()));
  ASSIGN_OR_RETURN(const auto file, OpenAnswered(who, answer.attr(), flags, session));
  if (!answer.created() && (flags & O_TRUNC) != 0) {
    ASSIGN_OR_RETURN(FileAttr emptied, Truncate(who, file->inode(), 0, WantsWrite(flags)));
    file->SetOpenedAttr(emptied);
  }
  Client::Created created{.file = file, .attr = file->OpenedAttr(), .created = answer.created()};
  if (answer.has_parent()) created.parent = AttrFromProto(answer.parent());
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
  const auto known = inodes_.Find(inode);
  // Setting the modification time stamps it, too; everything else comes after the writes.
  const bool stamps = (change.mtime_ns || change.mtime_now) && !change.mode;
  bool spared = false;
  if (known != nullptr) {
    const std::unique_lock one_at_a_time(known->report_mutex, options_.meta_timeout);
    if (!one_at_a_time.owns_lock()) return ReportTooSlow(*known);
    spared = stamps && known->TakeStamp();
    if (!spared) RETURN_IF_ERROR(ReportLocked(known->writer(), *known).status());
  }
  proto::SetAttrRequest request;
  request.set_inode(inode.value());
  FillIn(change, request);
  const auto answer = meta_.SetAttr(who, std::move(request));
  if (!answer.ok() && spared) known->PutBackStamp();
  if (!answer.ok()) return answer.status();
  return Present(answer->attr());
}

Result<FileAttr> FileOps::Truncate(const Credentials& who, InodeId inode, uint64_t size,
                                   bool from_handle) {
  if (size > kMaxFileSize) {
    return Status(Code::kFileTooBig, "truncate inode " + ToString(inode) + ": size " +
                                         std::to_string(size) + " is past the largest file");
  }
  std::unique_ptr<Still> still;
  if (const auto known = inodes_.Find(inode)) {
    ASSIGN_OR_RETURN(still, HoldStill(known));
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

Status FileOps::Sync(const std::shared_ptr<InodeState>& inode) {
  Status flushed = behind_.Flush(inode);
  // Whatever was lost, the length of what was not is told.
  Status reported = Report(inode->writer(), *inode);
  return flushed.ok() ? reported : flushed;
}

Status FileOps::SyncAll() {
  Status first;
  const auto inodes = inodes_.All();
  std::vector<uint64_t> failures;  // before anything is sent: what fails at once counts, too
  for (const auto& inode : inodes) failures.push_back(WriteBehind::failures(*inode));
  for (const auto& inode : inodes) behind_.Start(inode);  // all beside one another
  for (size_t i = 0; i < inodes.size(); ++i) {
    Status synced = Sync(inodes[i]);
    if (synced.ok() && WriteBehind::failures(*inodes[i]) != failures[i]) {
      synced = WriteBehind::last_failure(*inodes[i]);
    }
    if (first.ok()) first = std::move(synced);
  }
  return first;
}

Status FileOps::Report(const Credentials& who, InodeState& inode) {
  const std::unique_lock one_at_a_time(inode.report_mutex, options_.meta_timeout);
  if (!one_at_a_time.owns_lock()) return ReportTooSlow(inode);
  return ReportLocked(who, inode).status();
}

Result<std::optional<FileAttr>> FileOps::StampTimes(InodeId inode) {
  std::optional<FileAttr> none;
  const auto known = inodes_.Find(inode);
  if (known == nullptr) return none;
  // A report under way may be the stamp: attributes asked for before it is in would be old.
  const std::unique_lock one_at_a_time(known->report_mutex, options_.meta_timeout);
  if (!one_at_a_time.owns_lock()) return ReportTooSlow(*known);
  if (!known->IsUnstamped()) return none;
  ASSIGN_OR_RETURN(const auto attr, ReportLocked(known->writer(), *known));
  if (!attr) return none;
  return std::optional<FileAttr>(Present(*attr));
}

Result<std::optional<proto::Attr>> FileOps::ReportLocked(const Credentials& who,
                                                         InodeState& inode) {
  const auto report = inode.TakeReport();
  if (!report) return std::optional<proto::Attr>();
  proto::FsyncRequest request;
  request.set_inode(inode.inode().value());
  *request.mutable_report() = *report;
  auto answer = meta_.Fsync(who, std::move(request));
  if (!answer.ok()) {
    inode.ReportFailed(*report);
    return answer.status();
  }
  inode.ReportDone();
  if (answer->attr().size_epoch() != report->size_epoch()) {
    LogWarn("client: inode {} was truncated by another client while written here",
            inode.inode().value());
  }
  RETURN_IF_ERROR(inode.Adopt(answer->attr()));
  return std::optional<proto::Attr>(std::move(*answer->mutable_attr()));
}

Result<Incarnation> FileOps::BeginWriteOpen(InodeId inode) {
  const Incarnation session = identity_.incarnation();
  proto::OpenRequest request;
  request.set_inode(inode.value());
  request.set_flags(O_WRONLY);
  ASSIGN_OR_RETURN(const proto::AttrResponse answer,
                   meta_.Open(Credentials{0, 0, {}}, std::move(request)));
  (void)Present(answer.attr());
  return session;
}

Status FileOps::EndWriteOpen(const Credentials& who, InodeState& inode, Incarnation under) {
  const std::unique_lock one_at_a_time(inode.report_mutex, options_.meta_timeout);
  if (!one_at_a_time.owns_lock()) return ReportTooSlow(inode);
  const auto report = inode.TakeReport();
  proto::CloseRequest request;
  request.mutable_ctx()->mutable_request()->set_incarnation(under.value());
  request.set_inode(inode.inode().value());
  if (report) *request.mutable_report() = *report;
  const auto answer = meta_.Close(who, std::move(request));
  if (!answer.ok()) {
    if (report) inode.ReportFailed(*report);
    return answer.status();
  }
  inode.ReportDone();
  return answer->has_attr() ? inode.Adopt(answer->attr()) : Status::Ok();
}

void FileOps::ReleaseHandle(const std::shared_ptr<InodeState>& inode) {
  if (!inodes_.Release(inode->inode())) return;
  behind_.Discard(inode);
  closed_(inode->inode());
}

}  // namespace sheaf::client
