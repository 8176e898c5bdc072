#include <gtest/gtest.h>

#include "meta/cluster/membership.h"
#include "tests/meta/cluster/manager_state_fixture.h"

namespace sheaf::meta {
namespace {

// Nodes a, b and so on, which are 1, 2 and so on, with the target of the same number each; all of
// them are up, and serve chain 1.
class ManagerLinksTest : public ManagerStateTest {
 protected:
  void Start(uint32_t nodes) {
    nodes_ = nodes;
    for (uint32_t node = 1; node <= nodes; ++node) Register(NodeRequest(Name(node)));
    MakeChain(std::vector<proto::TargetState>(nodes, proto::SERVING));
    Beats();
    ASSERT_EQ(Settle(), 0);
  }
  static std::string Name(uint32_t node) {
    return std::string(1, static_cast<char>('a' + node - 1));
  }
  // A heartbeat of each, and what follows; `stale` still acts on the map of before.
  void Turn(uint32_t stale = 0) {
    clock_.Advance(kLeases.heartbeat);
    Beats(stale);
    while (auto change = state_.PlanTransitions(clock_.Now())) state_.Apply(*change);
  }
  void Beats(uint32_t stale = 0) {
    for (uint32_t node = 1; node <= nodes_; ++node) {
      if (node == silent_) continue;
      proto::ChainReport report;
      report.set_chain_id(1);
      report.set_chain_version(Chain().version());
      report.set_complete(MemberOf(Chain(), TargetId(node)).state() == proto::SYNCING);
      const uint64_t known = node == stale ? stale_version_ : state_.version().value();
      ASSERT_TRUE(Beat(node, Name(node), known, proto::UP_TO_DATE, &report).ok());
    }
  }
  void Turns(int turns) {
    for (int turn = 0; turn < turns; ++turn) Turn();
  }
  bool Leaves(uint32_t target) const { return MemberOf(Chain(), TargetId(target)).leaving(); }

