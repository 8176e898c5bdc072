#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "common/status.h"
#include "storage/engine/chunk_record.h"

namespace sheaf::storage {

// Which blocks of a target's slabs are in use: bitmaps in memory, rebuilt from the index at start,
// so that nothing leaks. Lowest free blocks first, in one run where there is one: blocks that were
// written before are used again before new ones (the file system need not convert their extents,
// so their sync is cheaper).
//
// The life of a block:
//   free -> pending (Allocate) -> named by the index (Commit) -> retired (Commit of the version
//   without it) -> free (Release); pending -> free (Abandon) when its write failed; retired ->
//   named (NameAgain) when the version without it was taken back.
//
// Invariants:
//  1. A block is in one state only; every transition checks the state it leaves (CHECK).
//  2. used = named + pending + retired, at any moment (Counts).
//  3. The last ReservedBlocks() free blocks go to privileged callers only (truncation and rewriting,
//     which must work on a full disk).
//
// Thread-safe.
class Allocator {
 public:
  struct Counts {
    uint64_t total = 0;
    uint64_t used = 0;
    uint64_t named = 0;
    uint64_t pending = 0;
    uint64_t retired = 0;
  };

  static constexpr uint32_t kReservedBlocks = 64;  // at most; 1/16 of a slab when that is less

  explicit Allocator(uint32_t blocks_per_slab);

  uint32_t blocks_per_slab() const { return blocks_per_slab_; }
  void AddSlab();

  // Block numbers in the order of the data they will hold; neighbours may lie in different slabs.
  // Nothing when that many are not free.
  std::optional<std::vector<BlockNumber>> Allocate(uint32_t count, bool privileged);
  // Pending blocks that an index commit now names, and named ones that it no longer does.
  // A block may be in both (written and replaced within one group).
  void Commit(std::span<const BlockNumber> added, std::span<const BlockNumber> dropped);
  // Retired blocks that an index commit names after all. REQUIRES: nobody releases them.
  void NameAgain(std::span<const BlockNumber> retired);
  void Release(std::span<const BlockNumber> retired);
  void Abandon(std::span<const BlockNumber> pending);
  // At start: `block` is named by the index. kCorrupt when it is named twice or outside the slabs.
  Status MarkNamed(BlockNumber block);

  Counts counts() const;
  uint64_t FreeBlocks() const;  // those an ordinary caller may still have
  // A bit for each block that the index names, slab after slab.
  std::vector<uint64_t> NamedBits() const;

 private:
  struct Slab {
    std::vector<uint64_t> used;
    std::vector<uint64_t> named;
    uint32_t free = 0;
    uint32_t first_free_hint = 0;  // no free block below
    uint32_t longest_hint = 0;     // no free run is longer
  };

  uint32_t ReservedBlocks() const;
  bool TakeRun(uint32_t count, std::vector<BlockNumber>& blocks);
  void TakePieces(uint32_t count, std::vector<BlockNumber>& blocks);
  void Take(uint32_t slab, uint32_t first, uint32_t count, std::vector<BlockNumber>& blocks);
  void Free(BlockNumber block);
  uint32_t NextFree(const Slab& slab, uint32_t from) const;
  uint32_t NextUsed(const Slab& slab, uint32_t from, uint32_t limit) const;

  const uint32_t blocks_per_slab_;
  const uint32_t words_per_slab_;
  mutable std::mutex mutex_;
  std::vector<Slab> slabs_;
  Counts counts_;
};

}  // namespace sheaf::storage
