#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace sheaf::storage {

// A buddy allocator of page runs: bookkeeping only, it touches no memory. A run begins at a
// multiple of its length rounded up to a power of two; pages of that rounding which were not asked
// for stay free, so a run of 257 pages costs 257.
//
// Thread safety: none.
//
// Invariants:
// 1. Each free page is in exactly one free block; a block's start is a multiple of its size.
// 2. No two free blocks are buddies: Free joins them.
class PageAllocator {
 public:
  explicit PageAllocator(uint32_t pages);

  // The first page of the run. REQUIRES: count > 0.
  std::optional<uint32_t> Allocate(uint32_t count);
  // Takes back a run that Allocate gave, whole.
  void Free(uint32_t first, uint32_t count);
  // Whether a run of `count` could be had now.
  bool CanAllocate(uint32_t count) const;

  uint32_t free_pages() const { return free_pages_; }

 private:
  static constexpr uint32_t kOrders = 20;  // runs up to 2 GiB of 4 KiB pages
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr uint8_t kNotFree = 0xff;

  void Push(uint32_t first, uint32_t order);
  void Unlink(uint32_t first, uint32_t order);
  void FreeBlock(uint32_t first, uint32_t order);

  uint32_t pages_;
  uint32_t free_pages_ = 0;
  std::array<uint32_t, kOrders> heads_;
  std::vector<uint8_t> free_order_;  // at the first page of a free block; kNotFree elsewhere
  std::vector<uint32_t> next_;       // valid at the first page of a free block
  std::vector<uint32_t> previous_;
};

}  // namespace sheaf::storage
