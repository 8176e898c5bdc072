#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/ids.h"

namespace sheaf::storage {

inline constexpr uint32_t kUnitBytes = 4096;    // checksum unit
inline constexpr uint32_t kBlockBytes = 16384;  // allocation and copy-on-write unit
inline constexpr uint32_t kUnitsPerBlock = kBlockBytes / kUnitBytes;
inline constexpr uint32_t kBlocksPerPage = 16;
inline constexpr uint32_t kUnitsPerPage = kBlocksPerPage * kUnitsPerBlock;
inline constexpr uint32_t kPageBytes = kBlocksPerPage * kBlockBytes;
inline constexpr uint32_t kMinChunkBytes = 1u << 16;
inline constexpr uint32_t kMaxChunkBytes = 1u << 26;
inline constexpr uint32_t kMaxPages = kMaxChunkBytes / kPageBytes;

// Block numbers run over all slabs of a target: slab = block / blocks a slab. 32 bits of 16 KiB
// are 64 TiB.
using BlockNumber = uint32_t;
inline constexpr BlockNumber kNoBlock = 0xffffffff;

// CRC32C of a unit of zeros: what a hole's unit has.
uint32_t ZeroUnitCrc();

// Where 256 KiB of a chunk lie, and the checksum of each unit. Immutable once shared.
struct ChunkPage {
  ChunkPage();  // a hole

  std::array<BlockNumber, kBlocksPerPage> blocks;  // kNoBlock is a hole
  std::array<uint32_t, kUnitsPerPage> unit_crcs;   // holes have ZeroUnitCrc()
  uint32_t checksum = 0;                           // CRC32C over unit_crcs; set by Seal

  void Seal();
  bool IsHole() const;
};

// One block of a chunk in a new place.
struct BlockUpdate {
  uint32_t logical = 0;  // block within the chunk
  BlockNumber block = kNoBlock;
  std::array<uint32_t, kUnitsPerBlock> unit_crcs{};
};

// One version of one chunk. Immutable once shared; versions share the pages that did not change,
// so a small overwrite of a large chunk costs one page.
//
// Invariants:
//  1. pages.size() is the number of pages `length` needs; a null page is a hole.
//  2. No block at or past the block that holds the last byte + 1 is named.
//  3. Bytes of a named block past `length` are zero on disk, so that extension touches no block.
//  4. `checksum` is CRC32C over the length and every page's checksum: the same bytes give the
//     same value on every replica, wherever the blocks lie and whether zeros are stored or holes.
struct ChunkRecord {
  uint32_t length = 0;
  uint32_t chunk_size = 0;
  ChunkVersion version;
  ChainVersion chain_version;
  uint32_t checksum = 0;
  std::vector<std::shared_ptr<const ChunkPage>> pages;

  static uint32_t PagesFor(uint32_t length) { return (length + kPageBytes - 1) / kPageBytes; }
  uint32_t ComputeChecksum() const;
  BlockNumber BlockAt(uint32_t logical) const;
  uint32_t UnitCrc(uint32_t unit) const;
  // Bytes of memory, for the cache's limit.
  size_t Footprint() const { return sizeof(*this) + pages.size() * (sizeof(ChunkPage) + 32); }
};

using RecordRef = std::shared_ptr<const ChunkRecord>;

struct RecordChange {
  uint32_t chunk_size = 0;
  uint32_t length = 0;  // of the new version
  ChainVersion chain_version;
  std::vector<BlockUpdate> blocks;
};

// The version after `base` (null: the chunk did not exist). Blocks of `base` that the new version
// does not name are appended to `dropped`.
RecordRef NextRecord(const ChunkRecord* base, const RecordChange& change,
                     std::vector<BlockNumber>& dropped);

// The same version with `blocks` in the place of those it names there. REQUIRES: they hold the same
// bytes, and none is where it has a hole.
RecordRef MovedRecord(const ChunkRecord& record, const std::vector<BlockUpdate>& blocks,
                      std::vector<BlockNumber>& dropped);

// Every block the record names.
void AppendBlocks(const ChunkRecord& record, std::vector<BlockNumber>& blocks);

}  // namespace sheaf::storage
