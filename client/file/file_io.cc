#include "client/file/file_io.h"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "client/file/pieces.h"
#include "common/transport/connection.h"

namespace sheaf::client {
namespace {

// A read with more gaps than this among what is buffered has it flushed instead.
constexpr size_t kMaxGaps = 256;

// One read or write of a file, whose pieces end in any order on any thread. Deletes itself with
// the last piece. Holds the inode's gate, shared.
class IoCall {
 public:
  IoCall(DataPath path, std::shared_ptr<InodeState> inode, const InodeState::View& view,
         bool writes, WriteBuffer::Range range, size_t pieces, File::IoDone done)
      : path_(path),
        inode_(std::move(inode)),
        size_epoch_(view.size_epoch),
        writes_(writes),
        range_(range),
        left_(pieces),
        done_(std::move(done)) {}

  void PieceDone(uint64_t end, const Result<size_t>& result) {
    if (writes_ && MayHaveWritten(result)) RaiseEnd(end);
    if (!result.ok()) NoteError(result.status());
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) Finish();
  }

 private:
  void RaiseEnd(uint64_t end) {
    uint64_t known = end_.load(std::memory_order_relaxed);
    while (known < end && !end_.compare_exchange_weak(known, end, std::memory_order_relaxed)) {
    }
  }

  void NoteError(Status status) {
    const std::lock_guard lock(mutex_);
    if (error_.ok()) error_ = std::move(status);
  }

  void Finish() {
    const uint64_t end = end_.load(std::memory_order_relaxed);
    if (end > 0) inode_->NoteWrite(size_epoch_, end, Clock::System().WallNanos());
    if (writes_) path_.behind.EndThrough(inode_, range_);
    inode_->io_gate.LeaveShared();
    const File::IoDone done = std::move(done_);
    const Result<size_t> result =
        error_.ok() ? Result<size_t>(range_.length) : Result<size_t>(error_);
    delete this;
    done(result);
  }

  const DataPath path_;
  const std::shared_ptr<InodeState> inode_;
  const SizeEpoch size_epoch_;
  const bool writes_;
  const WriteBuffer::Range range_;
  std::atomic<size_t> left_;
  std::atomic<uint64_t> end_ = 0;  // highest byte that may have been written
  std::mutex mutex_;
  Status error_;
  File::IoDone done_;
};

Status CheckWriteSize(size_t size) {
  if (size <= kMaxIo) return Status::Ok();
  return {Code::kTooBig, "write: " + std::to_string(size) + " bytes in one call, at most " +
                             std::to_string(kMaxIo)};
}

// Reads the parts of [offset, offset + into.size()) that nothing is buffered of.
void ReadGaps(DataPath path, const std::shared_ptr<InodeState>& inode, const InodeState::View& view,
              uint64_t offset, std::span<uint8_t> into, const std::vector<WriteBuffer::Range>& gaps,
              File::IoDone done) {
  size_t pieces = 0;
  for (const auto& gap : gaps) pieces += CountPieces(view.layout, gap.offset, gap.length);
  if (pieces > 1) transport::ReceivesHere::Forgo();
  auto* call = new IoCall(path, inode, view, false, {offset, into.size()}, pieces, std::move(done));
  for (const auto& gap : gaps) {
    for (uint64_t at = 0; at < gap.length;) {
      const ChunkRange piece = FirstPiece(view.layout, gap.offset + at, gap.length - at);
      path.chunks.Read(PlaceOf(view, piece), into.subspan(piece.file_offset - offset, piece.length),
                       [call](const Result<size_t>& result) { call->PieceDone(0, result); });
      at += piece.length;
    }
  }
}

}  // namespace

Status CheckFileRange(InodeId inode, uint64_t offset, size_t size) {
  if (offset <= kMaxFileSize && size <= kMaxFileSize - offset) return Status::Ok();
  return {Code::kFileTooBig, "write inode " + ToString(inode) + ": offset " +
                                 std::to_string(offset) + " is past the largest file"};
}

void StartRead(DataPath path, const std::shared_ptr<InodeState>& inode, uint64_t offset,
               std::span<uint8_t> into, File::IoDone done) {
  if (Status entered = inode->io_gate.EnterShared(path.timeout); !entered.ok()) {
    done(entered);
    return;
  }
  const InodeState::View view = inode->view();
  size_t length = 0;
  std::vector<WriteBuffer::Range> gaps;
  if (offset < view.length) {
    length = std::min<uint64_t>({into.size(), view.length - offset, kMaxIo});
    gaps = WriteBehind::Read(*inode, offset, into.first(length));
  }
  if (gaps.size() > kMaxGaps) {
    (void)path.behind.Flush(inode);  // its failure is the writers' to be told
    gaps = WriteBehind::Read(*inode, offset, into.first(length));
  }
  if (length == 0 || gaps.empty()) {
    inode->io_gate.LeaveShared();
    done(length);
    return;
  }
  ReadGaps(path, inode, view, offset, into.first(length), gaps, std::move(done));
}

void StartWrite(DataPath path, const std::shared_ptr<InodeState>& inode, uint64_t offset,
                std::span<const uint8_t> from, File::IoDone done) {
  if (Status entered = inode->io_gate.EnterShared(path.timeout); !entered.ok()) {
    return done(entered);
  }
  StartWriteEntered(path, inode, offset, from, std::move(done));
}

void StartWriteEntered(DataPath path, const std::shared_ptr<InodeState>& inode, uint64_t offset,
                       std::span<const uint8_t> from, File::IoDone done) {
  const WriteBuffer::Range range{offset, from.size()};
  Status ready = CheckWriteSize(from.size());
  if (ready.ok()) ready = CheckFileRange(inode->inode(), offset, from.size());
  if (ready.ok() && !from.empty()) ready = path.behind.BeginThrough(inode, range);
  if (!ready.ok() || from.empty()) {
    inode->io_gate.LeaveShared();
    return ready.ok() ? done(size_t{0}) : done(ready);
  }
  const InodeState::View view = inode->view();
  auto* call = new IoCall(path, inode, view, true, range,
                          CountPieces(view.layout, offset, from.size()), std::move(done));
  for (size_t at = 0; at < from.size();) {
    const ChunkRange piece = FirstPiece(view.layout, offset + at, from.size() - at);
    const uint64_t end = piece.file_offset + piece.length;
    path.chunks.Write(PlaceOf(view, piece), from.subspan(at, piece.length),
                      [call, end](const Result<size_t>& result) { call->PieceDone(end, result); });
    at += piece.length;
  }
}

}  // namespace sheaf::client
