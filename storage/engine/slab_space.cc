#include "storage/engine/slab_space.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "common/log.h"

namespace sheaf::storage {

SlabSpace::SlabSpace(Options options, WorkerPool& workers)
    : options_(std::move(options)),
      workers_(workers),
      allocator_(static_cast<uint32_t>(options_.slab_bytes / kBlockBytes)) {}

Status SlabSpace::Open() {
  while (true) {
    const auto number = static_cast<uint32_t>(slots_.Lock()->size());
    auto slot = options_.files->Open(number, options_.slab_bytes, /*create=*/false);
    if (!slot.ok()) {
      // A file cut short is what a crash while adding a slab leaves; the next growth completes it.
      // If the index names a block in it, rebuilding the allocator says so.
      if (slot.status().code() == Code::kNotFound || slot.status().code() == Code::kCorrupt) break;
      return slot.status();
    }
    slots_.Lock()->push_back(*slot);
    allocator_.AddSlab();
  }
  if (slots_.Lock()->empty()) RETURN_IF_ERROR(AddSlab());
  RefreshGrowable();
  return Status::Ok();
}

uint64_t SlabSpace::SlabLimit() const {
  const uint64_t addressable = (uint64_t{kNoBlock} - kBlocksPerPage) * kBlockBytes;
  const uint64_t capacity = options_.capacity_bytes == 0
                                ? addressable
                                : std::min(options_.capacity_bytes, addressable);
  return std::max<uint64_t>(1, capacity / options_.slab_bytes);
}

SlabSpace::Place SlabSpace::Locate(BlockNumber block) const {
  const uint32_t slab = block / allocator_.blocks_per_slab();
  auto slots = slots_.Lock();
  CHECK(slab < slots->size(), "block " + std::to_string(block) + " lies outside the slabs");
  return {(*slots)[slab], slab, uint64_t{block % allocator_.blocks_per_slab()} * kBlockBytes};
}

size_t SlabSpace::RunLength(std::span<const BlockNumber> blocks, size_t first,
                            uint32_t blocks_per_slab) {
  size_t count = 1;
  while (first + count < blocks.size() &&
         blocks[first + count] == blocks[first + count - 1] + 1 &&
         blocks[first + count] % blocks_per_slab != 0) {
    ++count;
  }
  return count;
}

std::optional<SlabSpace::Blocks> SlabSpace::TryAllocate(uint32_t count, bool privileged) {
  auto blocks = allocator_.Allocate(count, privileged);
  // A quarter of a slab ahead of need: opening one takes longer than filling a few chunks.
  if (allocator_.FreeBlocks() < allocator_.blocks_per_slab() / 4) {
    auto growth = growth_.Lock();
    const bool start = !growth->running && !growth->failed;
    if (start && workers_.Submit([this] { Grow(); })) growth->running = true;
  }
  return blocks;
}

void SlabSpace::AllocateAfterGrowth(uint32_t count, bool privileged, Ready ready) {
  auto growth = growth_.Lock();
  if (!growth->running && !workers_.Submit([this] { Grow(); })) {
    ready(Status(Code::kBusy, "allocate blocks: too much work is queued"));
    return;
  }
  growth->running = true;
  growth->waiters.push_back({count, privileged, std::move(ready)});
}

void SlabSpace::Grow() {
  // Blocks may have been freed meanwhile; then nobody needs the slab yet.
  if (!ServeWaiters(Status::Ok()) &&
      allocator_.FreeBlocks() >= allocator_.blocks_per_slab() / 4) {
    auto growth = growth_.Lock();
    if (growth->waiters.empty()) {
      growth->running = false;
      return;
    }
  }
  while (true) {
    const Status added = AddSlab();
    RefreshGrowable();
    if (!added.ok() && added.code() != Code::kNoSpace) {
      LogError("grow target by a slab: {}", added.ToString());
    }
    const bool waiting = ServeWaiters(added);
    auto growth = growth_.Lock();
    growth->failed = !added.ok();
    if (!waiting && growth->waiters.empty()) {
      growth->running = false;
      return;
    }
  }
}

Status SlabSpace::AddSlab() {
  const auto number = static_cast<uint32_t>(slots_.Lock()->size());
  if (number >= SlabLimit()) {
    return Status(Code::kNoSpace, "add slab " + std::to_string(number) +
                                      ": the target's capacity is reached (" +
                                      std::to_string(number * options_.slab_bytes) + " bytes)");
  }
  ASSIGN_OR_RETURN(const uint64_t free, options_.files->FreeBytes());
  if (free < options_.slab_bytes + options_.index_reserve_bytes) {
    return Status(Code::kNoSpace, "add slab " + std::to_string(number) +
                                      ": the file system is full (" + std::to_string(free) +
                                      " bytes free, " + std::to_string(options_.slab_bytes) +
                                      " needed and " +
                                      std::to_string(options_.index_reserve_bytes) + " kept)");
  }
  ASSIGN_OR_RETURN(const FileSlot slot, options_.files->Open(number, options_.slab_bytes, true));
  slots_.Lock()->push_back(slot);  // before its blocks can be allocated
  allocator_.AddSlab();
  return Status::Ok();
}

bool SlabSpace::ServeWaiters(const Status& failure) {
  std::vector<Waiter> waiters = std::exchange(growth_.Lock()->waiters, {});
  std::vector<Waiter> still;
  for (Waiter& waiter : waiters) {
    auto blocks = allocator_.Allocate(waiter.count, waiter.privileged);
    if (blocks.has_value()) {
      waiter.ready(std::move(*blocks));
    } else if (!failure.ok()) {
      waiter.ready(failure);
    } else {
      still.push_back(std::move(waiter));
    }
  }
  auto growth = growth_.Lock();
  const bool waiting = !still.empty();
  for (Waiter& waiter : still) growth->waiters.push_back(std::move(waiter));
  return waiting;
}

void SlabSpace::RefreshGrowable() {
  auto free = options_.files->FreeBytes();
  const uint64_t bytes = free.ok() && *free > options_.index_reserve_bytes
                             ? *free - options_.index_reserve_bytes
                             : 0;
  const uint64_t slabs = slots_.Lock()->size();
  const uint64_t left = SlabLimit() > slabs ? SlabLimit() - slabs : 0;
  growable_bytes_ = std::min(left, bytes / options_.slab_bytes) * options_.slab_bytes;
}

Status SlabSpace::Sync(uint32_t slab) {
  const FileSlot slot = (*slots_.Lock())[slab];
  return options_.files->Sync(slot).With("sync slab " + std::to_string(slab));
}

Engine::Space SlabSpace::GetSpace() {
  // Others use the file system too; asking it blocks, so the answer is the one of last time.
  if (!refreshing_.exchange(true)) {
    const bool submitted = workers_.Submit([this] {
      RefreshGrowable();
      refreshing_ = false;
    });
    if (!submitted) refreshing_ = false;
  }
  const auto counts = allocator_.counts();
  return {counts.used * kBlockBytes, counts.total * kBlockBytes + growable_bytes_.load()};
}

Status ChecksumMismatch(const std::string& what, const SlabSpace::Place& place, uint32_t at,
                        uint32_t want, uint32_t got) {
  char values[96];
  std::snprintf(values, sizeof(values), "(slab %u, offset %llu, want %08x, got %08x)", place.slab,
                static_cast<unsigned long long>(place.offset + at), want, got);
  return Status(Code::kCorrupt, what + ": checksum mismatch " + values);
}

}  // namespace sheaf::storage
