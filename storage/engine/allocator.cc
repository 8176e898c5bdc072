#include "storage/engine/allocator.h"

#include <algorithm>
#include <bit>
#include <string>

namespace sheaf::storage {

namespace {

bool Test(const std::vector<uint64_t>& bits, uint32_t i) { return bits[i / 64] >> (i % 64) & 1; }
void Set(std::vector<uint64_t>& bits, uint32_t i) { bits[i / 64] |= uint64_t{1} << (i % 64); }
void Clear(std::vector<uint64_t>& bits, uint32_t i) { bits[i / 64] &= ~(uint64_t{1} << (i % 64)); }

}  // namespace

Allocator::Allocator(uint32_t blocks_per_slab)
    : blocks_per_slab_(blocks_per_slab), words_per_slab_((blocks_per_slab + 63) / 64) {}

void Allocator::AddSlab() {
  std::lock_guard lock(mutex_);
  Slab slab;
  slab.used.resize(words_per_slab_);
  slab.named.resize(words_per_slab_);
  slab.free = slab.longest_hint = blocks_per_slab_;
  slabs_.push_back(std::move(slab));
  counts_.total += blocks_per_slab_;
}

uint32_t Allocator::ReservedBlocks() const {
  return std::min(kReservedBlocks, blocks_per_slab_ / 16);
}

std::optional<std::vector<BlockNumber>> Allocator::Allocate(uint32_t count, bool privileged) {
  std::lock_guard lock(mutex_);
  const uint64_t keep = privileged ? 0 : ReservedBlocks();
  if (counts_.total - counts_.used < count + keep) return std::nullopt;
  std::vector<BlockNumber> blocks;
  blocks.reserve(count);
  if (!TakeRun(count, blocks)) TakePieces(count, blocks);
  CHECK(blocks.size() == count, "free counts disagree with the bitmaps");
  counts_.used += count;
  counts_.pending += count;
  return blocks;
}

bool Allocator::TakeRun(uint32_t count, std::vector<BlockNumber>& blocks) {
  for (uint32_t number = 0; number < slabs_.size(); ++number) {
    Slab& slab = slabs_[number];
    if (slab.free < count || slab.longest_hint < count) continue;
    uint32_t longest = 0;
    for (uint32_t at = NextFree(slab, slab.first_free_hint); at < blocks_per_slab_;) {
      const uint32_t end = NextUsed(slab, at, std::min(blocks_per_slab_, at + count));
      if (end - at == count) {
        Take(number, at, count, blocks);
        return true;
      }
      longest = std::max(longest, end - at);
      at = NextFree(slab, end);
    }
    slab.longest_hint = longest;
  }
  return false;
}

void Allocator::TakePieces(uint32_t count, std::vector<BlockNumber>& blocks) {
  for (uint32_t number = 0; number < slabs_.size() && count > 0; ++number) {
    Slab& slab = slabs_[number];
    while (slab.free > 0 && count > 0) {
      const uint32_t at = NextFree(slab, slab.first_free_hint);
      const uint32_t end = NextUsed(slab, at, std::min(blocks_per_slab_, at + count));
      CHECK(end > at, "a slab's free count disagrees with its bitmap");
      Take(number, at, end - at, blocks);
      count -= end - at;
    }
  }
}

void Allocator::Take(uint32_t number, uint32_t first, uint32_t count,
                     std::vector<BlockNumber>& blocks) {
  Slab& slab = slabs_[number];
  for (uint32_t i = first; i < first + count; ++i) {
    Set(slab.used, i);
    blocks.push_back(number * blocks_per_slab_ + i);
  }
  slab.free -= count;
  if (NextFree(slab, slab.first_free_hint) >= first) slab.first_free_hint = first + count;
}

uint32_t Allocator::NextFree(const Slab& slab, uint32_t from) const {
  for (uint32_t word = from / 64; word < words_per_slab_; ++word) {
    uint64_t free = ~slab.used[word];
    if (word == from / 64) free &= ~uint64_t{0} << (from % 64);
    if (free != 0) {
      return std::min<uint32_t>(blocks_per_slab_, word * 64 + std::countr_zero(free));
    }
  }
  return blocks_per_slab_;
}

uint32_t Allocator::NextUsed(const Slab& slab, uint32_t from, uint32_t limit) const {
  for (uint32_t word = from / 64; word * 64 < limit; ++word) {
    uint64_t used = slab.used[word];
    if (word == from / 64) used &= ~uint64_t{0} << (from % 64);
    if (used != 0) return std::min<uint32_t>(limit, word * 64 + std::countr_zero(used));
  }
  return limit;
}

void Allocator::Commit(std::span<const BlockNumber> added, std::span<const BlockNumber> dropped) {
  std::lock_guard lock(mutex_);
  for (BlockNumber block : added) {
    Slab& slab = slabs_[block / blocks_per_slab_];
    const uint32_t i = block % blocks_per_slab_;
    CHECK(Test(slab.used, i) && !Test(slab.named, i), "block " + std::to_string(block) +
                                                          " committed twice");
    Set(slab.named, i);
  }
  for (BlockNumber block : dropped) {
    Slab& slab = slabs_[block / blocks_per_slab_];
    const uint32_t i = block % blocks_per_slab_;
    CHECK(Test(slab.named, i), "block " + std::to_string(block) + " retired but not named");
    Clear(slab.named, i);
  }
  CHECK(counts_.pending >= added.size(), "more blocks committed than allocated");
  counts_.pending -= added.size();
  counts_.named += added.size();
  counts_.named -= dropped.size();
  counts_.retired += dropped.size();
}

void Allocator::NameAgain(std::span<const BlockNumber> retired) {
  std::lock_guard lock(mutex_);
  CHECK(counts_.retired >= retired.size(), "more blocks named again than retired");
  for (BlockNumber block : retired) {
    Slab& slab = slabs_[block / blocks_per_slab_];
    const uint32_t i = block % blocks_per_slab_;
    CHECK(Test(slab.used, i) && !Test(slab.named, i),
          "block " + std::to_string(block) + " named again but not retired");
    Set(slab.named, i);
  }
  counts_.retired -= retired.size();
  counts_.named += retired.size();
}

void Allocator::Free(BlockNumber block) {
  Slab& slab = slabs_[block / blocks_per_slab_];
  const uint32_t i = block % blocks_per_slab_;
  CHECK(Test(slab.used, i) && !Test(slab.named, i),
        "block " + std::to_string(block) + " freed while the index names it");
  Clear(slab.used, i);
  ++slab.free;
  --counts_.used;
  slab.first_free_hint = std::min(slab.first_free_hint, i);
  slab.longest_hint = blocks_per_slab_;  // runs may have joined: search again
}

void Allocator::Release(std::span<const BlockNumber> retired) {
  std::lock_guard lock(mutex_);
  CHECK(counts_.retired >= retired.size(), "more blocks released than retired");
  for (BlockNumber block : retired) Free(block);
  counts_.retired -= retired.size();
}

void Allocator::Abandon(std::span<const BlockNumber> pending) {
  std::lock_guard lock(mutex_);
  CHECK(counts_.pending >= pending.size(), "more blocks abandoned than allocated");
  for (BlockNumber block : pending) Free(block);
  counts_.pending -= pending.size();
}

Status Allocator::MarkNamed(BlockNumber block) {
  std::lock_guard lock(mutex_);
  const uint32_t number = block / blocks_per_slab_;
  const uint32_t i = block % blocks_per_slab_;
  if (number >= slabs_.size()) {
    return Status(Code::kCorrupt, "rebuild allocator: block " + std::to_string(block) +
                                      " lies outside the slabs (" +
                                      std::to_string(slabs_.size()) + " of them)");
  }
  Slab& slab = slabs_[number];
  if (Test(slab.named, i)) {
    return Status(Code::kCorrupt, "rebuild allocator: block " + std::to_string(block) +
                                      " is named twice (slab " + std::to_string(number) +
                                      ", offset " + std::to_string(uint64_t{i} * kBlockBytes) +
                                      ")");
  }
  Set(slab.used, i);
  Set(slab.named, i);
  --slab.free;
  ++counts_.used;
  ++counts_.named;
  return Status::Ok();
}

Allocator::Counts Allocator::counts() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

uint64_t Allocator::FreeBlocks() const {
  std::lock_guard lock(mutex_);
  const uint64_t free = counts_.total - counts_.used;
  return free > ReservedBlocks() ? free - ReservedBlocks() : 0;
}

std::vector<uint64_t> Allocator::NamedBits() const {
  std::lock_guard lock(mutex_);
  std::vector<uint64_t> bits((counts_.total + 63) / 64);
  for (uint32_t number = 0; number < slabs_.size(); ++number) {
    for (uint32_t i = 0; i < blocks_per_slab_; ++i) {
      if (!Test(slabs_[number].named, i)) continue;
      const uint64_t block = uint64_t{number} * blocks_per_slab_ + i;
      bits[block / 64] |= uint64_t{1} << (block % 64);
    }
  }
  return bits;
}

}  // namespace sheaf::storage
