#include "storage/disk/page_allocator.h"

#include <algorithm>
#include <bit>

#include "common/status.h"

namespace sheaf::storage {
namespace {

uint32_t OrderFor(uint32_t count) { return std::bit_width(count - 1); }

}  // namespace

PageAllocator::PageAllocator(uint32_t pages)
    : pages_(pages), free_order_(pages, kNotFree), next_(pages, kNone), previous_(pages, kNone) {
  heads_.fill(kNone);
  if (pages > 0) Free(0, pages);
}

void PageAllocator::Push(uint32_t first, uint32_t order) {
  free_order_[first] = static_cast<uint8_t>(order);
  next_[first] = heads_[order];
  previous_[first] = kNone;
  if (heads_[order] != kNone) previous_[heads_[order]] = first;
  heads_[order] = first;
}

void PageAllocator::Unlink(uint32_t first, uint32_t order) {
  if (previous_[first] == kNone) {
    heads_[order] = next_[first];
  } else {
    next_[previous_[first]] = next_[first];
  }
  if (next_[first] != kNone) previous_[next_[first]] = previous_[first];
  free_order_[first] = kNotFree;
}

bool PageAllocator::CanAllocate(uint32_t count) const {
  for (uint32_t order = OrderFor(count); order < kOrders; ++order)
    if (heads_[order] != kNone) return true;
  return false;
}

std::optional<uint32_t> PageAllocator::Allocate(uint32_t count) {
  const uint32_t wanted = OrderFor(count);
  uint32_t order = wanted;
  while (order < kOrders && heads_[order] == kNone) ++order;
  if (order >= kOrders) return std::nullopt;

  const uint32_t first = heads_[order];
  Unlink(first, order);
  while (order > wanted) {
    --order;
    Push(first + (1u << order), order);
  }
  free_pages_ -= 1u << wanted;
  if (count < (1u << wanted)) Free(first + count, (1u << wanted) - count);
  return first;
}

void PageAllocator::Free(uint32_t first, uint32_t count) {
  CHECK(first < pages_ && count <= pages_ - first, "pages outside the pool given back");
  free_pages_ += count;
  // The largest aligned blocks that make up the run.
  while (count > 0) {
    uint32_t order = std::bit_width(count) - 1;
    if (first != 0) order = std::min<uint32_t>(order, std::countr_zero(first));
    order = std::min(order, kOrders - 1);
    FreeBlock(first, order);
    first += 1u << order;
    count -= 1u << order;
  }
}

void PageAllocator::FreeBlock(uint32_t first, uint32_t order) {
  CHECK(free_order_[first] == kNotFree, "page given back twice");
  while (order + 1 < kOrders) {
    const uint32_t buddy = first ^ (1u << order);
    if (buddy >= pages_ || free_order_[buddy] != order) break;
    Unlink(buddy, order);
    first = std::min(first, buddy);
    ++order;
  }
  Push(first, order);
}

}  // namespace sheaf::storage
