#include "storage/engine/held_versions.h"

#include <gtest/gtest.h>

namespace sheaf::storage {
namespace {

using Blocks = std::vector<BlockNumber>;

RecordRef RecordOf(uint64_t version) {
  auto record = std::make_shared<ChunkRecord>();
  record->version = ChunkVersion(version);
  return record;
}

// A chunk of blocks 1, 2, 3; ticket 5 puts 10 for 1, ticket 7 puts 11 for 10 and 12 for 2, ticket 8
// removes it.
class HeldVersionsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    held_.Add({5, first_, second_, {10}, {1}});
    held_.Add({7, second_, third_, {11, 12}, {2, 10}});
    held_.Add({8, third_, nullptr, {}, {11, 12, 3}});
  }

  const RecordRef first_ = RecordOf(1);
  const RecordRef second_ = RecordOf(2);
  const RecordRef third_ = RecordOf(3);
  HeldVersions held_;
};

TEST_F(HeldVersionsTest, EachTicketHasItsVersion) {
  EXPECT_EQ(held_.At(0), first_);
  EXPECT_EQ(held_.At(4), first_);
  EXPECT_EQ(held_.At(5), second_);
  EXPECT_EQ(held_.At(6), second_);
  EXPECT_EQ(held_.At(7), third_);
  EXPECT_EQ(held_.At(UINT64_MAX), nullptr);
}

TEST_F(HeldVersionsTest, ReleaseAnswersWhatNothingNames) {
  EXPECT_EQ(held_.Release(4), Blocks());
  EXPECT_EQ(held_.Release(5), Blocks({1}));
  EXPECT_EQ(held_.At(0), second_);
  EXPECT_EQ(held_.Release(100), Blocks({2, 10, 11, 12, 3}));
  EXPECT_TRUE(held_.empty());
  EXPECT_EQ(held_.bytes(), 0u);
}

TEST_F(HeldVersionsTest, UndoOfTheLastNamesWhatItDropped) {
  const auto undo = held_.PlanUndo(8);
  EXPECT_EQ(undo.target, third_);
  EXPECT_EQ(undo.unnamed, Blocks());
  EXPECT_EQ(undo.named_again, Blocks({3, 11, 12}));
  EXPECT_EQ(undo.unused, Blocks());
}

TEST_F(HeldVersionsTest, UndoOfSeveralLeavesWhatOneAddedAndAnotherDroppedToNobody) {
  for (uint64_t from : {6, 7}) {
    const auto undo = held_.PlanUndo(from);
    EXPECT_EQ(undo.target, second_);
    EXPECT_EQ(undo.unnamed, Blocks());
    EXPECT_EQ(undo.named_again, Blocks({2, 3, 10}));
    EXPECT_EQ(undo.unused, Blocks({11, 12}));
  }
  const auto all = held_.PlanUndo(0);
  EXPECT_EQ(all.target, first_);
  EXPECT_EQ(all.named_again, Blocks({1, 2, 3}));
  EXPECT_EQ(all.unused, Blocks({10, 11, 12}));
}

TEST_F(HeldVersionsTest, UndoUnnamesWhatTheNewestHas) {
  held_.Forget(8);
  const auto undo = held_.PlanUndo(5);
  EXPECT_EQ(undo.target, first_);
  EXPECT_EQ(undo.unnamed, Blocks({11, 12}));
  EXPECT_EQ(undo.named_again, Blocks({1, 2}));
  EXPECT_EQ(undo.unused, Blocks({10}));
}

TEST_F(HeldVersionsTest, ForgetsFromATicketOn) {
  EXPECT_FALSE(held_.HasFrom(9));
  EXPECT_TRUE(held_.HasFrom(6));
  held_.Forget(6);
  EXPECT_FALSE(held_.HasFrom(6));
  EXPECT_EQ(held_.At(UINT64_MAX), second_);
  held_.Add({6, second_, third_, {13}, {10}});
  held_.Forget(0);
  EXPECT_TRUE(held_.empty());
  EXPECT_EQ(held_.bytes(), 0u);
}

TEST_F(HeldVersionsTest, AVersionWithoutATicketSharesTheFateOfTheLast) {
  held_.Forget(8);
  const auto fourth = RecordOf(4);
  held_.Add({0, third_, fourth, {14}, {3, 12}});
  EXPECT_EQ(held_.At(6), second_);
  EXPECT_EQ(held_.At(7), fourth);
  const auto undo = held_.PlanUndo(7);
  EXPECT_EQ(undo.target, second_);
  EXPECT_EQ(undo.unnamed, Blocks({11, 14}));
  EXPECT_EQ(undo.named_again, Blocks({2, 3, 10}));
  EXPECT_EQ(undo.unused, Blocks({12}));
  EXPECT_EQ(held_.Release(7), Blocks({1, 2, 10, 3, 12}));
}

TEST_F(HeldVersionsTest, StopsAtATicketThatDoesNotRise) {
  EXPECT_DEATH(held_.Add({8, nullptr, first_, {}, {}}), "do not rise");
}

}  // namespace
}  // namespace sheaf::storage
