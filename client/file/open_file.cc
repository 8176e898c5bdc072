#include "client/file/open_file.h"

#include <fcntl.h>

#include <condition_variable>
#include <mutex>
#include <optional>

#include "client/file/file_io.h"
#include "common/log.h"

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

OpenFile::OpenFile(FileOps& ops, std::shared_ptr<InodeState> inode, const Credentials& who,
                   int flags)
    : ops_(ops),
      inode_(std::move(inode)),
      who_(who),
      readable_((flags & O_ACCMODE) != O_WRONLY),
      writable_((flags & O_ACCMODE) != O_RDONLY) {}

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

Result<size_t> OpenFile::Read(uint64_t offset, std::span<uint8_t> into) {
  IoWaiter waiter;
  ReadAsync(offset, into, waiter.Done());
  return waiter.Wait();
}

Result<size_t> OpenFile::Write(uint64_t offset, std::span<const uint8_t> from) {
  size_t written = 0;
  do {
    IoWaiter waiter;
    WriteAsync(offset + written, from.subspan(written, std::min(kMaxIo, from.size() - written)),
               waiter.Done());
    ASSIGN_OR_RETURN(const size_t part, waiter.Wait());
    written += part;
  } while (written < from.size());
  return written;
}

Result<uint64_t> OpenFile::Append(std::span<const uint8_t> from) {
  RETURN_IF_ERROR(CheckWritable());
  const auto timeout = ops_.options().data_timeout;
  const std::unique_lock one_at_a_time(inode_->append_mutex, timeout);
  if (!one_at_a_time.owns_lock()) {
    return Status(Code::kDeadline, "append to inode " + ToString(inode()) +
                                       ": an append under way did not end in time");
  }
  uint64_t offset = 0;
  IoWaiter waiter;
  StartAppend(ops_.chunks(), inode_, &offset, from, timeout, waiter.Done());
  RETURN_IF_ERROR(waiter.Wait().status());
  return offset;
}

void OpenFile::ReadAsync(uint64_t offset, std::span<uint8_t> into, IoDone done) {
  if (Status may = CheckReadable(); !may.ok()) return done(may);
  StartRead(ops_.chunks(), inode_, offset, into, ops_.options().data_timeout, std::move(done));
}

void OpenFile::WriteAsync(uint64_t offset, std::span<const uint8_t> from, IoDone done) {
  if (Status may = CheckWritable(); !may.ok()) return done(may);
  StartWrite(ops_.chunks(), inode_, offset, from, ops_.options().data_timeout, std::move(done));
}

Status OpenFile::Sync() { return ops_.Report(who_, *inode_); }

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
  return ops_.CloseHandle(who_, inode_, writable_);
}

}  // namespace sheaf::client
