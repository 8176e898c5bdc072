#include "storage/engine/allocator.h"

#include <gtest/gtest.h>

#include <numeric>

namespace sheaf::storage {
namespace {

std::vector<BlockNumber> Blocks(BlockNumber first, uint32_t count) {
  std::vector<BlockNumber> blocks(count);
  std::iota(blocks.begin(), blocks.end(), first);
  return blocks;
}

TEST(AllocatorTest, TakesTheLowestRunThatFits) {
  Allocator allocator(1024);
  allocator.AddSlab();
  EXPECT_EQ(allocator.Allocate(10, false), Blocks(0, 10));
  EXPECT_EQ(allocator.Allocate(10, false), Blocks(10, 10));
  allocator.Abandon(Blocks(3, 4));
  EXPECT_EQ(allocator.Allocate(5, false), Blocks(20, 5));
  EXPECT_EQ(allocator.Allocate(4, false), Blocks(3, 4));
}

TEST(AllocatorTest, TakesPiecesWhenNoRunFits) {
  Allocator allocator(160);  // reserve: 10
  allocator.AddSlab();
  ASSERT_TRUE(allocator.Allocate(160, true).has_value());
  allocator.Abandon(Blocks(10, 20));
  allocator.Abandon(Blocks(50, 20));
  auto blocks = allocator.Allocate(30, false);
  ASSERT_TRUE(blocks.has_value());
  auto want = Blocks(10, 20);
  for (BlockNumber block : Blocks(50, 10)) want.push_back(block);
  EXPECT_EQ(*blocks, want);
}

TEST(AllocatorTest, KeepsAReserveForThePrivileged) {
  Allocator allocator(160);
  allocator.AddSlab();
  EXPECT_EQ(allocator.FreeBlocks(), 150u);
  EXPECT_FALSE(allocator.Allocate(151, false).has_value());
  EXPECT_TRUE(allocator.Allocate(150, false).has_value());
  EXPECT_FALSE(allocator.Allocate(1, false).has_value());
  EXPECT_TRUE(allocator.Allocate(10, true).has_value());
  EXPECT_FALSE(allocator.Allocate(1, true).has_value());
  allocator.AddSlab();
  EXPECT_EQ(allocator.Allocate(1, false), Blocks(160, 1));
}

TEST(AllocatorTest, CountsABlockThroughItsLife) {
  Allocator allocator(1024);
  allocator.AddSlab();
  const auto blocks = *allocator.Allocate(8, false);
  EXPECT_EQ(allocator.counts().pending, 8u);
  allocator.Commit(blocks, {});
  EXPECT_EQ(allocator.counts().named, 8u);
  EXPECT_EQ(allocator.NamedBits()[0], 0xffu);
  allocator.Commit({}, blocks);
  EXPECT_EQ(allocator.counts().retired, 8u);
  EXPECT_NE(allocator.Allocate(8, false), blocks);
  allocator.Release(blocks);
  EXPECT_EQ(allocator.counts().used, 8u);
  EXPECT_EQ(allocator.Allocate(8, false), blocks);
}

TEST(AllocatorTest, NamesARetiredBlockAgain) {
  Allocator allocator(1024);
  allocator.AddSlab();
  const auto blocks = *allocator.Allocate(8, false);
  allocator.Commit(blocks, {});
  allocator.Commit({}, blocks);
  allocator.NameAgain(Blocks(0, 3));
  EXPECT_EQ(allocator.counts().named, 3u);
  EXPECT_EQ(allocator.counts().retired, 5u);
  EXPECT_EQ(allocator.counts().used, 8u);
  EXPECT_EQ(allocator.NamedBits()[0], 0x7u);
  allocator.Release(Blocks(3, 5));
  allocator.Commit({}, Blocks(0, 3));
  allocator.Release(Blocks(0, 3));
  EXPECT_EQ(allocator.counts().used, 0u);
}

TEST(AllocatorTest, RefusesABlockNamedTwiceOrOutside) {
  Allocator allocator(1024);
  allocator.AddSlab();
  EXPECT_TRUE(allocator.MarkNamed(5).ok());
  EXPECT_EQ(allocator.MarkNamed(5).code(), Code::kCorrupt);
  EXPECT_EQ(allocator.MarkNamed(1024).code(), Code::kCorrupt);
  EXPECT_EQ(allocator.Allocate(6, false), Blocks(6, 6));
}

TEST(AllocatorDeathTest, StopsBeforeANamedBlockIsFreed) {
  Allocator allocator(1024);
  allocator.AddSlab();
  const auto blocks = *allocator.Allocate(1, false);
  allocator.Commit(blocks, {});
  EXPECT_DEATH(allocator.Release(blocks), "more blocks released than retired");
  EXPECT_DEATH(allocator.Commit(blocks, {}), "committed twice");
  EXPECT_DEATH(allocator.NameAgain(blocks), "more blocks named again than retired");
  const auto other = *allocator.Allocate(1, false);
  allocator.Commit(other, other);
  EXPECT_DEATH(allocator.NameAgain(blocks), "named again but not retired");
}

}  // namespace
}  // namespace sheaf::storage
