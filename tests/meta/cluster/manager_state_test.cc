#include "meta/cluster/manager_state.h"

#include <gtest/gtest.h>

#include "tests/meta/cluster/manager_state_fixture.h"

namespace sheaf::meta {
namespace {

using std::chrono::milliseconds;

TEST_F(ManagerStateTest, RegistrationGivesIdsOnceAndForAll) {
  const auto first = Register(NodeRequest("a"));
  EXPECT_EQ(first.node_id(), 1u);
  EXPECT_EQ(first.target_ids(0), 1u);
  EXPECT_EQ(first.cluster_uuid(), "the-cluster");
  EXPECT_EQ(Register(NodeRequest("b")).node_id(), 2u);
  const MapVersion before = state_.version();
  EXPECT_EQ(Register(NodeRequest("a")).node_id(), 1u);
  EXPECT_EQ(state_.version(), before) << "the same registration again changes nothing";
}

TEST_F(ManagerStateTest, RegistrationAgainUpdatesAddressesAndAddsTargets) {
  Register(NodeRequest("a"));
  proto::RegisterNodeRequest request = NodeRequest("a");
  request.mutable_addresses()->set_framed("10.0.0.9:7710");
  request.add_targets()->set_uuid("second-disk");
  const auto response = Register(request);
  EXPECT_EQ(response.node_id(), 1u);
  EXPECT_EQ(response.target_ids(1), 2u);
  const proto::ClusterMap map = state_.Map();
  ASSERT_EQ(map.nodes_size(), 1);
  EXPECT_EQ(map.nodes(0).addresses().framed(), "10.0.0.9:7710");
  EXPECT_EQ(map.targets_size(), 2);
}

TEST_F(ManagerStateTest, RefusesRegistrationsItCannotTakeIn) {
  proto::RegisterNodeRequest request = NodeRequest("a");
  request.set_cluster_uuid("another");
  EXPECT_EQ(state_.CheckRegister(request).status().code(), Code::kInvalid);
  request = NodeRequest("a");
  request.mutable_addresses()->clear_framed();
  EXPECT_EQ(state_.CheckRegister(request).status().code(), Code::kInvalid);
  // Clients refuse a map with an address that they cannot read, all of it.
  for (const char* address : {"no port", "::1:7710", "unix:/run/a.sock", "host:"}) {
    request = NodeRequest("a");
    request.mutable_addresses()->set_framed(address);
    EXPECT_EQ(state_.CheckRegister(request).status().code(), Code::kInvalid) << address;
  }
  request = NodeRequest("a");
  *request.add_targets() = request.targets(0);
  EXPECT_EQ(state_.CheckRegister(request).status().code(), Code::kInvalid);
  request = NodeRequest("a");
  request.set_failure_domain(std::string(kMaxAddressLength + 1, 'x'));
  EXPECT_EQ(state_.CheckRegister(request).status().code(), Code::kInvalid);
}

TEST_F(ManagerStateTest, RefusesADiskThatServesElsewhere) {
  Register(NodeRequest("a"));
  proto::RegisterNodeRequest thief = NodeRequest("b");
  thief.mutable_targets(0)->set_uuid("a-disk");
  EXPECT_EQ(state_.CheckRegister(thief).status().code(), Code::kInvalid);
  clock_.Advance(kLeases.surely_over());
  Settle();
  EXPECT_EQ(Register(thief).target_ids(0), 1u) << "a dead node's disk may move";
  EXPECT_EQ(state_.Map().targets(0).node_id(), 2u);
}

TEST_F(ManagerStateTest, HeartbeatOfAStrangerMustRegister) {
  EXPECT_EQ(Beat(1, "a", 1, proto::ONLINE).status().code(), Code::kNotFound);
  Register(NodeRequest("a"));
  EXPECT_EQ(Beat(1, "b", 1, proto::ONLINE).status().code(), Code::kNotFound);
  auto answer = Beat(1, "a", 1, proto::ONLINE);
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->lease_ms(), 2000u);
  EXPECT_EQ(answer->map_version(), state_.version().value());
}

TEST_F(ManagerStateTest, ChainsAreMadeOverWorkingTargetsOnly) {
  proto::CreateChainsRequest request;
  request.set_replicas(1);
  EXPECT_EQ(state_.PlaceNewChains(request, clock_.Now()).status().code(), Code::kUnavailable);
  Register(NodeRequest("a"));
  Register(NodeRequest("b"));
  Register(NodeRequest("c"));
  ASSERT_TRUE(Beat(2, "b", 1, proto::FAILED).ok());
  CreateChains(4);
  const proto::ClusterMap map = state_.Map();
  EXPECT_EQ(map.chains_size(), 8);
  EXPECT_EQ(map.tables(0).chain_ids_size(), 8);
  for (const auto& chain : map.chains()) EXPECT_NE(chain.members(0).target_id(), 2u);
}

TEST_F(ManagerStateTest, MakingTheSameChainsAgainAnswersThoseThereAre) {
  Register(NodeRequest("a"));
  proto::CreateChainsRequest request;
  request.set_replicas(1);
  EXPECT_FALSE(state_.FindChains(request)->has_value());
  CreateChains(8);
  auto found = state_.FindChains(request);
  ASSERT_TRUE(found.ok() && found->has_value());
  EXPECT_EQ((*found)->table_version(), 1u);
  EXPECT_EQ((*found)->chains(), 8u);
  request.set_replicas(3);
  EXPECT_EQ(state_.FindChains(request).status().code(), Code::kExists);
}

TEST_F(ManagerStateTest, MoreReplicasThanNodesAreRefusedWithTheNumber) {
  Register(NodeRequest("a"));
  Register(NodeRequest("b"));
  proto::CreateChainsRequest request;
  request.set_replicas(3);
  EXPECT_FALSE(state_.FindChains(request)->has_value());
  const Status refused = state_.PlaceNewChains(request, clock_.Now()).status();
  EXPECT_EQ(refused.code(), Code::kInvalid);
  EXPECT_NE(refused.message().find("there are 2"), std::string::npos) << refused.message();
  request.set_replicas(2);
  EXPECT_EQ(state_.PlaceNewChains(request, clock_.Now())->front().size(), 2u);
}

TEST_F(ManagerStateTest, NodeGoesDownWhenItsLeaseHasSurelyRunOutAndComesBack) {
  Register(NodeRequest("a"));
  CreateChains(2);
  ASSERT_TRUE(Beat(1, "a", state_.version().value(), proto::UP_TO_DATE).ok());
  clock_.Advance(kLeases.lease);
  EXPECT_EQ(Settle(), 0) << "the lease may still run by the node's clock";
  clock_.Advance(kLeases.surely_over() - kLeases.lease);
  EXPECT_EQ(Settle(), 1);
  proto::ClusterMap map = state_.Map();
  EXPECT_EQ(map.nodes(0).state(), proto::NODE_DOWN);
  EXPECT_EQ(map.targets(0).state(), proto::LAST_SERVING);
  EXPECT_EQ(map.chains(0).version(), 2u);

  ASSERT_TRUE(Beat(1, "a", state_.version().value(), proto::UP_TO_DATE).ok());
  EXPECT_EQ(Settle(), 1);
  map = state_.Map();
  EXPECT_EQ(map.nodes(0).state(), proto::NODE_UP);
  EXPECT_EQ(map.targets(0).state(), proto::SERVING);
  EXPECT_EQ(map.chains(0).version(), 3u);
}

TEST_F(ManagerStateTest, NoLeaseForANodeThatActsOnTheChainsAsTheyWere) {
  Register(NodeRequest("a"));
  CreateChains(1);
  const uint64_t old_version = state_.version().value();
  clock_.Advance(kLeases.surely_over());
  auto change = state_.PlanTransitions(clock_.Now());
  ASSERT_TRUE(change.has_value());
  // The heartbeat comes between the plan and its telling.
  auto answer = Beat(1, "a", old_version, proto::UP_TO_DATE);
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->lease_ms(), 0u);
  state_.Apply(*change);
  EXPECT_EQ(Beat(1, "a", old_version, proto::UP_TO_DATE)->lease_ms(), 0u);
  EXPECT_EQ(Beat(1, "a", change->version(), proto::UP_TO_DATE)->lease_ms(), 2000u);
}

