#include "common/layout.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace sheaf {
namespace {

Layout With(uint64_t seed, uint32_t width) {
  return {.stripe_width = width, .table_version = 1, .seed = seed};
}

// The golden vectors of docs/FORMAT.md. A change here means that existing files are not found
// again: a new mapping gets a new version instead.
TEST(LayoutTest, MixBitsKeepsItsGoldenVectors) {
  EXPECT_EQ(MixBits(0), 0xe220a8397b1dcdafull);
  EXPECT_EQ(MixBits(1), 0x910a2dec89025cc1ull);
  EXPECT_EQ(MixBits(2), 0x975835de1c9756ceull);
  EXPECT_EQ(MixBits(0xdeadbeef), 0x4adfb90f68c9eb9bull);
  EXPECT_EQ(MixBits(~0ull), 0xe4d971771b652c20ull);
}

struct Golden {
  uint64_t seed;
  uint32_t width;
  uint32_t table_size;
  std::vector<uint32_t> first_ten;
  uint32_t last;  // of the largest chunk index
};

TEST(LayoutTest, ChainPositionKeepsItsGoldenVectors) {
  const Golden vectors[] = {
      {0, 0, 1, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0},
      {0, 0, 8, {7, 2, 5, 0, 3, 6, 1, 4, 7, 2}, 4},
      {1, 0, 8, {1, 0, 7, 6, 5, 4, 3, 2, 1, 0}, 2},
      {1, 0, 24, {17, 16, 15, 14, 13, 12, 11, 10, 9, 8}, 2},
      {42, 4, 24, {13, 6, 23, 16, 13, 6, 23, 16, 13, 6}, 16},
      {42, 200, 24, {13, 6, 23, 16, 9, 2, 19, 12, 5, 22}, 4},
      {0x0123456789abcdef, 0, 17, {7, 1, 12, 6, 0, 11, 5, 16, 10, 4}, 7},
      {~0ull, 0, 24, {8, 19, 6, 17, 4, 15, 2, 13, 0, 11}, 5},
      {7, 1, 64, {23, 23, 23, 23, 23, 23, 23, 23, 23, 23}, 23},
      {7, 5, 1000003,
       {291423, 754212, 216998, 679787, 142573, 291423, 754212, 216998, 679787, 142573}, 291423},
  };
  for (const Golden& golden : vectors) {
    const Layout layout = With(golden.seed, golden.width);
    SCOPED_TRACE("seed " + std::to_string(golden.seed) + " of " +
                 std::to_string(golden.table_size));
    for (uint32_t i = 0; i < golden.first_ten.size(); ++i) {
      EXPECT_EQ(ChainPosition(layout, golden.table_size, i), golden.first_ten[i]) << "chunk " << i;
    }
    EXPECT_EQ(ChainPosition(layout, golden.table_size, 0xffffffff), golden.last);
  }
}

TEST(LayoutTest, AStripeVisitsEveryPositionBeforeAnyTwice) {
  for (uint32_t size = 1; size <= 64; ++size) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      std::set<uint32_t> seen;
      for (uint32_t i = 0; i < size; ++i) seen.insert(ChainPosition(With(seed, 0), size, i));
      ASSERT_EQ(seen.size(), size) << "seed " << seed;
      ASSERT_LT(*seen.rbegin(), size);
    }
  }
}

TEST(LayoutTest, ANarrowStripeUsesThatManyChains) {
  std::set<uint32_t> seen;
  for (uint32_t i = 0; i < 100; ++i) seen.insert(ChainPosition(With(9, 3), 24, i));
  EXPECT_EQ(seen.size(), 3u);
}

TEST(LayoutTest, RangesAreCutAtChunkBorders) {
  const Layout layout = With(1, 0);
  const uint64_t size = layout.chunk_size();
  EXPECT_EQ(FirstChunkRange(layout, 0, 10), (ChunkRange{0, 0, 10, 0}));
  EXPECT_EQ(FirstChunkRange(layout, size - 1, 10),
            (ChunkRange{0, static_cast<uint32_t>(size - 1), 1, size - 1}));
  EXPECT_EQ(FirstChunkRange(layout, size, 2 * size),
            (ChunkRange{1, 0, static_cast<uint32_t>(size), size}));
}

TEST(LayoutTest, TheLastByteOfTheLargestFileHasAChunk) {
  Layout layout = With(1, 0);
  layout.chunk_size_log2 = kMinChunkSizeLog2;
  const ChunkRange range = FirstChunkRange(layout, kMaxFileSize - 1, 1);
  EXPECT_EQ(range.index, 0xffffffffu);
  EXPECT_EQ(range.length, 1u);
  EXPECT_EQ(ChunkCount(layout, kMaxFileSize), uint64_t{1} << 32);
}

TEST(LayoutTest, CountsChunksOfALength) {
  const Layout layout = With(1, 0);
  EXPECT_EQ(ChunkCount(layout, 0), 0u);
  EXPECT_EQ(ChunkCount(layout, 1), 1u);
  EXPECT_EQ(ChunkCount(layout, layout.chunk_size()), 1u);
  EXPECT_EQ(ChunkCount(layout, layout.chunk_size() + 1), 2u);
}

TEST(LayoutTest, RefusesFieldsOutOfRangeByName) {
  Layout layout = With(1, 0);
  EXPECT_TRUE(layout.Validate().ok());
  for (uint32_t log2 : {0u, 15u, 27u, 64u}) {
    layout.chunk_size_log2 = log2;
    EXPECT_EQ(layout.Validate().code(), Code::kInvalid);
    EXPECT_NE(layout.Validate().message().find("chunk_size_log2"), std::string::npos);
  }
  layout = With(1, 0);
  layout.table_version = 0;
  EXPECT_NE(layout.Validate().message().find("table_version"), std::string::npos);
}

}  // namespace
}  // namespace sheaf
