#include "common/layout.h"

#include <algorithm>
#include <numeric>
#include <string>

namespace sheaf {

Status Layout::Validate() const {
  if (chunk_size_log2 < kMinChunkSizeLog2 || chunk_size_log2 > kMaxChunkSizeLog2) {
    return {Code::kInvalid, "layout: chunk_size_log2 " + std::to_string(chunk_size_log2) +
                                " is outside " + std::to_string(kMinChunkSizeLog2) + " to " +
                                std::to_string(kMaxChunkSizeLog2)};
  }
  if (table_version == 0) return {Code::kInvalid, "layout: table_version is 0"};
  return Status::Ok();
}

uint64_t MixBits(uint64_t value) {
  value += 0x9e3779b97f4a7c15ull;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
  return value ^ (value >> 31);
}

uint32_t ChainPosition(const Layout& layout, uint32_t table_size, uint64_t index) {
  DCHECK(table_size > 0);
  const uint64_t n = table_size;
  const uint64_t width =
      layout.stripe_width == 0 ? n : std::min<uint64_t>(layout.stripe_width, n);
  const uint64_t start = MixBits(layout.seed) % n;
  // A step coprime with the table's size visits every position once before any twice.
  uint64_t step = 1 + MixBits(layout.seed + 1) % n;
  while (std::gcd(step, n) != 1) ++step;
  return static_cast<uint32_t>((start + (index % width) * step) % n);
}

ChunkRange FirstChunkRange(const Layout& layout, uint64_t offset, uint64_t length) {
  DCHECK(length > 0 && offset <= kMaxFileSize && length <= kMaxFileSize - offset);
  const uint64_t size = layout.chunk_size();
  const uint64_t within = offset & (size - 1);
  return {.index = static_cast<uint32_t>(offset >> layout.chunk_size_log2),
          .offset = static_cast<uint32_t>(within),
          .length = static_cast<uint32_t>(std::min(length, size - within)),
          .file_offset = offset};
}

uint64_t ChunkCount(const Layout& layout, uint64_t size) {
  return (size + layout.chunk_size() - 1) >> layout.chunk_size_log2;
}

}  // namespace sheaf
