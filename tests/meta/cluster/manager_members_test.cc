#include <gtest/gtest.h>

#include "meta/cluster/membership.h"
#include "tests/meta/cluster/manager_state_fixture.h"

namespace sheaf::meta {
namespace {

using std::chrono::milliseconds;

// Nodes a, b and so on, which are 1, 2 and so on, with a target of the same number each and one
// more disk, which is in no chain.
class ManagerMembersTest : public ManagerStateTest {
 protected:
  void Start(uint32_t nodes) {
    for (nodes_ = 0; nodes_ < nodes;) {
      proto::RegisterNodeRequest request = Disk(++nodes_, "disk", "first");
      request.mutable_targets()->RemoveLast();
      Register(request);
    }
    for (uint32_t node = 1; node <= nodes; ++node) Register(Disk(node, "disk", "first"));
  }
  static std::string Name(uint32_t node) {
    return std::string(1, static_cast<char>('a' + node - 1));
  }
  // The node's server as another process, with this disk.
  static proto::RegisterNodeRequest Disk(uint32_t node, const std::string& disk,
                                         const std::string& process) {
    proto::RegisterNodeRequest request = Process(Name(node), process);
    request.mutable_addresses()->set_framed("10.0.0." + std::to_string(node) + ":7710");
    request.mutable_targets(0)->set_uuid(Name(node) + "-" + disk);
    request.mutable_targets(0)->set_place("/mnt/1");
    request.mutable_targets(0)->set_state(proto::UP_TO_DATE);
    *request.add_targets() = request.targets(0);
    request.mutable_targets(1)->set_uuid(Name(node) + "-other");
    request.mutable_targets(1)->set_place("/mnt/0");
    return request;
  }
  void BeatAll() {
    for (uint32_t node = 1; node <= nodes_; ++node) {
      if (node == silent_) continue;
      const uint64_t known = node == stale_ ? stale_version_ : state_.version().value();
      ASSERT_TRUE(Beat(node, Name(node), known, proto::UP_TO_DATE).ok());
    }
  }
  // What is said of who syncs makes it serve, until nothing changes any more.
  void CatchUp() {
    for (int turn = 0; turn < 20; ++turn) {
      clock_.Advance(kLeases.heartbeat);
      BeatAll();
      const proto::Chain chain = Chain();
      for (const proto::ChainMember& member : chain.members()) {
        if (member.state() != proto::SYNCING) continue;
        proto::ChainReport report;
        report.set_chain_id(1);
        report.set_chain_version(chain.version());
        report.set_complete(true);
        ASSERT_TRUE(Beat(member.target_id(), Name(member.target_id()), &report).ok());
      }
      Settle();
    }
  }
  // As CatchUp, but that this node hears nothing of it.
  void CatchUpUnknownTo(uint32_t node) {
    stale_ = node;
    stale_version_ = state_.version().value();
    CatchUp();
  }
  void MakeChainOf(const std::vector<proto::TargetState>& states) {
    MakeChain(states);
    BeatAll();
  }
  Status Apply(const ManagerState::Change& change) {
    if (change.ok() && change->has_value()) state_.Apply(**change);
    return change.status();
  }
  Status Drain(uint32_t node, bool undo = false) {
    proto::DrainNodeRequest request;
    request.set_node_id(node);
    request.set_undo(undo);
    return Apply(state_.PlanDrain(request, clock_.Now()));
  }
  // Target 1, of a chain of two.
  void DrainOneOfThree() {
    Start(3);
    MakeChainOf({proto::SERVING, proto::SERVING});
    ASSERT_TRUE(Drain(1).ok());
  }
  Status Replace(uint32_t from, uint32_t to, bool accept_loss = false) {
    proto::ReplaceTargetRequest request;
    request.set_old_id(from);
    request.set_new_id(to);
    request.set_accept_loss(accept_loss);
    return Apply(state_.PlanReplaceTarget(request, clock_.Now()));
  }
  Status Reset(uint32_t target) {
    proto::ResetChainRequest request;
    request.set_chain_id(1);
    request.set_target_id(target);
    return Apply(state_.PlanResetChain(request, clock_.Now()));
  }
  void GoDown(uint32_t node) {
    silent_ = node;
    for (int turn = 0; turn < 8; ++turn) {
      clock_.Advance(kLeases.heartbeat);
      BeatAll();
      Settle();
    }
  }

