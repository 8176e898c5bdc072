#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "client/sheaf.h"
#include "common/guarded.h"

namespace sheaf::fuse {

// One open(2) of a regular file.
struct FileHandle {
  InodeId inode;
  std::shared_ptr<File> file;
  bool writable = false;
};

// One opendir(3): the page of entries that was read last and where it came from.
struct DirectoryHandle {
  InodeId inode;

  std::mutex mutex;  // guards all below; readers of one handle take turns
  DirectoryPage page;
  uint64_t page_cookie = 0;       // the page continues after this
  uint64_t page_mutations = 0;    // the mount's count of changes when the page was asked for
  uint64_t page_writer_mark = 0;  // InodeTable::WriterMark then
  bool page_has_attributes = false;
  bool page_valid = false;
};

// What the kernel's 64-bit file handles stand for. Numbers are never reused, so that a stale one
// is refused and not mistaken for another's.
//
// Thread-safe: sharded, so that readers of different files do not meet.
template <typename Handle>
class HandleTable {
 public:
  uint64_t Add(std::shared_ptr<Handle> handle) {
    const uint64_t number = next_.fetch_add(1, std::memory_order_relaxed);
    ShardOf(number).Lock()->emplace(number, std::move(handle));
    return number;
  }

  // Null for a number that is not open.
  std::shared_ptr<Handle> Find(uint64_t number) const {
    auto shard = ShardOf(number).Lock();
    auto found = shard->find(number);
    return found == shard->end() ? nullptr : found->second;
  }

  // Answers what was removed; null if it was not there.
  std::shared_ptr<Handle> Remove(uint64_t number) {
    auto shard = ShardOf(number).Lock();
    auto found = shard->find(number);
    if (found == shard->end()) return nullptr;
    std::shared_ptr<Handle> handle = std::move(found->second);
    shard->erase(found);
    return handle;
  }

  size_t size() const {
    size_t total = 0;
    for (const auto& shard : shards_) total += shard.Lock()->size();
    return total;
  }

  void Clear() {
    for (auto& shard : shards_) {
      // Swapped out first: closing a file takes a while and must not hold the lock.
      std::unordered_map<uint64_t, std::shared_ptr<Handle>> handles;
      shard.Lock()->swap(handles);
    }
  }

 private:
  static constexpr size_t kShards = 16;
  using Shard = Guarded<std::unordered_map<uint64_t, std::shared_ptr<Handle>>>;

  Shard& ShardOf(uint64_t number) { return shards_[number % kShards]; }
  const Shard& ShardOf(uint64_t number) const { return shards_[number % kShards]; }

  std::atomic<uint64_t> next_{1};
  std::array<Shard, kShards> shards_;
};

}  // namespace sheaf::fuse
