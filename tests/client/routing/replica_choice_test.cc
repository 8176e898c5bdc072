#include "client/routing/replica_choice.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <vector>

namespace sheaf::client {
namespace {

Random Seeded() {
  return [random = std::mt19937(7)]() mutable { return static_cast<uint32_t>(random()); };
}

// How often each was chosen.
std::array<int, 3> Choices(const std::vector<ReplicaState>& replicas, int times = 3000) {
  const Random random = Seeded();
  std::array<int, 3> chosen{};
  for (int i = 0; i < times; ++i) ++chosen[ChooseReplica(replicas, random)];
  return chosen;
}

TEST(ReplicaChoiceTest, SpreadsReadsEvenlyOverEqualReplicas) {
  for (const int count : Choices({{}, {}, {}})) EXPECT_NEAR(count, 1000, 100);
}

TEST(ReplicaChoiceTest, TheSameNumbersChooseTheSame) {
  const std::vector<ReplicaState> replicas{{}, {.under_way = 1}, {}};
  EXPECT_EQ(Choices(replicas), Choices(replicas));
}

TEST(ReplicaChoiceTest, TakesTheLessLoadedOfTwo) {
  const auto chosen = Choices({{.under_way = 5}, {.under_way = 4}, {.under_way = 6}});
  EXPECT_NEAR(chosen[0], 1000, 100);  // with the third
  EXPECT_NEAR(chosen[1], 2000, 100);  // with either
  EXPECT_EQ(chosen[2], 0);
}

TEST(ReplicaChoiceTest, PrefersThisMachineOnlyAmongEquals) {
  EXPECT_EQ(Choices({{}, {.local = true}})[0], 0);
  EXPECT_EQ(Choices({{}, {.local = true, .under_way = 1}})[1], 0);
}

TEST(ReplicaChoiceTest, AFaultCountsMoreThanAnyLoad) {
  for (const ReplicaState& bad : {ReplicaState{.up = false}, ReplicaState{.avoided = true},
                                  ReplicaState{.must_wait = true}}) {
    EXPECT_EQ(Choices({bad, {.under_way = 1000}})[0], 0);
  }
}

TEST(ReplicaChoiceTest, AsksTheLeastFaultyWhereAllHaveFaults) {
  EXPECT_EQ(Choices({{.up = false}, {.avoided = true}})[0], 0);
  EXPECT_EQ(Choices({{.avoided = true}, {.must_wait = true}})[0], 0);
  EXPECT_EQ(Choices({{.up = false, .avoided = true}})[0], 3000);
}

}  // namespace
}  // namespace sheaf::client
