#include "client/chunk/hedging.h"

#include <gtest/gtest.h>

namespace sheaf::client {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr size_t kSmall = 4 << 10;
constexpr size_t kLarge = 1 << 20;

TEST(HedgingTest, WaitsForWhatNineteenOfTwentyReadsTookAtMost) {
  Hedging hedging;
  for (int i = 0; i < 960; ++i) hedging.Observe(kSmall, milliseconds(20));
  for (int i = 0; i < 40; ++i) hedging.Observe(kSmall, milliseconds(900));
  EXPECT_GE(hedging.Delay(kSmall), milliseconds(20));
  EXPECT_LE(hedging.Delay(kSmall), milliseconds(26));
  for (int i = 0; i < 100; ++i) hedging.Observe(kSmall, milliseconds(900));
  EXPECT_GE(hedging.Delay(kSmall), milliseconds(900));
}

TEST(HedgingTest, SizesAreJudgedApart) {
  Hedging hedging;
  for (int i = 0; i < 100; ++i) hedging.Observe(kLarge, milliseconds(50));
  EXPECT_GE(hedging.Delay(kLarge), milliseconds(50));
  EXPECT_EQ(hedging.Delay(kSmall), Hedging::kFirstDelay);
}

TEST(HedgingTest, NeverWaitsLessThanTheLeast) {
  Hedging hedging;
  for (int i = 0; i < 100; ++i) hedging.Observe(kSmall, microseconds(i % 4));
  EXPECT_EQ(hedging.Delay(kSmall), Hedging::kMinDelay);
}

TEST(HedgingTest, ForgetsWhatIsLongAgo) {
  Hedging hedging;
  for (int i = 0; i < 2000; ++i) hedging.Observe(kSmall, std::chrono::seconds(2));
  EXPECT_GE(hedging.Delay(kSmall), std::chrono::seconds(2));
  for (int i = 0; i < 10'000; ++i) hedging.Observe(kSmall, milliseconds(15));
  EXPECT_LE(hedging.Delay(kSmall), milliseconds(20));
}

TEST(HedgingTest, IsMorePatientWhereReadsTakeLong) {
  Hedging hedging;
  EXPECT_EQ(hedging.Patience(kLarge), Hedging::kMinPatience);
  for (int i = 0; i < 100; ++i) hedging.Observe(kLarge, milliseconds(10));
  EXPECT_EQ(hedging.Patience(kLarge), Hedging::kMinPatience);
  for (int i = 0; i < 2000; ++i) hedging.Observe(kLarge, std::chrono::seconds(1));
  EXPECT_GE(hedging.Patience(kLarge), std::chrono::seconds(4));
}

TEST(HedgingTest, AnyDurationHasItsPlace) {
  Hedging hedging;
  for (int bit = 0; bit < 62; ++bit) hedging.Observe(kSmall, Clock::Instant(int64_t{1} << bit));
  hedging.Observe(kSmall, Clock::Instant(-1));
  EXPECT_GT(hedging.Delay(kSmall), milliseconds(10));
}

TEST(HedgingTest, HedgesOneInTwentyOfTheFirstReads) {
  Hedging hedging;
  for (uint64_t i = 1; i < Hedging::kShare; ++i) hedging.CountRead();
  EXPECT_FALSE(hedging.Begin(1));
  hedging.CountRead();
  EXPECT_TRUE(hedging.Begin(1));
  EXPECT_FALSE(hedging.Begin(1));
}

TEST(HedgingTest, HedgesOneInTwentyOfAnyReadsInARow) {
  Hedging hedging;
  std::vector<uint64_t> hedged;
  for (uint64_t read = 1; read <= 5 * Hedging::kWindow; ++read) {
    hedging.CountRead();
    // Long runs of slow reads, and of fast ones.
    if (read / 700 % 2 == 1 && hedging.Begin(1)) {
      hedging.End(1);
      hedged.push_back(read);
    }
  }
  const uint64_t most = Hedging::kWindow / Hedging::kShare;
  EXPECT_GT(hedged.size(), 3 * most / 2);
  for (size_t i = most; i < hedged.size(); ++i) {
    EXPECT_GE(hedged[i], hedged[i - most] + Hedging::kWindow);
  }
}

TEST(HedgingTest, HedgesUnderWayHaveABoundInBytes) {
  Hedging hedging;
  for (uint64_t i = 0; i < Hedging::kWindow; ++i) hedging.CountRead();
  EXPECT_TRUE(hedging.Begin(Hedging::kMaxBytes));
  EXPECT_FALSE(hedging.Begin(1));
  hedging.End(Hedging::kMaxBytes);
  EXPECT_TRUE(hedging.Begin(1));
}

}  // namespace
}  // namespace sheaf::client