TEST_F(ManagerStateTest, FailedDiskLeavesServiceAtOnce) {
  Register(NodeRequest("a"));
  CreateChains(1);
  ASSERT_TRUE(Beat(1, "a", state_.version().value(), proto::FAILED).ok());
  EXPECT_EQ(Settle(), 1);
  EXPECT_EQ(state_.Map().targets(0).state(), proto::LAST_SERVING);
  EXPECT_EQ(state_.Map().nodes(0).state(), proto::NODE_UP);
}

TEST_F(ManagerStateTest, RestartedManagerWaitsOneLeaseBeforeItMovesAnything) {
  Register(NodeRequest("a"));
  CreateChains(1);
  ManagerState restarted(kLeases, state_.Map(), clock_.Now());
  EXPECT_FALSE(restarted.PlanTransitions(clock_.Now()).has_value());
  clock_.Advance(kLeases.surely_over() - milliseconds(1));
  EXPECT_FALSE(restarted.PlanTransitions(clock_.Now()).has_value());
  clock_.Advance(milliseconds(1));
  auto change = restarted.PlanTransitions(clock_.Now());
  ASSERT_TRUE(change.has_value());
  EXPECT_EQ(change->nodes(0).state(), proto::NODE_DOWN);
}

TEST_F(ManagerStateTest, RestartedManagerTakesBackAtOnceWhoReports) {
  Register(NodeRequest("a"));
  CreateChains(1);
  clock_.Advance(kLeases.surely_over());
  ASSERT_EQ(Settle(), 1);
  ASSERT_EQ(state_.Map().targets(0).state(), proto::LAST_SERVING);
  state_ = ManagerState(kLeases, state_.Map(), clock_.Now());
  EXPECT_EQ(Settle(), 0);
  ASSERT_TRUE(Beat(1, "a", state_.version().value(), proto::UP_TO_DATE).ok());
  EXPECT_EQ(Settle(), 1);
  EXPECT_EQ(state_.Map().targets(0).state(), proto::SERVING);
  EXPECT_EQ(state_.Map().nodes(0).state(), proto::NODE_UP);
}

