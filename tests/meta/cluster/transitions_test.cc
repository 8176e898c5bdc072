#include "meta/cluster/transitions.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace sheaf::meta {
namespace {

using Health = TargetHealth;
using States = std::vector<std::pair<uint32_t, proto::TargetState>>;

proto::Chain MakeChain(const States& members) {
  proto::Chain chain;
  chain.set_id(1);
  chain.set_version(7);
  for (const auto& [target, state] : members) {
    proto::ChainMember* member = chain.add_members();
    member->set_target_id(target);
    member->set_state(state);
  }
  return chain;
}

States StatesOf(const proto::Chain& chain) {
  States states;
  for (const auto& member : chain.members())
    states.emplace_back(member.target_id(), member.state());
  return states;
}

proto::Chain Step(const proto::Chain& chain, const std::map<uint32_t, Health>& health) {
  return NextChain(chain, [&](TargetId target) { return health.at(target.value()); });
}

States After(const States& members, const std::map<uint32_t, Health>& health) {
  return StatesOf(Step(MakeChain(members), health));
}

TEST(TransitionsTest, KeepsVersionWhenNothingChanges) {
  const proto::Chain chain = MakeChain({{1, proto::SERVING}, {2, proto::SERVING}});
  EXPECT_EQ(Step(chain, {{1, Health::kComplete}, {2, Health::kUp}}).version(), 7u);
  EXPECT_EQ(Step(chain, {{1, Health::kUnknown}, {2, Health::kUnknown}}).version(), 7u);
}

TEST(TransitionsTest, OnlyMemberGoneIsLastServingAndResumes) {
  proto::Chain chain = Step(MakeChain({{1, proto::SERVING}}), {{1, Health::kGone}});
  EXPECT_EQ(StatesOf(chain), (States{{1, proto::LAST_SERVING}}));
  EXPECT_EQ(chain.version(), 8u);
  chain = Step(chain, {{1, Health::kUp}});
  EXPECT_EQ(StatesOf(chain), (States{{1, proto::SERVING}}));
  EXPECT_EQ(chain.version(), 9u);
}

TEST(TransitionsTest, GoneHeadGivesWayToTheNext) {
  EXPECT_EQ(After({{1, proto::SERVING}, {2, proto::SERVING}, {3, proto::SERVING}},
                  {{1, Health::kGone}, {2, Health::kComplete}, {3, Health::kComplete}}),
            (States{{2, proto::SERVING}, {3, proto::SERVING}, {1, proto::OFFLINE}}));
}

TEST(TransitionsTest, AnyOfThoseThatWentTogetherResumesTheChain) {
  const proto::Chain dead = Step(MakeChain({{1, proto::SERVING}, {2, proto::SERVING}}),
                                 {{1, Health::kGone}, {2, Health::kGone}});
  EXPECT_EQ(StatesOf(dead), (States{{1, proto::LAST_SERVING}, {2, proto::LAST_SERVING}}));
  EXPECT_EQ(StatesOf(Step(dead, {{1, Health::kGone}, {2, Health::kComplete}})),
            (States{{2, proto::SERVING}, {1, proto::OFFLINE}}));
}

TEST(TransitionsTest, OnlyOneResumesAndTheOthersCatchUp) {
  EXPECT_EQ(After({{1, proto::LAST_SERVING}, {2, proto::LAST_SERVING}},
                  {{1, Health::kComplete}, {2, Health::kComplete}}),
            (States{{1, proto::SERVING}, {2, proto::WAITING}}));
}

TEST(TransitionsTest, WhoeverMissedCommitsDoesNotResumeADeadChain) {
  EXPECT_EQ(After({{1, proto::LAST_SERVING}, {2, proto::OFFLINE}},
                  {{1, Health::kGone}, {2, Health::kComplete}}),
            (States{{1, proto::LAST_SERVING}, {2, proto::WAITING}}));
}

TEST(TransitionsTest, SyncsOneAtATime) {
  EXPECT_EQ(After({{1, proto::SERVING}, {2, proto::WAITING}, {3, proto::WAITING}},
                  {{1, Health::kComplete}, {2, Health::kUp}, {3, Health::kUp}}),
            (States{{1, proto::SERVING}, {2, proto::SYNCING}, {3, proto::WAITING}}));
}

TEST(TransitionsTest, SyncedMemberServes) {
  EXPECT_EQ(After({{1, proto::SERVING}, {2, proto::SYNCING}},
                  {{1, Health::kComplete}, {2, Health::kComplete}}),
            (States{{1, proto::SERVING}, {2, proto::SERVING}}));
}

TEST(TransitionsTest, WhoeverWaitsSyncsWhateverItSays) {
  EXPECT_EQ(
      After({{1, proto::SERVING}, {2, proto::WAITING}}, {{1, Health::kUp}, {2, Health::kComplete}}),
      (States{{1, proto::SERVING}, {2, proto::SYNCING}}));
}

TEST(TransitionsTest, AServingMemberNeedsOnlyToBeUp) {
  EXPECT_EQ(After({{1, proto::SERVING}, {2, proto::SERVING}}, {{1, Health::kUp}, {2, Health::kUp}}),
            (States{{1, proto::SERVING}, {2, proto::SERVING}}));
}

TEST(TransitionsTest, ARestartTakesAMemberOut) {
  EXPECT_EQ(After({{1, proto::SERVING}, {2, proto::SERVING}, {3, proto::SYNCING}},
                  {{1, Health::kRestarted}, {2, Health::kUp}, {3, Health::kUp}}),
            (States{{2, proto::SERVING}, {3, proto::SYNCING}, {1, proto::OFFLINE}}));
  EXPECT_EQ(After({{1, proto::SERVING}, {2, proto::SYNCING}, {3, proto::WAITING}},
                  {{1, Health::kUp}, {2, Health::kRestarted}, {3, Health::kRestarted}}),
            (States{{1, proto::SERVING}, {3, proto::WAITING}, {2, proto::OFFLINE}}));
}

TEST(TransitionsTest, ARestartOfTheOnlyOneThatServesIsSeenAndThenForgiven) {
  const proto::Chain dead = Step(MakeChain({{1, proto::SERVING}, {2, proto::OFFLINE}}),
                                 {{1, Health::kRestarted}, {2, Health::kGone}});
  EXPECT_EQ(StatesOf(dead), (States{{1, proto::LAST_SERVING}, {2, proto::OFFLINE}}));
  const proto::Chain back = Step(dead, {{1, Health::kUp}, {2, Health::kGone}});
  EXPECT_EQ(StatesOf(back), (States{{1, proto::SERVING}, {2, proto::OFFLINE}}));
  EXPECT_EQ(back.version(), 9u);
}

TEST(TransitionsTest, NobodyIsGivenUpBeforeItIsKnownWhoIsLeft) {
  const States serving = {{1, proto::SERVING}, {2, proto::SERVING}, {3, proto::SERVING}};
  for (const Health over : {Health::kGone, Health::kRestarted}) {
    EXPECT_EQ(After(serving, {{1, over}, {2, Health::kUp}, {3, Health::kUnknown}}), serving);
    EXPECT_EQ(After(serving, {{1, over}, {2, over}, {3, Health::kUnknown}}), serving);
    EXPECT_EQ(
        After(serving, {{1, over}, {2, Health::kGone}, {3, Health::kGone}}),
        (States{{1, proto::LAST_SERVING}, {2, proto::LAST_SERVING}, {3, proto::LAST_SERVING}}));
  }
}

TEST(TransitionsTest, SyncingWaitsWhenItsSourceIsGone) {
  EXPECT_EQ(After({{1, proto::SERVING}, {2, proto::SYNCING}},
                  {{1, Health::kGone}, {2, Health::kComplete}}),
            (States{{1, proto::LAST_SERVING}, {2, proto::WAITING}}));
}

uint64_t Seed() {
  const char* text = std::getenv("SHEAF_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device{}();
}

int Rank(proto::TargetState state) {
  switch (state) {
    case proto::SERVING:
      return 0;
    case proto::LAST_SERVING:
      return 1;
    case proto::SYNCING:
      return 2;
    case proto::WAITING:
      return 3;
    default:
      return 4;
  }
}

// Walks a chain through random failures. Whoever serves commits; a member catches up only by being
// told complete while it syncs. A restart is seen once; then the member is up.
class RandomWalk {
 public:
  RandomWalk(uint64_t seed, uint32_t size) : random_(seed) {
    States members;
    for (uint32_t i = 1; i <= size; ++i) {
      members.emplace_back(i, proto::SERVING);
      commits_[i] = 0;
      health_[i] = Health::kComplete;
    }
    chain_ = MakeChain(members);
  }

  void Step() {
    for (auto& [target, health] : health_) {
      if (Chance(4)) health = Pick(target);
    }
    Advance();
    if (Chance(2)) Commit();
  }

  void Heal() {
    // Each turn may take one member from offline through waiting and syncing to serving.
    for (int turn = 0; turn < 5 * chain_.members_size() + 5; ++turn) {
      for (const auto& member : chain_.members()) {
        health_[member.target_id()] = Works(member);
      }
      Advance();
    }
    for (const auto& member : chain_.members()) ASSERT_EQ(member.state(), proto::SERVING);
  }

 private:
  bool Chance(int of) { return random_() % of == 0; }

  proto::TargetState StateOf(uint32_t target) const {
    for (const auto& member : chain_.members()) {
      if (member.target_id() == target) return member.state();
    }
    return proto::OFFLINE;
  }

  Health Works(const proto::ChainMember& member) const {
    return member.state() == proto::SYNCING ? Health::kComplete : Health::kUp;
  }

  Health Pick(uint32_t target) {
    switch (random_() % 5) {
      case 0:
        return Health::kGone;
      case 3:
        return Health::kCutOff;
      case 1:
        return Health::kUp;
      case 2:
        return Health::kRestarted;
      default:
        break;
    }
    return StateOf(target) == proto::SYNCING ? Health::kComplete : Health::kUnknown;
  }

  void Advance() {
    const proto::Chain before = chain_;
    chain_ = NextChain(before, [&](TargetId target) { return health_.at(target.value()); });
    Check(before);
    for (const auto& member : chain_.members()) {
      const uint32_t target = member.target_id();
      if (member.state() == proto::SERVING) {
        for (const auto& old : before.members()) {
          if (old.target_id() == target && old.state() == proto::SYNCING)
            commits_[target] = newest_;
        }
      }
      // A report from the state before does not count in the new one.
      if (chain_.version() != before.version() && health_[target] == Health::kComplete) {
        health_[target] = Health::kUp;
      }
      if (health_[target] == Health::kRestarted && member.state() != proto::SERVING) {
        health_[target] = Health::kUp;
      }
    }
    for (const auto& member : chain_.members()) {
      if (member.state() == proto::SERVING) {
        ASSERT_EQ(commits_[member.target_id()], newest_) << "serves without every commit";
      }
    }
  }

  void Commit() {
    bool committed = false;
    for (const auto& member : chain_.members()) committed |= member.state() == proto::SERVING;
    if (!committed) return;
    ++newest_;
    for (const auto& member : chain_.members()) {
      if (member.state() == proto::SERVING) commits_[member.target_id()] = newest_;
    }
  }

  void Check(const proto::Chain& before) {
    int serving = 0, last = 0, syncing = 0;
    for (int i = 0; i < chain_.members_size(); ++i) {
      const proto::TargetState state = chain_.members(i).state();
      serving += state == proto::SERVING;
      last += state == proto::LAST_SERVING;
      syncing += state == proto::SYNCING;
      if (i > 0) {
        ASSERT_LE(Rank(chain_.members(i - 1).state()), Rank(state));
      }
    }
    ASSERT_LE(syncing, 1);
    ASSERT_TRUE(syncing == 0 || serving > 0);
    ASSERT_TRUE((serving > 0) != (last > 0));
    bool undecided = false;
    for (const auto& old : before.members()) {
      undecided |= old.state() == proto::SERVING && health_.at(old.target_id()) == Health::kUnknown;
    }
    for (const auto& old : before.members()) {
      const proto::TargetState state = StateOf(old.target_id());
      if (health_.at(old.target_id()) != Health::kRestarted) continue;
      ASSERT_NE(state, proto::SYNCING) << "went on";
      ASSERT_TRUE(state != proto::SERVING || undecided) << "went on";
    }
    const bool changed = StatesOf(before) != StatesOf(chain_);
    ASSERT_EQ(chain_.version(), before.version() + (changed ? 1 : 0));
  }

  std::mt19937_64 random_;
  proto::Chain chain_;
  std::map<uint32_t, Health> health_;
  std::map<uint32_t, uint64_t> commits_;
  uint64_t newest_ = 0;
};

TEST(TransitionsTest, WhoIsCutOffFromAMemberThatServesDoesNotCatchUp) {
  EXPECT_EQ(After({{1, proto::SERVING}, {2, proto::SYNCING}, {3, proto::WAITING}},
                  {{1, Health::kUp}, {2, Health::kCutOff}, {3, Health::kUp}}),
            (States{{1, proto::SERVING}, {3, proto::SYNCING}, {2, proto::WAITING}}));
  const States waiting = {{1, proto::SERVING}, {2, proto::WAITING}};
  EXPECT_EQ(After(waiting, {{1, Health::kUp}, {2, Health::kCutOff}}), waiting);
  EXPECT_EQ(After({{1, proto::SERVING}, {2, proto::OFFLINE}},
                  {{1, Health::kUp}, {2, Health::kCutOff}}),
            waiting);
}

TEST(TransitionsTest, WhoServesOrDidLastIsNotGivenUpForBeingCutOff) {
  const States serving = {{1, proto::SERVING}, {2, proto::SERVING}};
  EXPECT_EQ(After(serving, {{1, Health::kUp}, {2, Health::kCutOff}}), serving);
  EXPECT_EQ(After({{1, proto::LAST_SERVING}, {2, proto::LAST_SERVING}},
                  {{1, Health::kGone}, {2, Health::kCutOff}}),
            (States{{2, proto::SERVING}, {1, proto::OFFLINE}}));
  EXPECT_EQ(After({{1, proto::LAST_SERVING}, {2, proto::LAST_SERVING}},
                  {{1, Health::kCutOff}, {2, Health::kUp}}),
            (States{{2, proto::SERVING}, {1, proto::WAITING}}))
      << "rather one that is not";
}

TEST(TransitionsTest, RandomWalksKeepTheInvariantsAndHeal) {
  const uint64_t seed = Seed();
  std::cout << "SHEAF_SEED=" << seed << std::endl;
  for (uint32_t size = 1; size <= 5; ++size) {
    for (uint64_t walk = 0; walk < 200; ++walk) {
      RandomWalk chain(seed + walk, size);
      for (int step = 0; step < 100 && !::testing::Test::HasFatalFailure(); ++step) chain.Step();
      chain.Heal();
      ASSERT_FALSE(::testing::Test::HasFatalFailure());
    }
  }
}

}  // namespace
}  // namespace sheaf::meta
