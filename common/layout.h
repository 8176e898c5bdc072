#pragma once

#include <cstdint>
#include <span>

#include "common/ids.h"
#include "common/status.h"

namespace sheaf {

inline constexpr uint32_t kMinChunkSizeLog2 = 16;      // 64 KiB
inline constexpr uint32_t kMaxChunkSizeLog2 = 26;      // 64 MiB
inline constexpr uint32_t kDefaultChunkSizeLog2 = 22;  // 4 MiB
// A chunk index has 32 bits: the limit is what the smallest chunks can hold (256 TiB).
inline constexpr uint64_t kMaxFileSize = uint64_t{1} << 48;

// Where a file's chunks are: kept in its inode, so that nothing is stored a chunk.
// The mapping below is part of the on-disk format (docs/FORMAT.md) and pinned by golden vectors:
// it uses our own arithmetic only and is never changed, only versioned.
struct Layout {
  uint32_t chunk_size_log2 = kDefaultChunkSizeLog2;
  uint32_t stripe_width = 0;   // chains the file is spread over; 0 or above the table: all of it
  uint32_t table_version = 0;  // chain table the stripe indexes
  uint64_t seed = 0;           // where in the table the stripe begins, and its step

  uint64_t chunk_size() const { return uint64_t{1} << chunk_size_log2; }
  // kInvalid names the field out of range.
  Status Validate() const;
  friend bool operator==(const Layout&, const Layout&) = default;
};

// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection on 64 bits.
uint64_t MixBits(uint64_t value);

// Position in a table of `table_size` chains that holds chunk `index`.
// Positions of one stripe are distinct. REQUIRES: table_size > 0.
uint32_t ChainPosition(const Layout& layout, uint32_t table_size, uint64_t index);

// A byte range cut at chunk borders.
struct ChunkRange {
  uint32_t index = 0;
  uint32_t offset = 0;         // within the chunk
  uint32_t length = 0;
  uint64_t file_offset = 0;    // of the piece's first byte

  friend bool operator==(const ChunkRange&, const ChunkRange&) = default;
};

// The piece of [offset, offset + length) that lies in the chunk holding `offset`.
// REQUIRES: length > 0, offset + length <= kMaxFileSize.
ChunkRange FirstChunkRange(const Layout& layout, uint64_t offset, uint64_t length);

// Chunks that a file of `size` bytes can have: indexes 0 to count - 1.
uint64_t ChunkCount(const Layout& layout, uint64_t size);

}  // namespace sheaf
