#include "client/file/read_ahead.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>

#include "common/clock.h"

namespace sheaf::client {

// One fetch. Shared with its answer, which may come after the handle is gone.
struct ReadAhead::Piece {
  Piece(std::shared_ptr<MemoryBudget> of, uint64_t at, size_t size, uint64_t changes_before)
      : memory(std::move(of)),
        offset(at),
        bytes(size),
        asked(Clock::System().Now()),
        changes(changes_before) {}
  ~Piece() { memory->Release(bytes.size()); }

  void Finish(Result<size_t> result) {
    const std::lock_guard lock(mutex);
    read = std::move(result);
    arrived.notify_all();
  }
  // Ends by the chunk client's deadline.
  Result<size_t> Wait() {
    std::unique_lock lock(mutex);
    arrived.wait(lock, [&] { return read.has_value(); });
    return *read;
  }
  bool IsFresh(const InodeState& inode) const {
    return Clock::System().Now() - asked <= kMaxAge && inode.content_changes() == changes;
  }

  const std::shared_ptr<MemoryBudget> memory;
  const uint64_t offset;
  std::vector<uint8_t> bytes;
  const Clock::Instant asked;
  const uint64_t changes;
  std::mutex mutex;
  std::condition_variable arrived;
  std::optional<Result<size_t>> read;
};

size_t ReadAhead::Read(uint64_t offset, std::span<uint8_t> into) {
  if (window_ == 0 || into.empty()) return 0;
  std::vector<std::shared_ptr<Piece>> fetches;
  bool in_order = false;
  {
    const std::lock_guard lock(mutex_);
    in_order = InOrder(offset, into.size());
    if (in_order) PlanFetches(offset + into.size(), fetches);
  }
  for (const auto& piece : fetches) Fetch(piece);
  size_t copied = 0;
  while (in_order && copied < into.size()) {
    std::shared_ptr<Piece> piece;
    {
      const std::lock_guard lock(mutex_);
      piece = Find(offset + copied);
    }
    if (piece == nullptr) break;
    const auto read = piece->Wait();
    const size_t skip = offset + copied - piece->offset;
    // A failure or the end of the file: the caller finds out for itself.
    if (!read.ok() || skip >= *read || !piece->IsFresh(*inode_)) break;
    const size_t part = std::min(into.size() - copied, *read - skip);
    std::memcpy(into.data() + copied, piece->bytes.data() + skip, part);
    copied += part;
  }
  return copied;
}

bool ReadAhead::InOrder(uint64_t offset, size_t size) {
  const bool in_order = offset == next_;
  next_ = offset + size;
  if (!in_order) {
    in_order_ = 0;
    pieces_.clear();
  }
  return ++in_order_ >= kReadsInOrder;
}

// What lies before `offset` was used.
std::shared_ptr<ReadAhead::Piece> ReadAhead::Find(uint64_t offset) {
  while (!pieces_.empty()) {
    const auto& first = pieces_.front();
    if (!first->IsFresh(*inode_)) {
      pieces_.clear();
      break;
    }
    if (offset < first->offset) break;
    if (offset < first->offset + first->bytes.size()) return first;
    pieces_.pop_front();
  }
  return nullptr;
}

// `offset`: the end of the read that plans. The next fetch begins there or where the last one ends.
void ReadAhead::PlanFetches(uint64_t offset, std::vector<std::shared_ptr<Piece>>& fetches) {
  if (!pieces_.empty() && !pieces_.front()->IsFresh(*inode_)) pieces_.clear();
  const uint64_t changes = inode_->content_changes();
  const uint64_t end = std::min(inode_->view().length, offset + window_);
  uint64_t at = pieces_.empty() ? offset : pieces_.back()->offset + pieces_.back()->bytes.size();
  while (at < end) {
    const size_t size = std::min<uint64_t>(kPiece - at % kPiece, end - at);
    // Near the end of the window only whole pieces, unless the file ends there.
    if (size < kPiece - at % kPiece && end == offset + window_) break;
    if (!memory_->TryReserve(size)) break;
    pieces_.push_back(std::make_shared<Piece>(memory_, at, size, changes));
    fetches.push_back(pieces_.back());
    at += size;
  }
}

void ReadAhead::Fetch(const std::shared_ptr<Piece>& piece) {
  StartRead(path_, inode_, piece->offset, piece->bytes,
            [piece](Result<size_t> read) { piece->Finish(std::move(read)); });
}

}  // namespace sheaf::client
