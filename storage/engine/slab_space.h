#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "common/guarded.h"
#include "storage/disk/io_context.h"
#include "storage/engine/allocator.h"
#include "storage/engine/engine.h"
#include "storage/engine/worker_pool.h"

namespace sheaf::storage {

// The slabs of one target: which blocks are free, which file a block lies in, and growth. A slab
// is added on a worker thread before the free blocks run out; an allocation that does not fit
// waits for one attempt to grow and then answers kNoSpace.
//
// Thread-safe.
class SlabSpace {
 public:
  struct Options {
    std::shared_ptr<SlabFiles> files;
    uint64_t slab_bytes = 0;
    uint64_t capacity_bytes = 0;       // 0: what the file system has
    uint64_t index_reserve_bytes = 0;  // kept free on the file system: removal needs log space
  };
  struct Place {
    FileSlot file = 0;
    uint32_t slab = 0;
    uint64_t offset = 0;
  };
  using Blocks = std::vector<BlockNumber>;
  using Ready = std::function<void(Result<Blocks>)>;

  // `workers` outlives it.
  SlabSpace(Options options, WorkerPool& workers);

  // Opens the slabs there are, or creates the first. Blocking.
  Status Open();

  Allocator& allocator() { return allocator_; }
  const Allocator& allocator() const { return allocator_; }

  Place Locate(BlockNumber block) const;
  // How many of `blocks` from `first` on lie one after the other in one slab.
  static size_t RunLength(std::span<const BlockNumber> blocks, size_t first,
                          uint32_t blocks_per_slab);

  // Never blocks. Nothing when they are not free just now: then AllocateAfterGrowth.
  std::optional<Blocks> TryAllocate(uint32_t count, bool privileged);
  // `ready` runs on a worker thread: the blocks, kNoSpace, or why a slab could not be added.
  void AllocateAfterGrowth(uint32_t count, bool privileged, Ready ready);

  Status Sync(uint32_t slab);
  Engine::Space GetSpace();

 private:
  struct Waiter {
    uint32_t count;
    bool privileged;
    Ready ready;
  };
  struct Growth {
    bool running = false;
    bool failed = false;  // the last attempt: do not grow ahead of need
    std::vector<Waiter> waiters;
  };

  void Grow();
  Status AddSlab();
  // Serves the waiters that fit now, or all of them with `failure`. True when some still wait.
  bool ServeWaiters(const Status& failure);
  void RefreshGrowable();
  uint64_t SlabLimit() const;

  const Options options_;
  WorkerPool& workers_;
  Allocator allocator_;
  Guarded<std::vector<FileSlot>> slots_;  // by slab number
  Guarded<Growth> growth_;
  std::atomic<uint64_t> growable_bytes_{0};
  std::atomic<bool> refreshing_{false};
};

// kCorrupt "what: checksum mismatch (slab s, offset o, want w, got g)"; `at` is within the block.
Status ChecksumMismatch(const std::string& what, const SlabSpace::Place& place, uint32_t at,
                        uint32_t want, uint32_t got);

}  // namespace sheaf::storage
