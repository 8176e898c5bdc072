#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "storage/engine/chunk_record.h"
#include "storage/engine/engine.h"

// What the chunk index stores: keys and values, byte for byte. docs/FORMAT.md restates it.
//
// Keys are big-endian, so that RocksDB's order is (chain, data_id, index):
//
//   offset  size  field
//        0     1  table: 0x01 target record (the whole key), 0x10 chunks
//        1     4  chain id
//        5     8  data_id
//       13     4  chunk index
//       17     1  kind: 0x01 clean head, 0x02 dirty head (reserved), 0x03 page,
//                 0x04 page of a dirty version (reserved)
//       18     2  page number (pages only)
//
// Kinds 0x02 and 0x04 are for replication: a dirty version lies beside the clean one, its version
// (8 bytes) after the kind. Nothing writes them yet and a reader refuses them.
//
// Values are little-endian and end with four bytes: CRC32C over the key and then the value before
// them, so that a value under a wrong key is found too.
//
// Every decoder is bounded by the sizes below, takes no memory a value names, and answers kCorrupt.

namespace sheaf::storage {

static_assert(std::endian::native == std::endian::little, "values are copied as they lie in memory");

inline constexpr uint8_t kIndexFormat = 1;
inline constexpr size_t kChunkPrefixBytes = 17;
inline constexpr size_t kValueCrcBytes = 4;

enum class KeyKind : uint8_t { kHead = 1, kDirtyHead = 2, kPage = 3, kDirtyPage = 4 };
enum class RecordState : uint8_t { kClean = 1, kDirty = 2 };

// The target's own record, written once when the index is made.
struct DiskTarget {
  uint32_t magic;        // "SHFT"
  uint8_t format;        // kIndexFormat
  uint8_t unit_log2;     // 12: checksum unit
  uint8_t block_log2;    // 14: allocation and copy-on-write unit
  uint8_t page_blocks;   // 16
  uint64_t slab_bytes;
};
static_assert(sizeof(DiskTarget) == 16 && offsetof(DiskTarget, slab_bytes) == 8);
inline constexpr uint32_t kTargetMagic = 0x54464853;

struct DiskHead {
  uint8_t format;            // kIndexFormat
  uint8_t state;             // RecordState
  uint8_t flags;             // kHeadInlinePage
  uint8_t chunk_size_log2;   // 16 to 26
  uint32_t length;           // bytes; at most the chunk size
  uint64_t version;          // from 1
  uint32_t chain_version;
  uint32_t checksum;         // ChunkRecord::checksum
  uint16_t stored_pages;     // page values beside this head; 0 when inline
  uint16_t reserved;         // 0
  uint32_t reserved2;        // 0
};                           // with kHeadInlinePage, one page body follows
static_assert(sizeof(DiskHead) == 32 && offsetof(DiskHead, version) == 8 &&
              offsetof(DiskHead, checksum) == 20 && offsetof(DiskHead, stored_pages) == 24);
inline constexpr uint8_t kHeadInlinePage = 1;

// A page body: DiskPage, `extents` of DiskExtent in rising `first`, then four unit CRC32Cs (u32) a
// block in the same order. What no extent covers is a hole.
struct DiskPage {
  uint8_t format;    // kIndexFormat
  uint8_t extents;   // 1 to 16
  uint8_t blocks;    // sum of the extents' counts, at most 16
  uint8_t reserved;  // 0
};
struct DiskExtent {
  uint32_t start;    // block number over all slabs
  uint8_t first;     // block within the page
  uint8_t count;     // from 1
  uint16_t reserved; // 0
};
static_assert(sizeof(DiskPage) == 4 && sizeof(DiskExtent) == 8);
inline constexpr size_t kMaxPageBodyBytes =
    sizeof(DiskPage) + kBlocksPerPage * sizeof(DiskExtent) + kUnitsPerPage * sizeof(uint32_t);
inline constexpr size_t kMaxValueBytes = sizeof(DiskHead) + kMaxPageBodyBytes + kValueCrcBytes;

struct IndexKey {
  Engine::ChunkKey chunk;
  KeyKind kind = KeyKind::kHead;
  uint16_t page = 0;
};

std::string TargetKey();
std::string ChunkPrefix(const Engine::ChunkKey& chunk);
std::string HeadKey(const Engine::ChunkKey& chunk);
std::string PageKey(const Engine::ChunkKey& chunk, uint16_t page);
// The least key after every key of `chunk`.
std::string AfterChunkKey(const Engine::ChunkKey& chunk);
Result<IndexKey> DecodeIndexKey(std::string_view key);

std::string EncodeTarget(uint64_t slab_bytes);
// kInvalid for a newer format. Answers the slab size.
Result<uint64_t> DecodeTarget(std::string_view value);

// A record's head as stored, its pages apart.
struct StoredHead {
  DiskHead fields;
  std::shared_ptr<const ChunkPage> inline_page;  // null unless kHeadInlinePage
};

// Chunks of one page at most keep it in the head.
inline bool KeepsPageInline(const ChunkRecord& record) { return record.pages.size() <= 1; }

std::string EncodeHead(std::string_view key, const ChunkRecord& record);
Result<StoredHead> DecodeHead(std::string_view key, std::string_view value);

std::string EncodePage(std::string_view key, const ChunkPage& page);
Result<std::shared_ptr<const ChunkPage>> DecodePage(std::string_view key, std::string_view value);

}  // namespace sheaf::storage
