#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "tests/sim/runner.h"
#include "tests/support/sanitized.h"

namespace sheaf::sim {
namespace {

constexpr uint64_t kSchedules = sheaf::testing::kSanitized ? 20 : 4000;
constexpr uint32_t kJobs = 2;

uint64_t Setting(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::stoull(value);
}

TEST(SimTest, FindsNothing) {
  const RunReport report = RunSeeds(Setting("SHEAF_SIM_FIRST", 1),
                                    Setting("SHEAF_SIM_SCHEDULES", kSchedules), kJobs, "");
  EXPECT_FALSE(report.failure.has_value()) << report.failure->text;
  // A chunk's history may be too long to explain; that must stay the exception.
  EXPECT_LE(report.totals.undecided, 1 + report.totals.runs / 20);
  // A run in which clients get nothing done would find nothing either.
  EXPECT_GT(report.totals.done, report.totals.operations / 2);
}

TEST(SimTest, TheSameSeedGivesTheSameRun) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const RunReport once = RunSeeds(seed, 1, 1, "");
    const RunReport again = RunSeeds(seed, 1, 1, "");
    EXPECT_EQ(once.totals.steps, again.totals.steps);
    EXPECT_EQ(once.totals.done, again.totals.done);
  }
}

}  // namespace
}  // namespace sheaf::sim
