#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>

#include "common/status.h"
#include "storage/disk/io_context.h"
#include "storage/disk/page_allocator.h"

namespace sheaf::storage {

// One mapped region of page-aligned buffers, of any number of pages; the region's size is the limit
// on all of them together. The front of it, as much as the memlock limit allows, is registered with
// one ring by whoever owns both.
//
// Thread safety: all calls; buffers may be let go on any thread (the engine's commit thread does).
// Buffers keep the region alive.
class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  // kNoSpace when the address space cannot be had. `bytes` is rounded up to whole pages.
  static Result<std::shared_ptr<BufferPool>> Create(uint64_t bytes);
  ~BufferPool();

  // Null when no run of that length is free, and for more than the region.
  BufferRef Allocate(size_t bytes);
  bool HasRoom(size_t bytes) const;

  std::span<uint8_t> region() { return region_; }
  uint64_t used_bytes() const;

 private:
  class Buffer;
  explicit BufferPool(std::span<uint8_t> region);
  void Free(std::span<uint8_t> bytes);

  const std::span<uint8_t> region_;
  mutable std::mutex mutex_;
  PageAllocator pages_;  // under mutex_
};

}  // namespace sheaf::storage
