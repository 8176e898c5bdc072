#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "tests/sim/runner.h"

namespace sheaf::sim {
namespace {

constexpr uint64_t kSchedules = 4000;  // at most; a bug that is found ends its run
constexpr uint64_t kFirst = 15001;     // from here on none takes more than a hundred
constexpr uint32_t kJobs = 2;

class SimBugsTest : public testing::TestWithParam<NamedBug> {};

TEST_P(SimBugsTest, IsFound) {
  storage::planted_bug = GetParam().bug;
  const RunReport report = RunSeeds(kFirst, kSchedules, kJobs, GetParam().name);
  storage::planted_bug = storage::Bug::kNone;
  ASSERT_TRUE(report.failure.has_value()) << "not in " << report.totals.runs << " schedules";
  std::printf("found after %llu schedules: %s\n",
              static_cast<unsigned long long>(report.totals.runs),
              report.failure->text.substr(0, 300).c_str());
  const RunReport without = RunSeeds(report.failure->seed, 1, 1, "");
  EXPECT_FALSE(without.failure.has_value()) << without.failure->text;
}

INSTANTIATE_TEST_SUITE_P(Planted, SimBugsTest, testing::ValuesIn(kBugs),
                         [](const auto& bug) { return std::string(bug.param.name); });

}  // namespace
}  // namespace sheaf::sim