TEST_F(ManagerStateTest, RestartedManagerLeavesThoseThatWereHeardAlone) {
  Register(NodeRequest("a"));
  CreateChains(1);
  const uint64_t version = state_.version().value();
  state_ = ManagerState(kLeases, state_.Map(), clock_.Now());
  clock_.Advance(milliseconds(500));
  EXPECT_EQ(Beat(1, "a", version - 1, proto::UP_TO_DATE)->lease_ms(), 0u)
      << "the last change may not have been told";
  EXPECT_EQ(Beat(1, "a", version, proto::UP_TO_DATE)->lease_ms(), 2000u);
  clock_.Advance(kLeases.lease);
  EXPECT_EQ(Settle(), 0);
}

TEST_F(ManagerStateTest, CompleteCountsOnlyForTheChainAsItIs) {
  Register(NodeRequest("a"));
  Register(NodeRequest("b"));
  MakeChain({proto::SERVING, proto::SYNCING});
  proto::ChainReport report;
  report.set_chain_id(1);
  report.set_complete(true);
  ASSERT_TRUE(Beat(1, "a").ok());
  for (const uint32_t other : {0u, 2u}) {
    report.set_chain_version(other);
    ASSERT_TRUE(Beat(2, "b", &report).ok());
    EXPECT_EQ(Settle(), 0) << other;
  }
  report.set_chain_version(1);
  report.set_chain_id(2);
  ASSERT_TRUE(Beat(2, "b", &report).ok());
  EXPECT_EQ(Settle(), 0) << "of another chain";
  report.set_chain_id(1);
  report.set_complete(false);
  ASSERT_TRUE(Beat(2, "b", &report).ok());
  EXPECT_EQ(Settle(), 0) << "not complete";
  report.set_complete(true);
  ASSERT_TRUE(Beat(1, "a", &report).ok());
  EXPECT_EQ(Settle(), 0) << "of another member";
  ASSERT_TRUE(Beat(2, "b", &report).ok());
  EXPECT_EQ(Settle(), 1);
  EXPECT_EQ(States(), "1 SERVING 2 SERVING");
}

TEST_F(ManagerStateTest, ARegistrationSaysNothingOfWhatIsComplete) {
  Register(NodeRequest("a"));
  Register(NodeRequest("b"));
  MakeChain({proto::SERVING, proto::SYNCING});
  proto::RegisterNodeRequest request = NodeRequest("b");
  proto::ChainReport* report = request.mutable_targets(0)->add_chains();
  report->set_chain_id(1);
  report->set_chain_version(1);
  report->set_complete(true);
  Register(request);
  EXPECT_EQ(Settle(), 0);
}

