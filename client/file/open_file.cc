#include "client/file/open_file.h"

#include <fcntl.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

#include "client/file/file_io.h"
#include "common/log.h"
#include "common/transport/connection.h"

namespace sheaf::client {
namespace {

// Turns an asynchronous call into a blocking one. Chunk operations end by their deadline, so this
// wait does, too.
class IoWaiter {
 public:
  File::IoDone Done() {
    return [this](Result<size_t> result) {
      const std::lock_guard lock(mutex_);
      result_ = std::move(result);
      arrived_.notify_one();  // under the lock: the waiter destroys us once it has seen it
    };
  }
  Result<size_t> Wait() {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [&] { return result_.has_value(); });
    return std::move(*result_);
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::optional<Result<size_t>> result_;
};

}  // namespace

// A write under way: the handle stays filed.
class OpenFile::Writing {
 public:
  static Result<Writing> Begin(OpenFile& file) {
    RETURN_IF_ERROR(file.CheckWritable());
    RETURN_IF_ERROR(file.TellFailure());
    RETURN_IF_ERROR(file.BeginWriting());
    return Writing(file);
  }
  Writing(Writing&& other) noexcept : file_(std::exchange(other.file_, nullptr)) {}
  Writing& operator=(Writing&&) = delete;
  ~Writing() {
    if (file_ != nullptr) file_->EndWriting();
  }