  uint32_t nodes_ = 0;
  uint32_t silent_ = 0;  // sends no heartbeats
  uint64_t stale_version_ = 0;
};

TEST_F(ManagerLinksTest, AChainGoesOnWithoutTheLaterOfTwoThatDoNotReachOneAnother) {
  for (const auto& [says, of] : {std::pair{1u, 2u}, {2u, 1u}}) {
    state_ = ManagerState(kLeases, EmptyMap(), clock_.Now());
    next_node_ = next_target_ = 1;
    Start(3);
    out_of_reach_[says] = {of};
    Turn();
    EXPECT_EQ(States(), "1 SERVING 2 SERVING 3 SERVING");
    EXPECT_TRUE(Leaves(2)) << "it answers no reads any more";
    Turns(2);
    EXPECT_EQ(States(), "1 SERVING 3 SERVING 2 WAITING");
    EXPECT_FALSE(Leaves(2));
    Turns(5);
    EXPECT_EQ(States(), "1 SERVING 3 SERVING 2 WAITING") << "while they do not";
    out_of_reach_.clear();
    Turns(3);
    EXPECT_EQ(States(), "1 SERVING 3 SERVING 2 SERVING");
  }
}

TEST_F(ManagerLinksTest, TheOneWithTheMostBrokenLinksGoes) {
  Start(4);
  out_of_reach_[2] = {1};
  out_of_reach_[3] = {2};
  Turns(3);
  EXPECT_EQ(States(), "1 SERVING 3 SERVING 4 SERVING 2 WAITING");
}

TEST_F(ManagerLinksTest, AHeadThatReachesNobodyGoes) {
  Start(3);
  out_of_reach_[1] = {2, 3};
  Turns(3);
  EXPECT_EQ(States(), "2 SERVING 3 SERVING 1 WAITING");
}

TEST_F(ManagerLinksTest, OneGoesOnAloneWhereNobodyReachesAnybody) {
  Start(3);
  out_of_reach_[1] = {2, 3};
  out_of_reach_[2] = {1, 3};
  Turns(6);
  EXPECT_EQ(States(), "1 SERVING 3 WAITING 2 WAITING");
  out_of_reach_.clear();
  Turns(6);
  EXPECT_EQ(States(), "1 SERVING 3 SERVING 2 SERVING");
}

TEST_F(ManagerLinksTest, AMemberStaysUntilItsNodeKnowsThatItAnswersNoReads) {
  Start(2);
  stale_version_ = state_.version().value();
  out_of_reach_[1] = {2};
  for (int turn = 0; turn < 10; ++turn) Turn(/*stale=*/2);
  EXPECT_EQ(States(), "1 SERVING 2 SERVING");
  EXPECT_TRUE(Leaves(2));
  Turn();
  EXPECT_EQ(States(), "1 SERVING 2 WAITING");
}

TEST_F(ManagerLinksTest, ALinkThatWorksAgainMeanwhileCallsTheMemberBack) {
  Start(2);
  stale_version_ = state_.version().value();
  out_of_reach_[1] = {2};
  Turn(/*stale=*/2);
  EXPECT_TRUE(Leaves(2));
  out_of_reach_.clear();
  Turn(/*stale=*/2);
  EXPECT_EQ(States(), "1 SERVING 2 SERVING");
  EXPECT_FALSE(Leaves(2));
}

// Its lease is what decides; and of whom it said before nothing is known.
TEST_F(ManagerLinksTest, AServerThatIsGoneIsNoBrokenLink) {
  Start(2);
  silent_ = 2;
  out_of_reach_[1] = {2};
  Turns(2);
  out_of_reach_[1] = {2};
  EXPECT_FALSE(Leaves(1));
  Turns(4);
  EXPECT_EQ(States(), "1 SERVING 2 OFFLINE");

  out_of_reach_.clear();
  silent_ = 0;
  Turns(4);
  EXPECT_EQ(States(), "1 SERVING 2 SERVING");
  out_of_reach_[1] = {2};
  silent_ = 1;
  Turns(6);
  EXPECT_EQ(States(), "2 SERVING 1 OFFLINE");
}

TEST_F(ManagerLinksTest, AChainGoesOnWithoutAMemberWhoseDiskHangs) {
  Start(3);
  stalled_ = {1};
  out_of_reach_[2] = {3};  // what hangs goes first
  Turns(3);
  EXPECT_EQ(MemberOf(Chain(), TargetId(1)).state(), proto::WAITING);
  out_of_reach_.clear();
  Turns(4);
  EXPECT_EQ(States(), "2 SERVING 3 SERVING 1 WAITING") << "while it does";
  stalled_.clear();
  Turns(3);
  EXPECT_EQ(States(), "2 SERVING 3 SERVING 1 SERVING");
}

TEST_F(ManagerLinksTest, WhereEveryDiskHangsNobodyIsGivenUp) {
  Start(3);
  stalled_ = {1, 2, 3};
  Turns(4);
  EXPECT_EQ(States(), "1 SERVING 2 SERVING 3 SERVING");
  stalled_ = {2, 3};
  Turns(6);
  EXPECT_EQ(States(), "1 SERVING 3 WAITING 2 WAITING");
}

TEST_F(ManagerLinksTest, AMemberThatCatchesUpWaitsWhileNobodyReachesIt) {
  Start(3);
  silent_ = 3;
  Turns(6);
  EXPECT_EQ(States(), "1 SERVING 2 SERVING 3 OFFLINE");
  silent_ = 0;
  out_of_reach_[2] = {3};
  Turns(4);
  EXPECT_EQ(States(), "1 SERVING 2 SERVING 3 WAITING");
  out_of_reach_.clear();
  Turns(3);
  EXPECT_EQ(States(), "1 SERVING 2 SERVING 3 SERVING");
}

}  // namespace
}  // namespace sheaf::meta