TEST_F(ManagerStateTest, ARestartTakesTheTargetsOutInTheChangeThatTakesTheProcessIn) {
  for (const char* node : {"a", "b", "c"}) Register(Process(node, "first"));
  MakeChain({proto::SERVING, proto::SERVING, proto::SYNCING});
  for (uint32_t i : {1u, 2u, 3u}) ASSERT_TRUE(Beat(i, std::string(1, 'a' + i - 1)).ok());
  ASSERT_TRUE(state_.MayRegister(Process("a", "second"), clock_.Now()));
  const auto change = state_.PlanRegister(Process("a", "second"), NodeId(), {}, clock_.Now());
  ASSERT_TRUE(change.has_value());
  EXPECT_EQ(change->nodes(0).process(), "second");
  ASSERT_EQ(change->chains_size(), 1);
  state_.Apply(*change);
  EXPECT_EQ(States(), "2 SERVING 3 SYNCING 1 OFFLINE");
  EXPECT_EQ(Chain().version(), 2u);
  state_.Registered(Process("a", "second"), clock_.Now());
  EXPECT_EQ(Settle(), 1);
  EXPECT_EQ(States(), "2 SERVING 3 SYNCING 1 WAITING");
}

TEST_F(ManagerStateTest, TheSameProcessMayRegisterAgainAndNothingMoves) {
  Register(Process("a", "first"));
  MakeChain({proto::SERVING});
  const MapVersion before = state_.version();
  Register(Process("a", "first"));
  EXPECT_EQ(state_.version(), before);
}

TEST_F(ManagerStateTest, AChainOfOneReplicaServesAtOnceAfterARestart) {
  Register(Process("a", "first"));
  MakeChain({proto::SERVING});
  Register(Process("a", "second"));
  EXPECT_EQ(States(), "1 LAST_SERVING");
  EXPECT_EQ(Settle(), 1);
  EXPECT_EQ(States(), "1 SERVING");
  EXPECT_EQ(Chain().version(), 3u);
}

TEST_F(ManagerStateTest, ARestartedNodeGetsNoLeaseBeforeItKnowsThatItIsOut) {
  Register(Process("a", "first"));
  MakeChain({proto::SERVING});
  const uint64_t before = state_.version().value();
  Register(Process("a", "second"));
  EXPECT_EQ(Beat(1, "a", before, proto::UP_TO_DATE)->lease_ms(), 0u);
  EXPECT_GT(Beat(1, "a")->lease_ms(), 0u);
}

TEST_F(ManagerStateTest, AnEarlierProcessRenewsNothing) {
  Register(Process("a", "first"));
  MakeChain({proto::SERVING});
  ASSERT_TRUE(Beat(1, "a").ok());
  ASSERT_TRUE(state_.MayRegister(Process("a", "second"), clock_.Now()));
  const auto change = state_.PlanRegister(Process("a", "second"), NodeId(), {}, clock_.Now());
  EXPECT_EQ(Beat(1, "a").status().code(), Code::kNotFound) << "from the plan on";
  state_.Apply(*change);
  EXPECT_EQ(Beat(1, "a").status().code(), Code::kNotFound);
  processes_["a"] = "second";
  EXPECT_TRUE(Beat(1, "a").ok());
}

// Otherwise those that were left in name, and are dead as well, would be the only ones to resume
// the chain, though this one holds the same.
TEST_F(ManagerStateTest, ARestartIsTakenInOnceItIsKnownWhoIsLeft) {
  for (const char* node : {"a", "b", "c"}) Register(Process(node, "first"));
  MakeChain({proto::SERVING, proto::SERVING, proto::SERVING});
  clock_.Advance(milliseconds(100));
  const proto::RegisterNodeRequest again = Process("a", "second");
  EXPECT_FALSE(state_.MayRegister(again, clock_.Now()));
  EXPECT_EQ(Beat(1, "a").status().code(), Code::kNotFound) << "it is over, though not yet replaced";
  clock_.Advance(milliseconds(100));
  ASSERT_TRUE(Beat(2, "b").ok());
  EXPECT_FALSE(state_.MayRegister(again, clock_.Now()));
  EXPECT_EQ(Settle(), 0);
  ASSERT_TRUE(Beat(3, "c").ok());
  EXPECT_TRUE(state_.MayRegister(again, clock_.Now()));
  Register(again);
  EXPECT_EQ(States(), "2 SERVING 3 SERVING 1 OFFLINE");
}