 private:
  explicit Writing(OpenFile& file) : file_(&file) {}
  OpenFile* file_;
};

OpenFile::OpenFile(FileOps& ops, std::shared_ptr<InodeState> inode, const Credentials& who,
                   int flags, Incarnation session, FileAttr opened)
    : ops_(ops),
      inode_(std::move(inode)),
      who_(who),
      readable_((flags & O_ACCMODE) != O_WRONLY),
      writable_((flags & O_ACCMODE) != O_RDONLY),
      durable_((flags & O_DSYNC) != 0),  // O_SYNC has this bit, too
      direct_((flags & O_DIRECT) != 0),
      opened_(std::move(opened)),
      told_(WriteBehind::failures(*inode_)),
      filed_(Filed{.under = writable_ ? session : Incarnation()}),
      read_ahead_(ops.data(), inode_, ops.read_ahead_memory(),
                  direct_ ? 0 : ops.options().read_ahead_bytes) {}

OpenFile::~OpenFile() {
  if (closed_) return;
  if (Status closed = Close(); !closed.ok()) {
    LogWarn("client: close inode {}: {}", inode_->inode().value(), closed.ToString());
  }
}

Status OpenFile::CheckReadable() const {
  if (readable_ && !closed_) return Status::Ok();
  return {Code::kBadHandle, "read inode " + ToString(inode()) + ": not open for reading"};
}

Status OpenFile::CheckWritable() const {
  if (writable_ && !closed_) return Status::Ok();
  return {Code::kBadHandle, "write inode " + ToString(inode()) + ": not open for writing"};
}

Status OpenFile::TellFailure() {
  if (!writable_) return Status::Ok();
  const uint64_t failures = WriteBehind::failures(*inode_);
  if (told_.exchange(failures) == failures) return Status::Ok();
  return WriteBehind::last_failure(*inode_);
}

Status OpenFile::BeginWriting() {
  auto filed = filed_.Lock();
  if (filed->under != ops_.session()) {
    ASSIGN_OR_RETURN(filed->under, ops_.BeginWriteOpen(inode()));
  }
  ++filed->writing;
  return Status::Ok();
}

Result<size_t> OpenFile::Read(uint64_t offset, std::span<uint8_t> into) {
  RETURN_IF_ERROR(CheckReadable());
  const size_t fetched = read_ahead_.Read(offset, into);
  if (fetched == into.size() && fetched > 0) return fetched;
  IoWaiter waiter;
  transport::ReceivesHere here;
  StartRead(ops_.data(), inode_, offset + fetched, into.subspan(fetched), waiter.Done());
  here.Wait();
  ASSIGN_OR_RETURN(const size_t rest, waiter.Wait());
  return fetched + rest;
}

bool OpenFile::GoesThrough(size_t size) const {
  const size_t memory = ops_.options().write_behind_bytes;
  return durable_ || direct_ || memory == 0 || size > memory / 2;
}

Result<size_t> OpenFile::Write(uint64_t offset, std::span<const uint8_t> from) {
  ASSIGN_OR_RETURN(const Writing writing, Writing::Begin(*this));
  if (!GoesThrough(from.size())) return WriteBuffered(offset, from);
  ASSIGN_OR_RETURN(const size_t written, WriteThrough(offset, from));
  if (durable_) RETURN_IF_ERROR(ops_.Sync(inode_));
  return written;
}

Result<size_t> OpenFile::WriteThrough(uint64_t offset, std::span<const uint8_t> from) {
  size_t written = 0;
  do {
    IoWaiter waiter;
    StartWrite(ops_.data(), inode_, offset + written,
               from.subspan(written, std::min(kMaxIo, from.size() - written)), waiter.Done());
    ASSIGN_OR_RETURN(const size_t part, waiter.Wait());
    written += part;
  } while (written < from.size());
  return written;
}

Result<size_t> OpenFile::WriteBuffered(uint64_t offset, std::span<const uint8_t> from) {
  WriteBehind& behind = ops_.behind();
  RETURN_IF_ERROR(CheckFileRange(inode(), offset, from.size()));
  for (size_t at = 0; at < from.size();) {
    const auto part = from.subspan(at, std::min(from.size() - at, behind.write_max()));
    // Room first: a truncation must not wait for it.
    ASSIGN_OR_RETURN(const size_t room, behind.Reserve(part.size()));
    if (Status entered = inode_->io_gate.EnterShared(ops_.options().data_timeout); !entered.ok()) {
      behind.GiveBack(room);
      return entered;
    }
    behind.Write(inode_, offset + at, part, room);
    inode_->io_gate.LeaveShared();
    at += part.size();
  }
  return from.size();
}

Result<uint64_t> OpenFile::Append(std::span<const uint8_t> from) {
  ASSIGN_OR_RETURN(const Writing writing, Writing::Begin(*this));
  // Held from the reservation on: a truncate through this client comes before or after all of it.
  RETURN_IF_ERROR(inode_->io_gate.EnterShared(ops_.options().data_timeout));
  const auto offset = ReserveAppend(from.size());
  if (!offset.ok()) {
    inode_->io_gate.LeaveShared();
    return offset;
  }
  RETURN_IF_ERROR(AppendEntered(*offset, from));
  if (durable_) RETURN_IF_ERROR(ops_.Sync(inode_));
  return offset;
}

Result<uint64_t> OpenFile::ReserveAppend(size_t size) {
  if (size > kMaxIo) {
    return Status(Code::kTooBig, "append: " + std::to_string(size) +
                                     " bytes in one call, at most " + std::to_string(kMaxIo));
  }
  const InodeState::View view = inode_->view();
  if (size == 0) return view.length;
  proto::ReserveAppendRequest request;
  request.set_inode(inode().value());
  request.set_size_epoch(view.size_epoch.value());
  request.set_known_length(view.length);
  request.set_bytes(size);
  ASSIGN_OR_RETURN(const auto answer, ops_.meta().ReserveAppend(who_, std::move(request)));
  RETURN_IF_ERROR(inode_->Adopt(answer.attr()));
  RETURN_IF_ERROR(CheckFileRange(inode(), answer.offset(), size));
  return answer.offset();
}

// Leaves the gate.
Status OpenFile::AppendEntered(uint64_t offset, std::span<const uint8_t> from) {
  if (GoesThrough(from.size())) {
    IoWaiter waiter;
    StartWriteEntered(ops_.data(), inode_, offset, from, waiter.Done());
    return waiter.Wait().status();
  }
  Status put = PutIntoMemory(offset, from);
  inode_->io_gate.LeaveShared();
  return put;
}

Status OpenFile::PutIntoMemory(uint64_t offset, std::span<const uint8_t> from) {
  WriteBehind& behind = ops_.behind();
  for (size_t at = 0; at < from.size();) {
    const auto part = from.subspan(at, std::min(from.size() - at, behind.write_max()));
    ASSIGN_OR_RETURN(const size_t room, behind.Reserve(part.size()));
    behind.Write(inode_, offset + at, part, room);
    at += part.size();
  }
  return Status::Ok();
}

void OpenFile::ReadAsync(uint64_t offset, std::span<uint8_t> into, IoDone done) {
  if (Status may = CheckReadable(); !may.ok()) return done(may);
  StartRead(ops_.data(), inode_, offset, into, std::move(done));
}

void OpenFile::WriteAsync(uint64_t offset, std::span<const uint8_t> from, IoDone done) {
  auto writing = Writing::Begin(*this);
  if (!writing.ok()) return done(writing.status());
  auto held = std::make_shared<Writing>(std::move(writing).value());
  StartWrite(ops_.data(), inode_, offset, from,
             [held = std::move(held), done = std::move(done)](Result<size_t> result) mutable {
               held.reset();  // before the caller may let go of the handle
               done(std::move(result));
             });
}

Status OpenFile::Sync() {
  Status synced = ops_.Sync(inode_);
  Status told = TellFailure();
  return told.ok() ? synced : told;
}

Status OpenFile::Flush() {
  if (!writable_ || closed_) return Status::Ok();
  if (inode_->writes.state.Lock()->empty() && !inode_->IsDirty()) return TellFailure();
  Status flushed = ops_.behind().Flush(inode_);
  std::optional<Status> ended = EndEarly();
  const Status reported = ended ? *std::move(ended) : ops_.Sync(inode_);
  if (Status told = TellFailure(); !told.ok()) return told;
  return flushed.ok() ? reported : flushed;
}

// Ends the write-open before the handle, with the call that reports; nothing where it is to stay.
std::optional<Status> OpenFile::EndEarly() {
  auto filed = filed_.Lock();
  // Written to again after an earlier Flush: then a call saved here is paid at the next write.
  const bool stays = filed->ended_early || filed->writing > 0 || filed->under != ops_.session() ||
                     !WriteBehind::IsEmpty(*inode_);
  if (stays) return std::nullopt;
  Status reported = ops_.EndWriteOpen(who_, *inode_, filed->under);
  if (reported.ok()) *filed = Filed{.under = Incarnation(), .ended_early = true};
  return reported;
}

Status OpenFile::Truncate(uint64_t size) {
  if (!writable_ || closed_) {
    return {Code::kInvalid, "truncate inode " + ToString(inode()) + ": not open for writing"};
  }
  return ops_.Truncate(who_, inode(), size, true).status();
}

Result<FileAttr> OpenFile::Stat() {
  proto::GetAttrRequest request;
  request.set_inode(inode().value());
  ASSIGN_OR_RETURN(const proto::AttrResponse answer, ops_.meta().GetAttr(who_, request));
  return ops_.Present(answer.attr());
}

Status OpenFile::Close() {
  if (closed_.exchange(true)) {
    return {Code::kBadHandle, "close inode " + ToString(inode()) + ": closed already"};
  }
  Status closed;
  if (writable_) {
    const Status flushed = ops_.behind().Flush(inode_);
    const Incarnation under = filed_.Lock()->under;
    if (under == ops_.session()) {
      closed = ops_.EndWriteOpen(who_, *inode_, under);
    } else if (inode_->IsDirty()) {
      closed = ops_.Sync(inode_);
    }
    if (closed.ok()) closed = flushed;
    if (Status told = TellFailure(); !told.ok()) closed = told;
  }
  ops_.ReleaseHandle(inode_);
  return closed;
}

}  // namespace sheaf::client
