#include "storage/replica/stall_watch.h"

#include <gtest/gtest.h>

namespace sheaf::storage {
namespace {

class StallWatchTest : public ::testing::Test {
 protected:
  bool Looks(uint32_t times, uint64_t begun, uint64_t ended) {
    bool stalled = false;
    for (uint32_t i = 0; i < times; ++i) {
      now_ += StallWatch::kEvery;
      stalled = watch_.Look(begun, ended, now_);
    }
    return stalled;
  }

  Clock::Instant now_{std::chrono::hours(1)};
  StallWatch watch_;
};

TEST_F(StallWatchTest, ChangesOfWhichNoneEndsAreAStall) {
  EXPECT_FALSE(Looks(StallWatch::kRounds, 5, 3));
  EXPECT_TRUE(Looks(1, 6, 3)) << "more that begin do not help";
  EXPECT_FALSE(Looks(1, 6, 4));
  EXPECT_FALSE(Looks(StallWatch::kRounds - 1, 6, 4)) << "one that ends begins anew";
}

TEST_F(StallWatchTest, NothingUnderWayIsNone) {
  EXPECT_FALSE(Looks(3 * StallWatch::kRounds, 5, 5));
  EXPECT_FALSE(Looks(StallWatch::kRounds, 6, 5));
  EXPECT_FALSE(Looks(1, 6, 6));
}

TEST_F(StallWatchTest, LooksInCloseSuccessionCountOnce) {
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(watch_.Look(1, 0, now_));
}

}  // namespace
}  // namespace sheaf::storage