  uint32_t nodes_ = 0;
  uint32_t silent_ = 0;  // sends no heartbeats
  uint32_t stale_ = 0;   // gets no maps
  uint64_t stale_version_ = 0;
};

// ---- disks that are replaced ----

TEST_F(ManagerMembersTest, ADiskThatWasReplacedKeepsItsTargetAndCatchesUp) {
  Start(2);
  MakeChainOf({proto::SERVING, proto::SERVING});
  const uint32_t version = Chain().version();
  const auto response = Register(Disk(1, "new", "second"));
  EXPECT_EQ(response.target_ids(0), 1u);
  EXPECT_EQ(state_.Map().targets_size(), 4);
  EXPECT_EQ(state_.Map().targets(0).uuid(), "a-new");
  EXPECT_EQ(Chain().version(), version + 1) << "in the change that takes it in";
  EXPECT_EQ(States(), "2 SERVING 1 OFFLINE");
  CatchUp();
  EXPECT_EQ(States(), "2 SERVING 1 SERVING");
}

// Nothing of what it was is left.
proto::RegisterNodeRequest WithAllDisksNew(proto::RegisterNodeRequest request) {
  request.set_uuid("new-" + request.uuid());
  for (proto::TargetReport& target : *request.mutable_targets())
    target.set_uuid("new-" + target.uuid());
  return request;
}

TEST_F(ManagerMembersTest, AServerAllOfWhoseDisksAreNewIsKnownByItsPlaceOnceTheOneBeforeIsOver) {
  Start(2);
  MakeChainOf({proto::SERVING, proto::SERVING});
  const proto::RegisterNodeRequest request = WithAllDisksNew(Disk(1, "disk", "second"));
  EXPECT_FALSE(state_.MayRegister(request, clock_.Now())) << "its lease still runs";
  GoDown(1);
  const auto response = Register(request);
  EXPECT_EQ(response.node_id(), 1u);
  EXPECT_EQ(response.target_ids(0), 1u);
  EXPECT_EQ(state_.Map().nodes_size(), 2);
  EXPECT_EQ(state_.Map().nodes(0).uuid(), "new-a");
  EXPECT_EQ(States(), "2 SERVING 1 OFFLINE") << "what it held is lost";
}

TEST_F(ManagerMembersTest, AServerAllOfWhoseDisksAreNewIsAnotherOneElsewhere) {
  Start(2);
  MakeChainOf({proto::SERVING, proto::SERVING});
  GoDown(1);
  proto::RegisterNodeRequest other = WithAllDisksNew(Disk(1, "disk", "second"));
  other.mutable_addresses()->set_framed("10.0.0.7:7710");
  EXPECT_EQ(Register(other).node_id(), 3u) << "another address";
  other = WithAllDisksNew(WithAllDisksNew(Disk(1, "disk", "third")));
  for (proto::TargetReport& target : *other.mutable_targets())
    target.set_place(target.place() + "/elsewhere");
  EXPECT_EQ(Register(other).node_id(), 4u) << "other paths";
}

TEST_F(ManagerMembersTest, AServerAllOfWhoseDisksAreNewIsNotTheOneThatWasDrained) {
  DrainOneOfThree();
  CatchUp();
  GoDown(1);
  EXPECT_EQ(Register(WithAllDisksNew(Disk(1, "disk", "second"))).node_id(), 4u);
}

TEST_F(ManagerMembersTest, ADiskThatWasReplacedLosesWhatItHeldWhateverItsState) {
  Start(3);
  MakeChainOf({proto::SERVING, proto::SYNCING, proto::WAITING});
  Register(Disk(3, "new", "second"));
  EXPECT_EQ(States(), "1 SERVING 2 SYNCING 3 OFFLINE");
  Register(Disk(2, "new", "second"));
  EXPECT_EQ(States(), "1 SERVING 3 WAITING 2 OFFLINE");
}

TEST_F(ManagerMembersTest, NobodyResumesAChainWhoseLastDiskWasReplaced) {
  Start(2);
  MakeChainOf({proto::SERVING, proto::OFFLINE});
  Register(Disk(1, "new", "second"));
  CatchUp();
  EXPECT_EQ(States(), "2 WAITING 1 WAITING");
  EXPECT_EQ(Chain().members(1).lost_uuid(), "a-disk");
  Register(Disk(1, "third", "third"));
  CatchUp();
  EXPECT_EQ(Chain().members(1).lost_uuid(), "a-disk") << "still the one that held everything";
  EXPECT_EQ(States(), "2 WAITING 1 WAITING");
}

TEST_F(ManagerMembersTest, TheDiskThatHeldEverythingResumesTheChain) {
  Start(2);
  MakeChainOf({proto::SERVING, proto::OFFLINE});
  Register(Disk(1, "new", "second"));
  CatchUp();
  Register(Disk(1, "disk", "third"));
  CatchUp();
  EXPECT_EQ(States(), "1 SERVING 2 SERVING");
  EXPECT_TRUE(Chain().members(0).lost_uuid().empty());
}

TEST_F(ManagerMembersTest, ALostDiskThatOthersHaveGoneOnWithoutResumesNothing) {
  Start(2);
  MakeChainOf({proto::LAST_SERVING, proto::LAST_SERVING});
  Register(Disk(1, "new", "second"));
  EXPECT_EQ(States(), "2 LAST_SERVING 1 OFFLINE");
  Settle();
  EXPECT_EQ(States(), "2 SERVING 1 SYNCING");
  Register(Disk(1, "third", "third"));
  Register(Disk(2, "disk", "second"));
  ASSERT_EQ(States(), "2 LAST_SERVING 1 WAITING");
  Register(Disk(1, "disk", "fourth"));
  EXPECT_EQ(States(), "2 LAST_SERVING 1 OFFLINE") << "others have committed without it";
}

TEST_F(ManagerMembersTest, ADiskAtAnotherPlaceIsAnotherTarget) {
  Start(1);
  proto::RegisterNodeRequest request = Disk(1, "disk", "second");
  *request.add_targets() = request.targets(0);
  request.mutable_targets(2)->set_uuid("a-third");
  request.mutable_targets(2)->set_place("/mnt/2");
  EXPECT_EQ(Register(request).target_ids(2), 3u);
  // Disks that have changed places are the same ones.
  request.set_process("third");
  request.mutable_targets(0)->set_place("/mnt/2");
  request.mutable_targets(2)->set_place("/mnt/1");
  const auto response = Register(request);
  EXPECT_EQ(response.target_ids(0), 1u);
  EXPECT_EQ(response.target_ids(2), 3u);
  EXPECT_EQ(state_.Map().targets(0).place(), "/mnt/2");
  EXPECT_EQ(state_.Map().targets_size(), 3);
}

TEST_F(ManagerMembersTest, ADiskThatIsElsewhereOnItsNodeWasNotReplaced) {
  Start(2);
  MakeChainOf({proto::SERVING, proto::SERVING});
  proto::RegisterNodeRequest request = Disk(1, "disk", "second");
  *request.add_targets() = request.targets(0);
  request.mutable_targets(0)->set_place("/mnt/2");
  request.mutable_targets(2)->set_uuid("a-new");
  EXPECT_EQ(state_.CheckRegister(request)->targets, 1u) << "the new one is a target of its own";
  const auto response = Register(request);
  EXPECT_EQ(response.target_ids(0), 1u);
  EXPECT_EQ(response.target_ids(2), 5u);
}

TEST_F(ManagerMembersTest, ADiskOfAnotherNodeTakesNoPlace) {
  Start(2);
  MakeChainOf({proto::SERVING, proto::SERVING});
  proto::RegisterNodeRequest other = Disk(3, "disk", "first");
  EXPECT_EQ(Register(other).target_ids(0), 5u) << "at the same path on another host";
  GoDown(2);
  // One that is known moves with its id; the place is its own now, and the one before has none.
  proto::RegisterNodeRequest moved = Disk(1, "disk", "second");
  moved.mutable_targets(0)->set_uuid("b-disk");
  EXPECT_EQ(Register(moved).target_ids(0), 2u);
  EXPECT_EQ(state_.Map().targets(0).place(), "");
  EXPECT_EQ(state_.Map().targets(0).uuid(), "a-disk");
}

// Each half of a node's disks would be the node.
TEST_F(ManagerMembersTest, DisksOfANodeThatIsElsewhereWaitUntilThatIsOver) {
  Start(2);
  MakeChainOf({proto::SERVING, proto::SERVING});
  proto::RegisterNodeRequest half = Disk(1, "disk", "second");
  half.mutable_targets()->RemoveLast();
  Register(half);
  CatchUp();
  proto::RegisterNodeRequest other = Disk(1, "disk", "third");
  other.mutable_targets()->DeleteSubrange(0, 1);
  EXPECT_FALSE(state_.MayRegister(other, clock_.Now()));
  EXPECT_TRUE(Beat(1, "a").ok()) << "the one that serves is not disturbed";
  GoDown(1);
  EXPECT_TRUE(state_.MayRegister(other, clock_.Now()));
}

// Its lock holds on its own machine; the server that it was pulled out of still has the others.
TEST_F(ManagerMembersTest, ADiskThatWasPulledOutOfAServerWaitsForItsLease) {
  Start(2);
  MakeChainOf({proto::SERVING, proto::SERVING});
  proto::RegisterNodeRequest pulled = Disk(1, "disk", "second");
  pulled.mutable_targets()->RemoveLast();
  pulled.mutable_addresses()->set_boot_id("another machine");
  EXPECT_FALSE(state_.MayRegister(pulled, clock_.Now()));
  EXPECT_TRUE(Beat(1, "a").ok()) << "the one that serves is not disturbed";
  GoDown(1);
  EXPECT_TRUE(state_.MayRegister(pulled, clock_.Now()));
}

TEST_F(ManagerMembersTest, ADiskTakesNoPlaceOfWhichNobodyKnowsWhatWasThere) {
  proto::RegisterNodeRequest before = Process("a", "first");  // from before places were told
  EXPECT_EQ(Register(before).target_ids(0), 1u);
  MakeChain({proto::SERVING});
  proto::RegisterNodeRequest request = Disk(1, "new", "second");
  EXPECT_EQ(state_.CheckRegister(request)->targets, 2u);
  request = Disk(1, "disk", "second");
  EXPECT_EQ(Register(request).target_ids(0), 1u);
  EXPECT_EQ(state_.Map().targets(0).place(), "/mnt/1");
  EXPECT_EQ(Register(Disk(1, "new", "third")).target_ids(0), 1u);
}

TEST_F(ManagerMembersTest, RefusesPlacesItCannotTakeIn) {
  Start(1);
  proto::RegisterNodeRequest request = Disk(1, "disk", "second");
  request.mutable_targets(1)->set_place("/mnt/1");
  EXPECT_EQ(state_.CheckRegister(request).status().code(), Code::kInvalid) << "twice";
  request = Disk(1, "disk", "second");
  request.mutable_targets(0)->set_place(std::string(kMaxPlaceLength + 1, 'x'));
  EXPECT_EQ(state_.CheckRegister(request).status().code(), Code::kInvalid);
  EXPECT_EQ(state_.CheckRegister(Disk(1, "new", "first")).status().code(), Code::kInvalid)
      << "in the same process";
}

// ---- one target for another ----

TEST_F(ManagerMembersTest, ATargetTakesThePlaceOfOneThatIsGone) {
  Start(3);
  MakeChainOf({proto::SERVING, proto::SERVING});
  EXPECT_EQ(Replace(2, 3).code(), Code::kInvalid) << "in service";
  GoDown(2);
  ASSERT_TRUE(Replace(2, 3).ok());
  EXPECT_EQ(States(), "1 SERVING 3 OFFLINE");
  CatchUp();
  EXPECT_EQ(States(), "1 SERVING 3 SERVING");
}

TEST_F(ManagerMembersTest, ReplacementsThatCannotBeAreRefused) {
  Start(3);
  MakeChainOf({proto::SERVING, proto::SERVING});
  EXPECT_EQ(Replace(9, 3).code(), Code::kNotFound);
  EXPECT_EQ(Replace(2, 9).code(), Code::kNotFound);
  GoDown(2);
  EXPECT_EQ(Replace(2, 2).code(), Code::kInvalid);
  const Status refused = Replace(2, 4);
  EXPECT_EQ(refused.code(), Code::kInvalid);
  EXPECT_NE(refused.message().find("node 1"), std::string::npos) << refused.message();
  EXPECT_EQ(Replace(3, 2).code(), Code::kInvalid) << "not up";
}

TEST_F(ManagerMembersTest, TheLastThatHoldsAChainIsReplacedOnlyByOneWhoAcceptsTheLoss) {
  Start(2);
  MakeChainOf({proto::SERVING});
  GoDown(1);
  ASSERT_EQ(States(), "1 LAST_SERVING");
  EXPECT_EQ(Replace(1, 2).code(), Code::kInvalid);
  EXPECT_EQ(States(), "1 LAST_SERVING");
  ASSERT_TRUE(Replace(1, 2, /*accept_loss=*/true).ok());
  CatchUp();
  EXPECT_EQ(States(), "2 WAITING") << "it serves nothing by itself";
  ASSERT_TRUE(Reset(2).ok());
  CatchUp();
  EXPECT_EQ(States(), "2 SERVING");
}

TEST_F(ManagerMembersTest, OneThatHoldsAChainStaysUntilAnotherServesIt) {
  Start(3);
  GoDown(1);
  MakeChain({proto::LAST_SERVING, proto::LAST_SERVING});
  EXPECT_EQ(Replace(1, 3).code(), Code::kInvalid) << "the other may never come back";
  CatchUp();
  ASSERT_EQ(States(), "2 SERVING 1 OFFLINE");
  ASSERT_TRUE(Replace(1, 3).ok());
  EXPECT_EQ(States(), "2 SERVING 3 OFFLINE");
}

TEST_F(ManagerMembersTest, TheDiskThatHeldEverythingResumesTheChainWhereverItIsPut) {
  Start(2);
  MakeChainOf({proto::SERVING});
  GoDown(1);
  ASSERT_TRUE(Replace(1, 2, /*accept_loss=*/true).ok());
  EXPECT_EQ(Chain().members(0).lost_uuid(), "a-disk");
  GoDown(2);
  Register(Disk(1, "disk", "second"));
  ASSERT_TRUE(Replace(2, 1).ok());
  EXPECT_EQ(States(), "1 LAST_SERVING");
  CatchUp();
  EXPECT_EQ(States(), "1 SERVING");
}

// ---- accepting a loss ----

TEST_F(ManagerMembersTest, AChainThatNobodyHoldsGoesOnWithWhatItIsToldTo) {
  Start(3);
  MakeChainOf({proto::SERVING, proto::OFFLINE, proto::OFFLINE});
  EXPECT_EQ(Reset(2).code(), Code::kInvalid) << "it serves";
  Register(Disk(1, "new", "second"));
  CatchUp();
  EXPECT_EQ(Reset(4).code(), Code::kInvalid) << "no member";
  ASSERT_TRUE(Reset(2).ok());
  EXPECT_EQ(States(), "2 LAST_SERVING 3 WAITING 1 WAITING");
  Register(Disk(1, "disk", "third"));
  EXPECT_EQ(States(), "2 LAST_SERVING 3 WAITING 1 OFFLINE") << "what it held counts no more";
  CatchUp();
  EXPECT_EQ(States().substr(0, 9), "2 SERVING");
}

// ---- draining ----

TEST_F(ManagerMembersTest, ADrainedNodeGivesUpItsPlaceOnceAnotherServes) {
  DrainOneOfThree();
  EXPECT_EQ(state_.Map().nodes(0).state(), proto::NODE_DRAINING);
  EXPECT_EQ(States(), "1 SERVING 2 SERVING 3 OFFLINE");
  EXPECT_EQ(state_.ChainsOn(NodeId(1)), 1u);
  CatchUp();
  EXPECT_EQ(States(), "2 SERVING 3 SERVING");
  EXPECT_EQ(state_.ChainsOn(NodeId(1)), 0u);
  EXPECT_EQ(state_.Map().nodes(0).state(), proto::NODE_DRAINING);
  GoDown(1);
  EXPECT_EQ(States(), "2 SERVING 3 SERVING");
}

TEST_F(ManagerMembersTest, AMemberIsRemovedOnceItsNodeKnowsThatItLeaves) {
  DrainOneOfThree();
  CatchUpUnknownTo(1);
  EXPECT_EQ(States(), "1 SERVING 2 SERVING 3 SERVING") << "it may answer reads";
  EXPECT_TRUE(Chain().members(0).leaving());
  stale_ = 0;
  CatchUp();
  EXPECT_EQ(States(), "2 SERVING 3 SERVING");
}

TEST_F(ManagerMembersTest, AMemberThatLeavesIsCalledBackWhenItIsNeeded) {
  DrainOneOfThree();
  CatchUpUnknownTo(1);
  ASSERT_TRUE(Chain().members(0).leaving());
  GoDown(3);
  EXPECT_EQ(States(), "1 SERVING 2 SERVING 3 OFFLINE");
  EXPECT_FALSE(Chain().members(0).leaving());
}

TEST_F(ManagerMembersTest, AMemberStaysWhileTheOthersAreNotHeard) {
  DrainOneOfThree();
  CatchUpUnknownTo(1);
  stale_ = 0;
  clock_.Advance(kLeases.overdue() + milliseconds(1));
  ASSERT_TRUE(Beat(1, "a").ok());
  ASSERT_TRUE(Beat(2, "b").ok());
  Settle();
  EXPECT_EQ(States(), "1 SERVING 2 SERVING 3 SERVING") << "the third may be gone";
  ASSERT_TRUE(Beat(3, "c").ok());
  Settle();
  EXPECT_EQ(States(), "2 SERVING 3 SERVING");
}

TEST_F(ManagerMembersTest, NothingChangesWhereThereIsNowhereToGo) {
  Start(2);
  MakeChainOf({proto::SERVING, proto::SERVING});
  const MapVersion before = state_.version();
  const Status refused = Drain(1);
  EXPECT_EQ(refused.code(), Code::kInvalid);
  EXPECT_NE(refused.message().find("add a storage server"), std::string::npos);
  EXPECT_EQ(state_.version(), before);
  EXPECT_EQ(Drain(9).code(), Code::kNotFound);
}

TEST_F(ManagerMembersTest, NothingIsMovedToWhereThereIsNoRoom) {
  Start(4);
  MakeChainOf({proto::SERVING, proto::SERVING});
  proto::HeartbeatRequest full;
  full.set_node_id(3);
  full.set_uuid("c");
  full.set_process("first");
  proto::TargetReport* target = full.add_targets();
  target->set_id(3);
  target->set_state(proto::UP_TO_DATE);
  target->set_used_bytes(901);
  target->set_total_bytes(1000);
  GoDown(4);
  ASSERT_TRUE(state_.Heartbeat(full, clock_.Now()).ok());
  const Status refused = Drain(1);
  EXPECT_EQ(refused.code(), Code::kInvalid);
  EXPECT_NE(refused.message().find("100 bytes free"), std::string::npos) << refused.message();
  target->set_used_bytes(900);
  ASSERT_TRUE(state_.Heartbeat(full, clock_.Now()).ok());
  EXPECT_TRUE(Drain(1).ok());
}

TEST_F(ManagerMembersTest, DrainingGoesOnUnderAnotherManager) {
  DrainOneOfThree();
  const auto restart = [this] { state_ = ManagerState(kLeases, state_.Map(), clock_.Now()); };
  restart();
  EXPECT_EQ(States(), "1 SERVING 2 SERVING 3 OFFLINE");
  CatchUpUnknownTo(1);
  ASSERT_TRUE(Chain().members(0).leaving());
  restart();
  clock_.Advance(kLeases.surely_over());
  Settle();
  EXPECT_TRUE(HasMember(Chain(), TargetId(1))) << "nobody has told this manager what it knows";
  stale_ = 0;
  CatchUp();
  EXPECT_EQ(States(), "2 SERVING 3 SERVING");
  EXPECT_EQ(state_.Map().nodes(0).state(), proto::NODE_DRAINING);
}

TEST_F(ManagerMembersTest, TheLastThatHoldsAChainIsDrainedOnceItIsBack) {
  Start(2);
  MakeChainOf({proto::SERVING});
  GoDown(1);
  ASSERT_TRUE(Drain(1).ok());
  CatchUp();
  EXPECT_EQ(States(), "1 LAST_SERVING 2 WAITING");
  silent_ = 0;
  CatchUp();
  EXPECT_EQ(States(), "2 SERVING");
}

TEST_F(ManagerMembersTest, AFenceCountsOnceARemovedNodeKnowsThatItIs) {
  DrainOneOfThree();
  CatchUp();
  ASSERT_EQ(States(), "2 SERVING 3 SERVING");
  stale_ = 1;
  stale_version_ = state_.version().value() - 1;  // as it was told to leave
  state_.Apply(*state_.PlanFence(FencedRanges({}, 4)));
  clock_.Advance(kLeases.heartbeat);
  BeatAll();
  EXPECT_FALSE(state_.FenceOver(clock_.Now()));
  clock_.Advance(kLeases.surely_over());
  EXPECT_TRUE(state_.FenceOver(clock_.Now())) << "it gets no lease, and is in no chain";
}

TEST_F(ManagerMembersTest, ANodeThatIsDrainedNoLongerKeepsOrGetsItsPlace) {
  DrainOneOfThree();
  BeatAll();
  Settle();
  ASSERT_EQ(States(), "1 SERVING 2 SERVING 3 SYNCING");
  ASSERT_TRUE(Drain(1, /*undo=*/true).ok());
  EXPECT_EQ(state_.Map().nodes(0).state(), proto::NODE_UP);
  CatchUp();
  EXPECT_EQ(States(), "1 SERVING 2 SERVING");
}

TEST_F(ManagerMembersTest, ANodeThatIsGoneIsDrainedAsWell) {
  Start(3);
  MakeChainOf({proto::SERVING, proto::SERVING});
  GoDown(1);
  ASSERT_TRUE(Drain(1).ok());
  CatchUp();
  EXPECT_EQ(States(), "2 SERVING 3 SERVING");
}

TEST_F(ManagerMembersTest, NewMembersAreNotPutOnNodesThatAreDrained) {
  Start(3);
  MakeChainOf({proto::SERVING});
  ASSERT_TRUE(Drain(2).ok());
  ASSERT_TRUE(Drain(1).ok());
  EXPECT_EQ(States(), "1 SERVING 3 OFFLINE");
  proto::CreateChainsRequest request;
  request.set_replicas(2);
  EXPECT_EQ(state_.PlaceNewChains(request, clock_.Now()).status().code(), Code::kInvalid);
  EXPECT_EQ(Replace(1, 2).code(), Code::kInvalid);
}

TEST_F(ManagerMembersTest, ATargetIsNamedForOneOfANodeThatDrains) {
  Start(4);
  MakeChainOf({proto::SERVING, proto::SERVING});
  GoDown(3);
  silent_ = 0;
  ASSERT_TRUE(Drain(1).ok());
  EXPECT_EQ(States(), "1 SERVING 2 SERVING 4 OFFLINE");
  BeatAll();
  ASSERT_TRUE(Replace(1, 3).ok()) << "another takes it already";
  EXPECT_EQ(States(), "1 SERVING 2 SERVING 4 OFFLINE");
}

}  // namespace
}  // namespace sheaf::meta