TEST_F(ManagerStateTest, AServerThatStopsIsOutOfItsChainsOnceItIsKnownWhoIsLeft) {
  for (const char* node : {"a", "b", "c"}) Register(Process(node, "first"));
  MakeChain({proto::SERVING, proto::SERVING, proto::SERVING});
  clock_.Advance(milliseconds(100));
  const auto answer = Stop(1, "a");
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->lease_ms(), 0u);
  Settle();
  EXPECT_EQ(States(), "1 SERVING 2 SERVING 3 SERVING") << "the others may stop as well";
  EXPECT_EQ(state_.Map().nodes(0).state(), proto::NODE_DOWN);
  clock_.Advance(milliseconds(100));
  ASSERT_TRUE(Beat(2, "b").ok());
  ASSERT_TRUE(Beat(3, "c").ok());
  Settle();
  EXPECT_EQ(States(), "2 SERVING 3 SERVING 1 OFFLINE");
  EXPECT_EQ(Beat(1, "a").status().code(), Code::kNotFound) << "sent before, and came late";
  Register(Process("a", "second"));
  ASSERT_TRUE(Beat(1, "a").ok());
  ASSERT_TRUE(Beat(2, "b").ok());
  Settle();
  EXPECT_EQ(States(), "2 SERVING 3 SERVING 1 SYNCING");
}

TEST_F(ManagerStateTest, ServersThatStopTogetherAreGivenUpTogether) {
  for (const char* node : {"a", "b"}) Register(Process(node, "first"));
  MakeChain({proto::SERVING, proto::SERVING});
  clock_.Advance(milliseconds(100));
  ASSERT_TRUE(Stop(1, "a").ok());
  Settle();
  ASSERT_TRUE(Stop(2, "b").ok());
  Settle();
  EXPECT_EQ(States(), "1 LAST_SERVING 2 LAST_SERVING");
  Register(Process("b", "second"));
  Settle();
  EXPECT_EQ(States(), "2 SERVING 1 OFFLINE");
}

// Members that took part with it need no lease to run out, and know the map without it.
TEST_F(ManagerStateTest, AFenceDoesNotWaitForTheLeaseOfAServerThatStopped) {
  for (const char* node : {"a", "b"}) Register(Process(node, "first"));
  MakeChain({proto::SERVING, proto::SERVING});
  ASSERT_TRUE(Beat(1, "a").ok());
  state_.Apply(*state_.PlanFence(FencedRanges({}, 4)));
  ASSERT_TRUE(Stop(1, "a").ok());
  ASSERT_TRUE(Beat(2, "b").ok());
  EXPECT_FALSE(state_.FenceOver(clock_.Now())) << "it is still in its chain";
  Settle();
  EXPECT_FALSE(state_.FenceOver(clock_.Now())) << "the other does not know that it is out";
  ASSERT_TRUE(Beat(2, "b").ok());
  EXPECT_TRUE(state_.FenceOver(clock_.Now()));
}

TEST_F(ManagerStateTest, ServersThatRestartTogetherAreGivenUpTogetherAndTheFirstResumes) {
  for (const char* node : {"a", "b", "c"}) Register(Process(node, "first"));
  MakeChain({proto::SERVING, proto::SERVING, proto::SERVING});
  clock_.Advance(milliseconds(100));
  EXPECT_FALSE(state_.MayRegister(Process("c", "second"), clock_.Now()));
  EXPECT_FALSE(state_.MayRegister(Process("b", "second"), clock_.Now()));
  Register(Process("a", "second"));
  EXPECT_EQ(States(), "1 LAST_SERVING 2 LAST_SERVING 3 LAST_SERVING");
  Register(Process("c", "second"));
  Settle();
  EXPECT_EQ(States().substr(0, 9), "1 SERVING");
}

TEST_F(ManagerStateTest, OneThatRestartsAmongTheDeadResumesTheChain) {
  for (const char* node : {"a", "b", "c"}) Register(Process(node, "first"));
  MakeChain({proto::SERVING, proto::SERVING, proto::SERVING});
  clock_.Advance(milliseconds(100));
  EXPECT_FALSE(state_.MayRegister(Process("b", "second"), clock_.Now()));
  clock_.Advance(kLeases.surely_over());
  Register(Process("b", "second"));
  Settle();
  EXPECT_EQ(States().substr(0, 9), "2 SERVING");
}

