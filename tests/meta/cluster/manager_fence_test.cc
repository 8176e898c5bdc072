#include <gtest/gtest.h>

#include <optional>

#include "tests/meta/cluster/manager_state_fixture.h"

namespace sheaf::meta {
namespace {

using std::chrono::milliseconds;

class FenceTest : public ManagerStateTest {
 protected:
  static FencedRanges EndedBelow(uint64_t next) { return FencedRanges({}, next); }

  // Two nodes under a lease.
  void SetUp() override {
    Register(NodeRequest("a"));
    Register(NodeRequest("b"));
    EXPECT_GT(Lease(1), 0u);
    EXPECT_GT(Lease(2), 0u);
  }
  uint32_t Lease(uint32_t node, std::optional<uint64_t> knows = std::nullopt) {
    auto answer = Beat(node, node == 1 ? "a" : "b", knows.value_or(state_.version().value()),
                       proto::UP_TO_DATE);
    CHECK(answer.ok(), answer.status().ToString());
    return answer->lease_ms();
  }
  void Fence(uint64_t next) {
    auto change = state_.PlanFence(EndedBelow(next));
    ASSERT_TRUE(change.has_value());
    state_.Apply(*change);
  }
  bool Fenced(uint64_t session) {
    state_.SettleFence(clock_.Now());
    return state_.FencedEverywhere(Incarnation(session));
  }
};

TEST_F(FenceTest, IsInTheMapAndOverOnceEveryNodeKnowsIt) {
  Fence(4);
  ASSERT_EQ(state_.Map().fenced_size(), 1);
  EXPECT_EQ(state_.Map().fenced(0).last(), 3u);
  EXPECT_FALSE(Fenced(3));
  Lease(1);
  EXPECT_FALSE(Fenced(3));
  Lease(2);
  EXPECT_TRUE(Fenced(3));
  EXPECT_FALSE(Fenced(4));
  EXPECT_FALSE(state_.PlanFence(EndedBelow(4)).has_value()) << "the map says so already";
}

TEST_F(FenceTest, ALeaseThatHasSurelyRunOutIsAsGood) {
  Fence(4);
  Lease(1);
  clock_.Advance(kLeases.surely_over() - milliseconds(1));
  EXPECT_FALSE(Fenced(3));
  clock_.Advance(milliseconds(1));
  EXPECT_TRUE(Fenced(3));
  EXPECT_EQ(Lease(2, 1), 0u) << "and it gets no new one before it knows";
  EXPECT_GT(Lease(2), 0u);
}

TEST_F(FenceTest, ANodeThatNeverLearnsOfItLosesItsLease) {
  const uint64_t before = state_.version().value();
  Fence(4);
  for (Clock::Instant waited{}; waited < kLeases.surely_over(); waited += kLeases.heartbeat) {
    Lease(1);
    EXPECT_EQ(Lease(2, before), 0u);
    EXPECT_FALSE(Fenced(3)) << "the last lease may still run";
    clock_.Advance(kLeases.heartbeat);
  }
  EXPECT_TRUE(Fenced(3));
}

TEST_F(FenceTest, HoldsLeasesFromThePlanOn) {
  const uint64_t before = state_.version().value();
  const auto change = state_.PlanFence(EndedBelow(4));
  ASSERT_TRUE(change.has_value());
  EXPECT_EQ(Lease(1), 0u) << "it cannot know what is not told yet";
  EXPECT_FALSE(state_.FenceOver(clock_.Now() + std::chrono::hours(1))) << "nor is it durable";
  state_.Apply(*change);
  EXPECT_EQ(Lease(1, before), 0u);
  EXPECT_GT(Lease(1), 0u);
}

TEST_F(FenceTest, EarlierFencesStayOverWhileOneIsUnderWay) {
  Fence(4);
  Lease(1);
  Lease(2);
  ASSERT_TRUE(Fenced(3));
  Fence(9);
  EXPECT_TRUE(Fenced(3));
  EXPECT_FALSE(Fenced(8));
}

TEST_F(FenceTest, AfterARestartItIsOverOnceKnownOrEveryEarlierLeaseHasRunOut) {
  Fence(4);
  Lease(1);
  Lease(2);
  ASSERT_TRUE(Fenced(3));
  state_ = ManagerState(kLeases, state_.Map(), clock_.Now());
  EXPECT_FALSE(Fenced(3));
  Lease(1);
  EXPECT_FALSE(Fenced(3));
  Lease(2);
  EXPECT_TRUE(Fenced(3));

  state_ = ManagerState(kLeases, state_.Map(), clock_.Now());
  EXPECT_FALSE(Fenced(3));
  clock_.Advance(kLeases.surely_over());
  EXPECT_TRUE(Fenced(3));
}

TEST_F(FenceTest, ANodeThatHasHadNoLeaseHoldsNothingUp) {
  Register(NodeRequest("c"));
  Fence(4);
  Lease(1);
  Lease(2);
  EXPECT_TRUE(Fenced(3));
}

}  // namespace
}  // namespace sheaf::meta
