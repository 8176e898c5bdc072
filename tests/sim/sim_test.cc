#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "tests/sim/runner.h"
#include "tests/sim/schedule.h"
#include "tests/sim/world.h"
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

// What is done in six seconds in which node `from` does not reach node `to`, from half a second on;
// 0: all reach one another.
uint64_t DoneWithoutLink(uint32_t from, uint32_t to) {
  Schedule schedule;
  schedule.seed = 1;
  schedule.chains = {{1, 2, 3}};
  schedule.drift_ppm.resize(schedule.nodes + 1);
  schedule.faulty = 6 * kSecond;
  schedule.think = 10 * kMillisecond;
  if (from != 0) {
    Fault cut;
    cut.kind = Fault::Kind::kCut;
    cut.at = kSecond / 2;
    cut.lasts = schedule.faulty - cut.at;
    cut.node = from;
    cut.other = to;
    schedule.faults.push_back(cut);
  }
  World world(schedule, /*verbose=*/false);
  EXPECT_EQ(world.Run(), "") << from << " to " << to;
  return world.counts().done;
}

TEST(SimTest, AChainGoesOnWhereOneMemberDoesNotReachAnother) {
  const uint64_t whole = DoneWithoutLink(0, 0);
  for (uint32_t from = 1; from <= 3; ++from) {
    for (uint32_t to = 1; to <= 3; ++to) {
      if (from == to) continue;
      EXPECT_GT(DoneWithoutLink(from, to), whole / 2) << from << " to " << to << " of " << whole;
    }
  }
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