TEST_F(ManagerStateTest, NodesThatGoOneAfterTheOtherAreGivenUpTogether) {
  for (const char* node : {"a", "b"}) Register(NodeRequest(node));
  MakeChain({proto::SERVING, proto::SERVING});
  clock_.Advance(milliseconds(1000));
  ASSERT_TRUE(Beat(2, "b").ok());  // its last word
  clock_.Advance(kLeases.surely_over() - milliseconds(1000));
  Settle();
  EXPECT_EQ(States(), "1 SERVING 2 SERVING") << "b is overdue";
  EXPECT_EQ(state_.Map().nodes(0).state(), proto::NODE_DOWN);
  clock_.Advance(milliseconds(1000));
  Settle();
  EXPECT_EQ(States(), "1 LAST_SERVING 2 LAST_SERVING");
}

TEST_F(ManagerStateTest, ANodeIsGivenUpAtOnceWhereTheOthersAreHeard) {
  for (const char* node : {"a", "b"}) Register(NodeRequest(node));
  MakeChain({proto::SERVING, proto::SERVING});
  clock_.Advance(kLeases.surely_over() - kLeases.overdue());
  ASSERT_TRUE(Beat(2, "b").ok());
  clock_.Advance(kLeases.overdue());
  Settle();
  EXPECT_EQ(States(), "2 SERVING 1 OFFLINE");
}

TEST_F(ManagerStateTest, ADiskMovesOnceItsChainsHaveGivenItUp) {
  for (const char* node : {"a", "b", "c"}) Register(NodeRequest(node));
  MakeChain({proto::SERVING, proto::SERVING});
  clock_.Advance(milliseconds(1000));
  ASSERT_TRUE(Beat(2, "b").ok());
  clock_.Advance(kLeases.surely_over() - milliseconds(1000));
  Settle();
  ASSERT_EQ(state_.Map().nodes(0).state(), proto::NODE_DOWN);
  proto::RegisterNodeRequest thief = NodeRequest("c");
  thief.mutable_targets(0)->set_uuid("a-disk");
  EXPECT_FALSE(state_.MayRegister(thief, clock_.Now()));
  ASSERT_TRUE(Beat(2, "b").ok());
  Settle();
  EXPECT_EQ(States(), "2 SERVING 1 OFFLINE");
  EXPECT_TRUE(state_.MayRegister(thief, clock_.Now()));
}

TEST_F(ManagerStateTest, ADiskThatANodeNoLongerNamesIsGone) {
  proto::RegisterNodeRequest request = Process("a", "first");
  request.add_targets()->set_uuid("second-disk");
  request.mutable_targets(1)->set_state(proto::UP_TO_DATE);
  Register(request);
  MakeChain({proto::OFFLINE, proto::SERVING});
  Register(Process("a", "second"));
  Settle();
  EXPECT_EQ(States(), "2 LAST_SERVING 1 WAITING");
}

TEST_F(ManagerStateTest, SumsWhatIsLeftToResyncFromThoseThatServeTheChainAsItIs) {
  Register(NodeRequest("a"));
  Register(NodeRequest("b"));
  MakeChain({proto::SERVING, proto::SYNCING});
  proto::ChainReport report;
  report.set_chain_id(1);
  report.set_chain_version(1);
  report.set_chunks_left(30);
  report.set_bytes_per_s(1000);
  ASSERT_TRUE(Beat(1, "a", &report).ok());
  ASSERT_TRUE(Beat(2, "b", &report).ok());
  EXPECT_EQ(state_.Resync(clock_.Now()).chunks_left(), 30u) << "of the one that serves alone";
  EXPECT_EQ(state_.Resync(clock_.Now()).bytes_per_s(), 1000u);
  report.set_chain_version(2);
  ASSERT_TRUE(Beat(1, "a", &report).ok());
  EXPECT_EQ(state_.Resync(clock_.Now()).chunks_left(), 0u) << "of another version";
  report.set_chain_version(1);
  ASSERT_TRUE(Beat(1, "a", &report).ok());
  clock_.Advance(kLeases.surely_over());
  EXPECT_EQ(state_.Resync(clock_.Now()).chunks_left(), 0u) << "of a node that is gone";
}

TEST_F(ManagerStateTest, MapShowsTheSpaceThatTargetsReport) {
  Register(NodeRequest("a"));
  ASSERT_TRUE(Beat(1, "a", 1, proto::ONLINE).ok());
  EXPECT_EQ(state_.Map().targets(0).used_bytes(), 100u);
  EXPECT_EQ(state_.Map().targets(0).total_bytes(), 1000u);
}

}  // namespace
}  // namespace sheaf::meta
