#include "client/file/file_io.h"

#include <algorithm>
#include <atomic>
#include <mutex>

namespace sheaf::client {
namespace {

using std::chrono::milliseconds;

// The first piece of a range: within one chunk, ending at a multiple of kMaxPiece, so that pieces
// begin where storage blocks do.
ChunkRange FirstPiece(const Layout& layout, uint64_t offset, uint64_t length) {
  const uint64_t to_border = kMaxPiece - offset % kMaxPiece;
  return FirstChunkRange(layout, offset, std::min(length, to_border));
}

size_t CountPieces(const Layout& layout, uint64_t offset, uint64_t length) {
  // Chunks and pieces are powers of two: the smaller one decides.
  const uint64_t unit = std::min<uint64_t>(kMaxPiece, layout.chunk_size());
  return (offset + length - 1) / unit - offset / unit + 1;
}

ChunkClient::Place PlaceOf(const InodeState::View& view, const ChunkRange& piece) {
  return {.layout = view.layout,
          .chunk = {.data_id = view.data_id, .index = piece.index},
          .offset = piece.offset};
}

// One read or write of a file, whose pieces end in any order on any thread. Deletes itself with
// the last piece. Holds the inode's gate, shared.
class IoCall {
 public:
  IoCall(std::shared_ptr<InodeState> inode, const InodeState::View& view, bool writes,
         size_t length, size_t pieces, File::IoDone done)
      : inode_(std::move(inode)),
        size_epoch_(view.size_epoch),
        writes_(writes),
        length_(length),
        left_(pieces),
        done_(std::move(done)) {}

  void PieceDone(uint64_t end, const Result<size_t>& result) {
    if (writes_ && MayHaveWritten(result)) RaiseEnd(end);
    if (!result.ok()) NoteError(result.status());
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) Finish();
  }

 private:
  // A refusal leaves nothing; a timeout may.
  static bool MayHaveWritten(const Result<size_t>& result) {
    return result.ok() || result.status().code() == Code::kDeadline ||
           result.status().code() == Code::kIo;
  }

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
    inode_->io_gate.LeaveShared();
    const File::IoDone done = std::move(done_);
    const Result<size_t> result = error_.ok() ? Result<size_t>(length_) : Result<size_t>(error_);
    delete this;
    done(result);
  }

  const std::shared_ptr<InodeState> inode_;
  const SizeEpoch size_epoch_;
  const bool writes_;
  const size_t length_;
  std::atomic<size_t> left_;
  std::atomic<uint64_t> end_ = 0;  // highest byte that may have been written
  std::mutex mutex_;
  Status error_;
  File::IoDone done_;
};

// The gate is entered, `from` is not empty.
void WriteEntered(ChunkClient& chunks, const std::shared_ptr<InodeState>& inode,
                  const InodeState::View& view, uint64_t offset, std::span<const uint8_t> from,
                  File::IoDone done) {
  if (offset > kMaxFileSize || from.size() > kMaxFileSize - offset) {
    inode->io_gate.LeaveShared();
    done(Status(Code::kFileTooBig, "write inode " + ToString(inode->inode()) + ": offset " +
                                       std::to_string(offset) + " is past the largest file"));
    return;
  }
  auto* call = new IoCall(inode, view, true, from.size(),
                          CountPieces(view.layout, offset, from.size()), std::move(done));
  for (size_t at = 0; at < from.size();) {
    const ChunkRange piece = FirstPiece(view.layout, offset + at, from.size() - at);
    const uint64_t end = piece.file_offset + piece.length;
    chunks.Write(PlaceOf(view, piece), from.subspan(at, piece.length),
                 [call, end](const Result<size_t>& result) { call->PieceDone(end, result); });
    at += piece.length;
  }
}

Status CheckWriteSize(size_t size) {
  if (size <= kMaxIo) return Status::Ok();
  return {Code::kTooBig, "write: " + std::to_string(size) + " bytes in one call, at most " +
                             std::to_string(kMaxIo)};
}

}  // namespace

void StartRead(ChunkClient& chunks, const std::shared_ptr<InodeState>& inode, uint64_t offset,
               std::span<uint8_t> into, milliseconds timeout, File::IoDone done) {
  if (Status entered = inode->io_gate.EnterShared(timeout); !entered.ok()) {
    done(entered);
    return;
  }
  const InodeState::View view = inode->view();
  if (offset >= view.length || into.empty()) {
    inode->io_gate.LeaveShared();
    done(size_t{0});
    return;
  }
  const size_t length = std::min<uint64_t>({into.size(), view.length - offset, kMaxIo});
  auto* call = new IoCall(inode, view, false, length, CountPieces(view.layout, offset, length),
                          std::move(done));
  for (size_t at = 0; at < length;) {
    const ChunkRange piece = FirstPiece(view.layout, offset + at, length - at);
    chunks.Read(PlaceOf(view, piece), into.subspan(at, piece.length),
                [call](const Result<size_t>& result) { call->PieceDone(0, result); });
    at += piece.length;
  }
}

void StartWrite(ChunkClient& chunks, const std::shared_ptr<InodeState>& inode, uint64_t offset,
                std::span<const uint8_t> from, milliseconds timeout, File::IoDone done) {
  Status ready = CheckWriteSize(from.size());
  if (ready.ok() && from.empty()) return done(size_t{0});
  if (ready.ok()) ready = inode->io_gate.EnterShared(timeout);
  if (!ready.ok()) return done(ready);
  WriteEntered(chunks, inode, inode->view(), offset, from, std::move(done));
}

void StartAppend(ChunkClient& chunks, const std::shared_ptr<InodeState>& inode, uint64_t* offset,
                 std::span<const uint8_t> from, milliseconds timeout, File::IoDone done) {
  Status ready = CheckWriteSize(from.size());
  if (ready.ok()) ready = inode->io_gate.EnterShared(timeout);
  if (!ready.ok()) return done(ready);
  const InodeState::View view = inode->view();
  *offset = view.length;
  if (from.empty()) {
    inode->io_gate.LeaveShared();
    return done(size_t{0});
  }
  WriteEntered(chunks, inode, view, view.length, from, std::move(done));
}

}  // namespace sheaf::client
