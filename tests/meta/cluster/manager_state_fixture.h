#pragma once

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "meta/cluster/manager_state.h"
#include "tests/support/fake_clock.h"

namespace sheaf::meta {

inline constexpr LeaseOptions kLeases{};

// A manager past its first lease; what its thread would do with it is done here, at once.
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
    EXPECT_TRUE(state_.MayRegister(request, clock_.Now()));
    auto change = state_.PlanRegister(request, node, targets, clock_.Now());
    if (change.has_value()) state_.Apply(*change);
    processes_[request.uuid()] = request.process();
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

  static proto::RegisterNodeRequest Process(const std::string& node, const std::string& process) {
    proto::RegisterNodeRequest request = NodeRequest(node);
    request.set_process(process);
    return request;
  }

  Result<proto::HeartbeatResponse> Beat(uint32_t node, const std::string& uuid,
                                        uint64_t map_version, proto::LocalState local,
                                        const proto::ChainReport* chain = nullptr) {
    proto::HeartbeatRequest request;
    request.set_node_id(node);
    request.set_uuid(uuid);
    request.set_process(processes_[uuid]);
    request.set_map_version(map_version);
    proto::TargetReport* target = request.add_targets();
    target->set_id(node);  // registered together: target n is on node n
    target->set_state(local);
    target->set_used_bytes(100);
    target->set_total_bytes(1000);
    if (chain != nullptr) *target->add_chains() = *chain;
    target->set_stalled(stalled_.contains(node));
    for (uint32_t silent : out_of_reach_[node]) request.add_out_of_reach(silent);
    return state_.Heartbeat(request, clock_.Now());
  }
  // Of a node that knows the newest map.
  Result<proto::HeartbeatResponse> Beat(uint32_t node, const std::string& uuid,
                                        const proto::ChainReport* chain = nullptr) {
    return Beat(node, uuid, state_.version().value(), proto::UP_TO_DATE, chain);
  }

  // The last of a node's process.
  Result<proto::HeartbeatResponse> Stop(uint32_t node, const std::string& uuid) {
    proto::HeartbeatRequest request;
    request.set_node_id(node);
    request.set_uuid(uuid);
    request.set_process(processes_[uuid]);
    request.set_map_version(state_.version().value());
    request.set_stopping(true);
    return state_.Heartbeat(request, clock_.Now());
  }

  // A chain over targets 1, 2 and so on.
  void MakeChain(const std::vector<proto::TargetState>& states) {
    proto::ClusterMap change;
    change.set_version(state_.version().value() + 1);
    proto::Chain* chain = change.add_chains();
    chain->set_id(1);
    chain->set_version(1);
    for (proto::TargetState state : states) {
      proto::ChainMember* member = chain->add_members();
      member->set_target_id(static_cast<uint32_t>(chain->members_size()));
      member->set_state(state);
    }
    state_.Apply(change);
  }
  proto::Chain Chain() const { return state_.Map().chains(0); }
  // By target: "1 serving 2 offline".
  std::string States() const {
    std::string text;
    const proto::Chain chain = Chain();
    for (const proto::ChainMember& member : chain.members()) {
      text += (text.empty() ? "" : " ") + std::to_string(member.target_id()) + " " +
              proto::TargetState_Name(member.state());
    }
    return text;
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
  std::map<std::string, std::string> processes_;  // by node, as registered
  std::set<uint32_t> stalled_;  // nodes whose disks hang
  std::map<uint32_t, std::set<uint32_t>> out_of_reach_;  // by node: whom it does not reach
  uint32_t next_node_ = 1;
  uint32_t next_target_ = 1;
};

}  // namespace sheaf::meta
