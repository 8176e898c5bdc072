#include "client/cli/latencies.h"

#include <gtest/gtest.h>

namespace sheaf::cli {
namespace {

using std::chrono::nanoseconds;

TEST(LatenciesTest, PercentilesAreWithinThreePercent) {
  Latencies latencies;
  for (int64_t us = 1; us <= 10000; ++us) latencies.Add(nanoseconds(us * 1000));
  EXPECT_NEAR(latencies.PercentileUs(0.5), 5000, 150);
  EXPECT_NEAR(latencies.PercentileUs(0.99), 9900, 300);
  EXPECT_NEAR(latencies.PercentileUs(0), 1, 0.1);
}

TEST(LatenciesTest, TakesExtremes) {
  Latencies latencies;
  EXPECT_EQ(latencies.PercentileUs(0.5), 0);
  latencies.Add(nanoseconds(-5));
  EXPECT_EQ(latencies.PercentileUs(0.5), 0);
  latencies.Add(nanoseconds::max());
  latencies.Add(nanoseconds::max());
  EXPECT_GT(latencies.PercentileUs(1), 9e15);
}

}  // namespace
}  // namespace sheaf::cli
