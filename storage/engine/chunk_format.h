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
// Keys are big-endian, so that RocksDB's order is (chain, data_id, index). The first byte is the
// table: 0x01 the target record (the whole key), 0x10 chunks, 0x20 stream rows.
//
//   of a chunk                            of a stream row
//   offset  size  field                   offset  size  field
//        0     1  0x10                         0     1  0x20
//        1     4  chain id                     1     4  chain id
//        5     8  data_id                      5     8  incarnation
//       13     4  chunk index                 13     4  stream
//       17     1  kind: 0x01 head,
//                 0x03 page
//       18     2  page number (pages only)
//
// A chunk has one version here, the newest durable one. That others of its chain may not have it
// yet is not stored: after a restart it counts as committed.
//
// Values are little-endian and end with four bytes: CRC32C over the key and then the value before
// them, so that a value under a wrong key is found too.
//
// Every decoder is bounded by the sizes below, takes no memory a value names, and answers kCorrupt.

namespace sheaf::storage {

static_assert(std::endian::native == std::endian::little, "values are copied as they lie in memory");

inline constexpr uint8_t kIndexFormat = 1;
inline constexpr size_t kChunkPrefixBytes = 17;
inline constexpr size_t kStreamRowKeyBytes = 17;
inline constexpr size_t kValueCrcBytes = 4;

enum class KeyKind : uint8_t { kHead = 1, kPage = 3 };

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
  uint8_t state;             // kHeadState
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
inline constexpr uint8_t kHeadState = 1;
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

// A stream's last mutation on a chain (Engine::StreamRow); what it is of is in the key.
struct DiskStreamRow {
  uint8_t format;         // kStreamRowFormat
  uint8_t flags;          // kStreamRowDone, kStreamRowMore
  uint16_t reserved;      // 0
  uint32_t chunk_length;  // bytes; at most kMaxChunkBytes
  uint64_t sequence;
  uint64_t fingerprint;
  uint64_t version;       // of the chunk
  uint32_t removed;       // chunks
  uint32_t reserved2;     // 0
};
static_assert(sizeof(DiskStreamRow) == 40);
static_assert(offsetof(DiskStreamRow, chunk_length) == 4 && offsetof(DiskStreamRow, sequence) == 8);
static_assert(offsetof(DiskStreamRow, fingerprint) == 16 && offsetof(DiskStreamRow, version) == 24);
static_assert(offsetof(DiskStreamRow, removed) == 32);
inline constexpr uint8_t kStreamRowFormat = 1;
inline constexpr uint8_t kStreamRowDone = 1;
inline constexpr uint8_t kStreamRowMore = 2;

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

// The least key of a stream row; every chunk's is less.
std::string FirstStreamRowKey();
bool IsStreamRowKey(std::string_view key);
std::string StreamRowKey(const Engine::StreamRow& row);
// A row of which only what the key says is set.
Result<Engine::StreamRow> DecodeStreamRowKey(std::string_view key);
std::string EncodeStreamRow(std::string_view key, const Engine::StreamRow& row);
Result<Engine::StreamRow> DecodeStreamRow(std::string_view key, std::string_view value);

}  // namespace sheaf::storage
