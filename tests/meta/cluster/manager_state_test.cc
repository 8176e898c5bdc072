#include "meta/cluster/manager_state.h"

#include <gtest/gtest.h>

#include "tests/support/fake_clock.h"

namespace sheaf::meta {
namespace {

using std::chrono::milliseconds;

constexpr LeaseOptions kLeases{};

class ManagerStateTest : public ::testing::Test {
 protected:
  ManagerStateTest() : state_(kLeases, EmptyMap(), clock_.Now()) {
    clock_.Advance(kLeases.surely_over());
  }

  static proto::ClusterMap EmptyMap() {
    proto::ClusterMap map;
    map.set_version(1);
    map.set_cluster_uuid("the-cluster");
    return map;
  }

  static proto::RegisterNodeRequest NodeRequest(const std::string& uuid) {
    proto::RegisterNodeRequest request;
    request.set_uuid(uuid);
    request.mutable_addresses()->set_framed("10.0.0.1:7710");
    request.set_pid(17);
    proto::TargetReport* target = request.add_targets();
    target->set_uuid(uuid + "-disk");
    target->set_state(proto::ONLINE);
    return request;
  }

  // What the manager's thread does with a registration; ids rise.
  proto::RegisterNodeResponse Register(const proto::RegisterNodeRequest& request) {
    auto needed = state_.CheckRegister(request);
    EXPECT_TRUE(needed.ok()) << needed.status().ToString();
    const NodeId node(needed->node ? next_node_++ : 0);
    std::vector<TargetId> targets;
    for (uint32_t i = 0; i < needed->targets; ++i) targets.emplace_back(next_target_++);
    auto change = state_.PlanRegister(request, node, targets);
    if (change.has_value()) state_.Apply(*change);
    return state_.Registered(request, clock_.Now());
  }

  void CreateChains(uint32_t per_target) {
    proto::CreateChainsRequest request;
    request.set_replicas(1);
    request.set_chains_per_target(per_target);
    auto members = state_.PlaceNewChains(request, clock_.Now());
    ASSERT_TRUE(members.ok()) << members.status().ToString();
    state_.Apply(state_.PlanCreateChains(*members, ChainId(1)));
  }

  Result<proto::HeartbeatResponse> Beat(uint32_t node, const std::string& uuid,
                                        uint64_t map_version, proto::LocalState local) {
    proto::HeartbeatRequest request;
    request.set_node_id(node);
    request.set_uuid(uuid);
    request.set_map_version(map_version);
    proto::TargetReport* target = request.add_targets();
    target->set_id(node);  // registered together: target n is on node n
    target->set_state(local);
    target->set_used_bytes(100);
    target->set_total_bytes(1000);
    return state_.Heartbeat(request, clock_.Now());
  }

  int Settle() {
    int changes = 0;
    while (auto change = state_.PlanTransitions(clock_.Now())) {
      state_.Apply(*change);
      ++changes;
    }
    return changes;
  }

  FakeClock clock_;
  ManagerState state_;
  uint32_t next_node_ = 1;
  uint32_t next_target_ = 1;
};

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
  EXPECT_EQ(state_.FindChains(request).status().code(), Code::kUnsupported);
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

TEST_F(ManagerStateTest, UpToDateCountsOnlyForTheChainAsItIs) {
  Register(NodeRequest("a"));
  Register(NodeRequest("b"));
  proto::ClusterMap change;
  change.set_version(state_.version().value() + 1);
  proto::Chain* chain = change.add_chains();
  chain->set_id(1);
  chain->set_version(1);
  for (uint32_t target : {1u, 2u}) {
    proto::ChainMember* member = chain->add_members();
    member->set_target_id(target);
    member->set_state(target == 1 ? proto::SERVING : proto::SYNCING);
  }
  state_.Apply(change);
  const uint64_t version = change.version();
  ASSERT_TRUE(Beat(1, "a", version, proto::UP_TO_DATE).ok());
  ASSERT_TRUE(Beat(2, "b", version - 1, proto::UP_TO_DATE).ok());
  EXPECT_EQ(Settle(), 0);
  ASSERT_TRUE(Beat(2, "b", version, proto::UP_TO_DATE).ok());
  EXPECT_EQ(Settle(), 1);
  EXPECT_EQ(state_.Map().chains(0).members(1).state(), proto::SERVING);
}

TEST_F(ManagerStateTest, MapShowsTheSpaceThatTargetsReport) {
  Register(NodeRequest("a"));
  ASSERT_TRUE(Beat(1, "a", 1, proto::ONLINE).ok());
  EXPECT_EQ(state_.Map().targets(0).used_bytes(), 100u);
  EXPECT_EQ(state_.Map().targets(0).total_bytes(), 1000u);
}

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
