#include "storage/engine/chunk_format.h"

#include <cstring>

#include "common/crc32c.h"

namespace sheaf::storage {

namespace {

constexpr char kTargetTable = 0x01;
constexpr char kChunkTable = 0x10;
constexpr char kStreamRowTable = 0x20;

template <typename T>
void AppendBigEndian(std::string& out, T value) {
  for (int shift = 8 * (sizeof(T) - 1); shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(value >> shift));
  }
}

template <typename T>
T ReadBigEndian(std::string_view bytes) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

std::span<const uint8_t> AsBytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

template <typename T>
void AppendStruct(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// Takes a T off the front of `bytes`. REQUIRES: bytes.size() >= sizeof(T).
template <typename T>
T TakeStruct(std::string_view& bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  bytes.remove_prefix(sizeof(T));
  return value;
}

uint32_t ValueCrc(std::string_view key, std::string_view body) {
  return Crc32cExtend(Crc32c(AsBytes(key)), AsBytes(body));
}

void AppendValueCrc(std::string_view key, std::string& value) {
  const uint32_t crc = ValueCrc(key, value);
  AppendStruct(value, crc);
}

std::string HexOf(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (char c : bytes.substr(0, 32)) {
    hex.push_back(kDigits[static_cast<uint8_t>(c) >> 4]);
    hex.push_back(kDigits[static_cast<uint8_t>(c) & 15]);
  }
  return hex;
}

Status Corrupt(std::string_view key, const std::string& cause) {
  return Status(Code::kCorrupt, "decode index entry " + HexOf(key) + ": " + cause);
}

// The value without its CRC, once that is right and at least `least` bytes are there.
Result<std::string_view> CheckedBody(std::string_view key, std::string_view value, size_t least) {
  if (value.size() < least + kValueCrcBytes || value.size() > kMaxValueBytes) {
    return Corrupt(key, "impossible size (" + std::to_string(value.size()) + " bytes)");
  }
  std::string_view body = value.substr(0, value.size() - kValueCrcBytes);
  uint32_t stored;
  std::memcpy(&stored, value.data() + body.size(), sizeof(stored));
  if (stored != ValueCrc(key, body)) return Corrupt(key, "checksum mismatch");
  return body;
}

void AppendPageBody(std::string& out, const ChunkPage& page) {
  std::string extents;
  std::string crcs;
  DiskPage head{kIndexFormat, 0, 0, 0};
  for (uint32_t first = 0; first < kBlocksPerPage;) {
    if (page.blocks[first] == kNoBlock) {
      ++first;
      continue;
    }
    uint32_t end = first + 1;
    while (end < kBlocksPerPage && page.blocks[end] == page.blocks[end - 1] + 1) ++end;
    AppendStruct(extents, DiskExtent{page.blocks[first], static_cast<uint8_t>(first),
                                     static_cast<uint8_t>(end - first), 0});
    crcs.append(reinterpret_cast<const char*>(&page.unit_crcs[first * kUnitsPerBlock]),
                (end - first) * kUnitsPerBlock * sizeof(uint32_t));
    ++head.extents;
    head.blocks = static_cast<uint8_t>(head.blocks + (end - first));
    first = end;
  }
  AppendStruct(out, head);
  out += extents;
  out += crcs;
}

Result<std::shared_ptr<const ChunkPage>> ParsePageBody(std::string_view key,
                                                       std::string_view body) {
  if (body.size() < sizeof(DiskPage)) return Corrupt(key, "page is too short");
  const auto head = TakeStruct<DiskPage>(body);
  if (head.format != kIndexFormat || head.reserved != 0) {
    return Corrupt(key, "page format " + std::to_string(head.format));
  }
  if (head.extents == 0 || head.extents > kBlocksPerPage || head.blocks > kBlocksPerPage ||
      body.size() != head.extents * sizeof(DiskExtent) +
                         head.blocks * kUnitsPerBlock * sizeof(uint32_t)) {
    return Corrupt(key, "page counts do not fit its size");
  }
  std::string_view extents = body.substr(0, head.extents * sizeof(DiskExtent));
  std::string_view crcs = body.substr(extents.size());
  auto page = std::make_shared<ChunkPage>();
  uint32_t next_free = 0;
  while (!extents.empty()) {
    const auto extent = TakeStruct<DiskExtent>(extents);
    const uint32_t end = uint32_t{extent.first} + extent.count;
    const size_t crc_bytes = extent.count * kUnitsPerBlock * sizeof(uint32_t);
    if (extent.count == 0 || extent.first < next_free || end > kBlocksPerPage ||
        extent.reserved != 0 || extent.start >= kNoBlock - kBlocksPerPage ||
        crcs.size() < crc_bytes) {
      return Corrupt(key, "extents overlap or leave the page");
    }
    for (uint32_t i = 0; i < extent.count; ++i) page->blocks[extent.first + i] = extent.start + i;
    std::memcpy(&page->unit_crcs[extent.first * kUnitsPerBlock], crcs.data(), crc_bytes);
    crcs.remove_prefix(crc_bytes);
    next_free = end;
  }
  if (!crcs.empty()) return Corrupt(key, "more checksums than blocks");
  page->Seal();
  return std::shared_ptr<const ChunkPage>(std::move(page));
}

Status CheckHead(std::string_view key, const DiskHead& head) {
  if (head.format > kIndexFormat) {
    return Status(Code::kInvalid, "decode index entry " + HexOf(key) + ": format " +
                                      std::to_string(head.format) + " is newer than " +
                                      std::to_string(kIndexFormat));
  }
  const uint8_t log2 = head.chunk_size_log2;
  if (head.format != kIndexFormat || head.reserved != 0 || head.reserved2 != 0 ||
      head.state != kHeadState || (head.flags & ~kHeadInlinePage) != 0) {
    return Corrupt(key, "unknown format, state or flags");
  }
  if (log2 < 16 || log2 > 26 || head.length > (uint32_t{1} << log2) || head.version == 0) {
    return Corrupt(key, "length, chunk size or version out of range");
  }
  const uint32_t pages = ChunkRecord::PagesFor(head.length);
  if (head.stored_pages > pages || (pages <= 1 && head.stored_pages != 0) ||
      ((head.flags & kHeadInlinePage) != 0 && pages != 1)) {
    return Corrupt(key, "page count does not fit the length");
  }
  return Status::Ok();
}

}  // namespace

std::string TargetKey() { return std::string(1, kTargetTable); }

std::string ChunkPrefix(const Engine::ChunkKey& chunk) {
  std::string key;
  key.reserve(kChunkPrefixBytes + 3);
  key.push_back(kChunkTable);
  AppendBigEndian(key, chunk.chain.value());
  AppendBigEndian(key, chunk.chunk.data_id.value());
  AppendBigEndian(key, chunk.chunk.index);
  return key;
}

std::string HeadKey(const Engine::ChunkKey& chunk) {
  std::string key = ChunkPrefix(chunk);
  key.push_back(static_cast<char>(KeyKind::kHead));
  return key;
}

std::string PageKey(const Engine::ChunkKey& chunk, uint16_t page) {
  std::string key = ChunkPrefix(chunk);
  key.push_back(static_cast<char>(KeyKind::kPage));
  AppendBigEndian(key, page);
  return key;
}

std::string AfterChunkKey(const Engine::ChunkKey& chunk) {
  std::string key = ChunkPrefix(chunk);
  key.push_back(static_cast<char>(0xff));
  return key;
}

Result<IndexKey> DecodeIndexKey(std::string_view key) {
  if (key.size() < kChunkPrefixBytes + 1 || key[0] != kChunkTable) {
    return Corrupt(key, "not a chunk key");
  }
  IndexKey decoded;
  decoded.chunk.chain = ChainId(ReadBigEndian<uint32_t>(key.substr(1)));
  decoded.chunk.chunk.data_id = DataId(ReadBigEndian<uint64_t>(key.substr(5)));
  decoded.chunk.chunk.index = ReadBigEndian<uint32_t>(key.substr(13));
  decoded.kind = static_cast<KeyKind>(key[kChunkPrefixBytes]);
  if (decoded.kind == KeyKind::kHead && key.size() == kChunkPrefixBytes + 1) return decoded;
  if (decoded.kind == KeyKind::kPage && key.size() == kChunkPrefixBytes + 3) {
    decoded.page = ReadBigEndian<uint16_t>(key.substr(kChunkPrefixBytes + 1));
    if (decoded.page < kMaxPages) return decoded;
  }
  return Corrupt(key, "unknown kind, or a size that does not fit it");
}

std::string EncodeTarget(uint64_t slab_bytes) {
  std::string value;
  AppendStruct(value, DiskTarget{kTargetMagic, kIndexFormat, 12, 14, kBlocksPerPage, slab_bytes});
  AppendValueCrc(TargetKey(), value);
  return value;
}

Result<uint64_t> DecodeTarget(std::string_view value) {
  ASSIGN_OR_RETURN(std::string_view body, CheckedBody(TargetKey(), value, sizeof(DiskTarget)));
  const auto target = TakeStruct<DiskTarget>(body);
  if (target.magic != kTargetMagic) return Corrupt(TargetKey(), "wrong magic");
  if (target.format > kIndexFormat) {
    return Status(Code::kInvalid, "open chunk index: format " + std::to_string(target.format) +
                                      " is newer than " + std::to_string(kIndexFormat) +
                                      "; use a newer sheaf-storage");
  }
  if (!body.empty() || target.format != kIndexFormat || target.unit_log2 != 12 ||
      target.block_log2 != 14 || target.page_blocks != kBlocksPerPage || target.slab_bytes == 0 ||
      target.slab_bytes % kBlockBytes != 0) {
    return Corrupt(TargetKey(), "unknown geometry");
  }
  return target.slab_bytes;
}

std::string EncodeHead(std::string_view key, const ChunkRecord& record) {
  DiskHead head{};
  head.format = kIndexFormat;
  head.state = kHeadState;
  head.chunk_size_log2 = static_cast<uint8_t>(std::countr_zero(record.chunk_size));
  head.length = record.length;
  head.version = record.version.value();
  head.chain_version = record.chain_version.value();
  head.checksum = record.checksum;
  const ChunkPage* inlined = nullptr;
  if (KeepsPageInline(record)) {
    if (!record.pages.empty()) inlined = record.pages[0].get();
    if (inlined != nullptr) head.flags = kHeadInlinePage;
  } else {
    for (const auto& page : record.pages) head.stored_pages += page != nullptr ? 1 : 0;
  }
  std::string value;
  AppendStruct(value, head);
  if (inlined != nullptr) AppendPageBody(value, *inlined);
  AppendValueCrc(key, value);
  return value;
}

Result<StoredHead> DecodeHead(std::string_view key, std::string_view value) {
  ASSIGN_OR_RETURN(std::string_view body, CheckedBody(key, value, sizeof(DiskHead)));
  StoredHead head;
  head.fields = TakeStruct<DiskHead>(body);
  RETURN_IF_ERROR(CheckHead(key, head.fields));
  if ((head.fields.flags & kHeadInlinePage) != 0) {
    ASSIGN_OR_RETURN(head.inline_page, ParsePageBody(key, body));
  } else if (!body.empty()) {
    return Corrupt(key, "bytes after the head");
  }
  return head;
}

std::string EncodePage(std::string_view key, const ChunkPage& page) {
  std::string value;
  AppendPageBody(value, page);
  AppendValueCrc(key, value);
  return value;
}

Result<std::shared_ptr<const ChunkPage>> DecodePage(std::string_view key, std::string_view value) {
  ASSIGN_OR_RETURN(std::string_view body, CheckedBody(key, value, sizeof(DiskPage)));
  return ParsePageBody(key, body);
}

std::string FirstStreamRowKey() { return std::string(1, kStreamRowTable); }

bool IsStreamRowKey(std::string_view key) { return !key.empty() && key[0] == kStreamRowTable; }

std::string StreamRowKey(const Engine::StreamRow& row) {
  std::string key;
  key.reserve(kStreamRowKeyBytes);
  key.push_back(kStreamRowTable);
  AppendBigEndian(key, row.chain.value());
  AppendBigEndian(key, row.incarnation.value());
  AppendBigEndian(key, row.stream);
  return key;
}

Result<Engine::StreamRow> DecodeStreamRowKey(std::string_view key) {
  if (key.size() != kStreamRowKeyBytes || !IsStreamRowKey(key)) {
    return Corrupt(key, "not the key of a stream row");
  }
  Engine::StreamRow row;
  row.chain = ChainId(ReadBigEndian<uint32_t>(key.substr(1)));
  row.incarnation = Incarnation(ReadBigEndian<uint64_t>(key.substr(5)));
  row.stream = ReadBigEndian<uint32_t>(key.substr(13));
  return row;
}

std::string EncodeStreamRow(std::string_view key, const Engine::StreamRow& row) {
  DiskStreamRow stored{};
  stored.format = kStreamRowFormat;
  if (row.done) stored.flags |= kStreamRowDone;
  if (row.more) stored.flags |= kStreamRowMore;
  stored.chunk_length = row.chunk_length;
  stored.sequence = row.sequence;
  stored.fingerprint = row.fingerprint;
  stored.version = row.version.value();
  stored.removed = row.removed;
  std::string value;
  AppendStruct(value, stored);
  AppendValueCrc(key, value);
  return value;
}

Result<Engine::StreamRow> DecodeStreamRow(std::string_view key, std::string_view value) {
  ASSIGN_OR_RETURN(Engine::StreamRow row, DecodeStreamRowKey(key));
  ASSIGN_OR_RETURN(std::string_view body, CheckedBody(key, value, sizeof(DiskStreamRow)));
  const auto stored = TakeStruct<DiskStreamRow>(body);
  if (!body.empty()) return Corrupt(key, "bytes after the stream row");
  if (stored.format != kStreamRowFormat || stored.reserved != 0 || stored.reserved2 != 0 ||
      (stored.flags & ~(kStreamRowDone | kStreamRowMore)) != 0) {
    return Corrupt(key, "unknown format or flags");
  }
  if (stored.chunk_length > kMaxChunkBytes) return Corrupt(key, "chunk length out of range");
  row.sequence = stored.sequence;
  row.fingerprint = stored.fingerprint;
  row.done = (stored.flags & kStreamRowDone) != 0;
  row.version = ChunkVersion(stored.version);
  row.chunk_length = stored.chunk_length;
  row.removed = stored.removed;
  row.more = (stored.flags & kStreamRowMore) != 0;
  return row;
}

}  // namespace sheaf::storage
