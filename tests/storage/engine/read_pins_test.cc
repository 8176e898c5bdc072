#include "storage/engine/read_pins.h"

#include <gtest/gtest.h>

namespace sheaf::storage {
namespace {

class ReadPinsTest : public ::testing::Test {
 protected:
  std::vector<BlockNumber> released_;
  ReadPins pins_{[this](std::span<const BlockNumber> blocks) {
    released_.insert(released_.end(), blocks.begin(), blocks.end());
  }};
};

TEST_F(ReadPinsTest, ReleasesAtOnceWhenNobodyReads) {
  pins_.Retire({1, 2});
  EXPECT_EQ(released_, (std::vector<BlockNumber>{1, 2}));
}

TEST_F(ReadPinsTest, HoldsBlocksUntilReadsOfTheirTimeAreOver) {
  auto first = pins_.Hold();
  pins_.Retire({1});
  auto second = pins_.Hold();
  pins_.Retire({2});
  second.Reset();
  EXPECT_TRUE(released_.empty());  // the first read may be in block 2 too
  first.Reset();
  EXPECT_EQ(released_, (std::vector<BlockNumber>{1, 2}));
}

TEST_F(ReadPinsTest, LaterReadsDoNotHoldEarlierBlocks) {
  auto first = pins_.Hold();
  pins_.Retire({1});
  auto second = pins_.Hold();
  first.Reset();
  EXPECT_EQ(released_, (std::vector<BlockNumber>{1}));
}

TEST_F(ReadPinsTest, AMovedPinCountsOnce) {
  auto first = pins_.Hold();
  pins_.Retire({1});
  ReadPins::Pin moved = std::move(first);
  first.Reset();
  EXPECT_TRUE(released_.empty());
  moved.Reset();
  EXPECT_EQ(released_.size(), 1u);
}

}  // namespace
}  // namespace sheaf::storage
