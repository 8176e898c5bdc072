#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "client/file/file_io.h"
#include "client/file/inode_state.h"
#include "client/file/memory_budget.h"
#include "common/status.h"

namespace sheaf::client {

// Reads of one handle that go forward without gaps find what they ask for fetched already.
// Thread-safe.
//
// What was fetched is used once, is at most kMaxAge old, counted from when it was asked for, and is
// dropped when this client has written or truncated the file since. Memory is bounded a handle by
// `window` and over all handles by `memory`: without room nothing is fetched.
class ReadAhead {
 public:
  static constexpr std::chrono::milliseconds kMaxAge{1000};
  static constexpr size_t kPiece = 1 << 20;  // bytes of one fetch
  static constexpr int kReadsInOrder = 2;    // before the first fetch

  // `window`: bytes fetched at most beyond what was read; 0: none.
  ReadAhead(DataPath path, std::shared_ptr<InodeState> inode, std::shared_ptr<MemoryBudget> memory,
            size_t window)
      : path_(path), inode_(std::move(inode)), memory_(std::move(memory)), window_(window) {}

  // What is fetched of the range's beginning, and asks for what comes after it. The rest of the
  // range is the caller's to read.
  size_t Read(uint64_t offset, std::span<uint8_t> into);

 private:
  struct Piece;

  // All with mutex_ held.
  bool InOrder(uint64_t offset, size_t size);
  std::shared_ptr<Piece> Find(uint64_t offset);
  void PlanFetches(uint64_t offset, std::vector<std::shared_ptr<Piece>>& fetches);

  void Fetch(const std::shared_ptr<Piece>& piece);

  const DataPath path_;
  const std::shared_ptr<InodeState> inode_;
  const std::shared_ptr<MemoryBudget> memory_;
  const size_t window_;

  std::mutex mutex_;
  uint64_t next_ = 0;                          // where a read in order begins
  int in_order_ = 0;                           // reads so far
  std::deque<std::shared_ptr<Piece>> pieces_;  // without gaps between them
};

}  // namespace sheaf::client
