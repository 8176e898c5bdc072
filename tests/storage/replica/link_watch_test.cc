#include "storage/replica/link_watch.h"

#include <gtest/gtest.h>

#include <vector>

namespace sheaf::storage {
namespace {

const NodeId kOne(1);
const NodeId kTwo(2);

class LinkWatchTest : public ::testing::Test {
 protected:
  LinkWatchTest() { watch_.SetNeighbours({kOne, kTwo}); }

  // Of the second nothing is heard in these rounds, or something.
  void Rounds(uint32_t rounds, bool heard) {
    for (uint32_t i = 0; i < rounds; ++i) {
      EXPECT_EQ(watch_.BeginRound(), (std::vector<NodeId>{kOne, kTwo}));
      watch_.OnAnswer(kOne);
      if (heard) watch_.OnAnswer(kTwo);
    }
  }

  LinkWatch watch_;
};

TEST_F(LinkWatchTest, WhoAnswersNothingInFourRoundsIsOutOfReach) {
  Rounds(LinkWatch::kMissedMax, false);
  EXPECT_EQ(watch_.OutOfReach(), std::vector<NodeId>{}) << "the last may still be answered";
  Rounds(1, false);
  EXPECT_EQ(watch_.OutOfReach(), std::vector<NodeId>{kTwo});
}

TEST_F(LinkWatchTest, OneAnswerInBetweenBeginsAnew) {
  Rounds(LinkWatch::kMissedMax - 1, false);
  Rounds(1, true);
  Rounds(LinkWatch::kMissedMax, false);
  EXPECT_EQ(watch_.OutOfReach(), std::vector<NodeId>{});
}

TEST_F(LinkWatchTest, WhoAnswersForAWhileIsWithinReachAgain) {
  Rounds(LinkWatch::kMissedMax + 1, false);
  for (int turn = 0; turn < 3; ++turn) {
    Rounds(LinkWatch::kAnsweredMin - 1, true);
    Rounds(1, false);
    EXPECT_EQ(watch_.OutOfReach(), std::vector<NodeId>{kTwo}) << "now and then is not enough";
  }
  Rounds(LinkWatch::kAnsweredMin, true);
  Rounds(1, true);
  EXPECT_EQ(watch_.OutOfReach(), std::vector<NodeId>{});
}

TEST_F(LinkWatchTest, WhoIsNoNeighbourAnyMoreIsForgotten) {
  Rounds(LinkWatch::kMissedMax + 1, false);
  watch_.SetNeighbours({kOne});
  EXPECT_EQ(watch_.OutOfReach(), std::vector<NodeId>{});
  watch_.OnAnswer(kTwo);
  EXPECT_EQ(watch_.BeginRound(), std::vector<NodeId>{kOne});
  watch_.SetNeighbours({kOne, kTwo});
  EXPECT_EQ(watch_.OutOfReach(), std::vector<NodeId>{});
}

}  // namespace
}  // namespace sheaf::storage
