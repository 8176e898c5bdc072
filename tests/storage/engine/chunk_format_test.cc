#include "storage/engine/chunk_format.h"

#include <gtest/gtest.h>

#include <random>

#include "common/crc32c.h"

namespace sheaf::storage {
namespace {

const Engine::ChunkKey kKey{ChainId(0x01020304), {DataId(0x1112131415161718), 0x21222324}};

RecordRef MakeRecord(uint32_t length, uint32_t blocks, BlockNumber first, uint32_t step) {
  RecordChange change;
  change.chunk_size = 4 << 20;
  change.length = length;
  change.chain_version = ChainVersion(9);
  for (uint32_t i = 0; i < blocks; ++i) {
    change.blocks.push_back({i, first + i * step, {i, i + 1, i + 2, i + 3}});
  }
  std::vector<BlockNumber> dropped;
  return NextRecord(nullptr, change, dropped);
}

TEST(ChunkFormatTest, KeysSortByChainDataAndIndexWithTheHeadFirst) {
  const std::string key = HeadKey(kKey);
  EXPECT_EQ(key, std::string("\x10\x01\x02\x03\x04\x11\x12\x13\x14\x15\x16\x17\x18"
                             "\x21\x22\x23\x24\x01", 18));
  EXPECT_LT(key, PageKey(kKey, 0));
  EXPECT_LT(PageKey(kKey, 1), PageKey(kKey, 255));
  EXPECT_LT(PageKey(kKey, 255), AfterChunkKey(kKey));
  auto next = kKey;
  ++next.chunk.index;
  EXPECT_LT(AfterChunkKey(kKey), HeadKey(next));
}

TEST(ChunkFormatTest, KeysReadBackAndOthersAreRefused) {
  auto page = DecodeIndexKey(PageKey(kKey, 200));
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->chunk, kKey);
  EXPECT_EQ(page->page, 200);
  EXPECT_FALSE(DecodeIndexKey(PageKey(kKey, kMaxPages)).ok());
  EXPECT_FALSE(DecodeIndexKey(TargetKey()).ok());
  EXPECT_FALSE(DecodeIndexKey("").ok());
  EXPECT_FALSE(DecodeIndexKey(HeadKey(kKey) + "x").ok());
  EXPECT_FALSE(DecodeIndexKey(ChunkPrefix(kKey) + "\x02").ok());
}

TEST(ChunkFormatTest, HeadsReadBackWithTheirInlinePage) {
  const auto record = MakeRecord(100000, 7, 50, 1);
  const std::string key = HeadKey(kKey);
  auto head = DecodeHead(key, EncodeHead(key, *record));
  ASSERT_TRUE(head.ok()) << head.status().ToString();
  EXPECT_EQ(head->fields.length, 100000u);
  EXPECT_EQ(head->fields.version, 1u);
  EXPECT_EQ(head->fields.chain_version, 9u);
  EXPECT_EQ(head->fields.checksum, record->checksum);
  ASSERT_NE(head->inline_page, nullptr);
  EXPECT_EQ(head->inline_page->blocks, record->pages[0]->blocks);
  EXPECT_EQ(head->inline_page->unit_crcs, record->pages[0]->unit_crcs);
}

TEST(ChunkFormatTest, PagesReadBackHoweverScattered) {
  for (uint32_t step : {1u, 3u}) {
    const auto record = MakeRecord(1 << 20, 16, 50, step);
    const std::string key = PageKey(kKey, 0);
    const std::string value = EncodePage(key, *record->pages[0]);
    EXPECT_LE(value.size(), kMaxPageBodyBytes + kValueCrcBytes);
    auto page = DecodePage(key, value);
    ASSERT_TRUE(page.ok());
    EXPECT_EQ((*page)->blocks, record->pages[0]->blocks);
    EXPECT_EQ((*page)->checksum, record->pages[0]->checksum);
  }
}

TEST(ChunkFormatTest, EveryFlippedBitAndEveryCutIsFound) {
  const auto record = MakeRecord(100000, 7, 50, 3);
  const std::string key = HeadKey(kKey);
  const std::string value = EncodeHead(key, *record);
  for (size_t bit = 0; bit < value.size() * 8; ++bit) {
    std::string bad = value;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    EXPECT_EQ(DecodeHead(key, bad).status().code(), Code::kCorrupt);
  }
  for (size_t size = 0; size < value.size(); ++size) {
    EXPECT_EQ(DecodeHead(key, value.substr(0, size)).status().code(), Code::kCorrupt);
  }
  auto other = kKey;
  ++other.chunk.index;
  EXPECT_EQ(DecodeHead(HeadKey(other), value).status().code(), Code::kCorrupt);
}

// Values whose checksum is right but whose fields are anything.
TEST(ChunkFormatTest, RightChecksumsDoNotMakeWrongFieldsGood) {
  std::mt19937_64 random(5);
  const std::string key = PageKey(kKey, 0);
  const std::string good = EncodePage(key, *MakeRecord(1 << 20, 16, 50, 3)->pages[0]);
  for (int i = 0; i < 20000; ++i) {
    std::string bad = good.substr(0, good.size() - kValueCrcBytes);
    for (int flips = 0; flips < 3; ++flips) bad[random() % 140] = static_cast<char>(random());
    const std::string all = key + bad;
    const uint32_t crc = Crc32c({reinterpret_cast<const uint8_t*>(all.data()), all.size()});
    bad.append(reinterpret_cast<const char*>(&crc), sizeof(crc));
    auto page = DecodePage(key, bad);
    EXPECT_TRUE(!page.ok() || !EncodePage(key, **page).empty());
  }
}

const Engine::StreamRow kRow{.chain = ChainId(0x01020304),
                             .incarnation = Incarnation(0x1112131415161718),
                             .stream = 0x21222324,
                             .sequence = 77,
                             .fingerprint = 0x8877665544332211,
                             .done = true,
                             .version = ChunkVersion(12),
                             .chunk_length = 5000,
                             .removed = 3,
                             .more = true};

TEST(ChunkFormatTest, StreamRowsSortAfterTheChunksByChainIncarnationAndStream) {
  const std::string key = StreamRowKey(kRow);
  EXPECT_EQ(key, std::string("\x20\x01\x02\x03\x04\x11\x12\x13\x14\x15\x16\x17\x18"
                             "\x21\x22\x23\x24", 17));
  EXPECT_TRUE(IsStreamRowKey(key));
  EXPECT_FALSE(IsStreamRowKey(HeadKey(kKey)));
  EXPECT_LE(FirstStreamRowKey(), StreamRowKey({}));
  const Engine::ChunkKey last{ChainId(UINT32_MAX), {DataId(UINT64_MAX), UINT32_MAX}};
  EXPECT_LT(AfterChunkKey(last), FirstStreamRowKey());
  EXPECT_FALSE(DecodeIndexKey(key).ok());
}

TEST(ChunkFormatTest, StreamRowsReadBack) {
  const std::string key = StreamRowKey(kRow);
  const auto row = DecodeStreamRow(key, EncodeStreamRow(key, kRow));
  ASSERT_TRUE(row.ok()) << row.status().ToString();
  EXPECT_EQ(*row, kRow);
  auto undone = kRow;
  undone.done = undone.more = false;
  const auto again = DecodeStreamRow(key, EncodeStreamRow(key, undone));
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_EQ(*again, undone);
}

TEST(ChunkFormatTest, EveryFlippedBitAndEveryCutOfAStreamRowIsFound) {
  const std::string key = StreamRowKey(kRow);
  const std::string value = EncodeStreamRow(key, kRow);
  for (size_t bit = 0; bit < value.size() * 8; ++bit) {
    std::string bad = value;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    EXPECT_EQ(DecodeStreamRow(key, bad).status().code(), Code::kCorrupt);
  }
  for (size_t size = 0; size < value.size(); ++size) {
    EXPECT_EQ(DecodeStreamRow(key, value.substr(0, size)).status().code(), Code::kCorrupt);
  }
  auto other = kRow;
  ++other.stream;
  EXPECT_EQ(DecodeStreamRow(StreamRowKey(other), value).status().code(), Code::kCorrupt);
  EXPECT_EQ(DecodeStreamRow(key + "x", value).status().code(), Code::kCorrupt);
  EXPECT_EQ(DecodeStreamRow("", value).status().code(), Code::kCorrupt);
}

// A byte of the value, from the left, and what it must not be.
TEST(ChunkFormatTest, StreamRowsWithFieldsOutOfRangeAreRefused) {
  const std::string key = StreamRowKey(kRow);
  for (const auto& [at, byte] : std::vector<std::pair<size_t, char>>{
           {0, 2}, {1, 4}, {2, 1}, {3, 1}, {7, 5}, {36, 1}, {39, 1}}) {
    std::string bad = EncodeStreamRow(key, kRow);
    bad.resize(sizeof(DiskStreamRow));
    bad[at] = byte;
    const std::string all = key + bad;
    const uint32_t crc = Crc32c({reinterpret_cast<const uint8_t*>(all.data()), all.size()});
    bad.append(reinterpret_cast<const char*>(&crc), sizeof(crc));
    EXPECT_EQ(DecodeStreamRow(key, bad).status().code(), Code::kCorrupt) << "byte " << at;
  }
}

std::string TargetOfFormat(char format) {
  std::string value = EncodeTarget(1 << 20);
  value[4] = format;
  value.resize(sizeof(DiskTarget));
  const std::string all = TargetKey() + value;
  const uint32_t crc = Crc32c({reinterpret_cast<const uint8_t*>(all.data()), all.size()});
  value.append(reinterpret_cast<const char*>(&crc), sizeof(crc));
  return value;
}

TEST(ChunkFormatTest, TargetRecordRefusesOtherFormats) {
  EXPECT_EQ(*DecodeTarget(EncodeTarget(1 << 20)), uint64_t{1} << 20);
  EXPECT_EQ(DecodeTarget(TargetOfFormat(2)).status().code(), Code::kInvalid) << "newer";
  EXPECT_EQ(DecodeTarget(TargetOfFormat(0)).status().code(), Code::kCorrupt) << "none";
}

}  // namespace
}  // namespace sheaf::storage
