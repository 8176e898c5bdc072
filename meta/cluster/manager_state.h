#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/ids.h"
#include "common/status.h"
#include "meta/cluster/fenced_ranges.h"
#include "meta/cluster/transitions.h"
#include "proto/cluster.pb.h"

namespace sheaf::meta {

inline constexpr size_t kMaxNodes = 4096;
inline constexpr int kMaxTargetsPerNode = 256;
inline constexpr size_t kMaxAddressLength = 255;
inline constexpr uint32_t kDefaultChainsPerTarget = 8;

struct LeaseOptions {
  std::chrono::milliseconds heartbeat{500};
  std::chrono::milliseconds lease{2000};

  // A lease has surely run out this long after the manager heard the heartbeat that renewed it:
  // the node counts from when it sent it, and the rest covers clocks that run apart.
  std::chrono::milliseconds surely_over() const { return lease + lease / 10; }
};

// The cluster manager's rules and what it holds in memory: nodes, targets, chains, leases. No I/O,
// no threads, no clock: events and instants in, changes to persist out. Not thread-safe.
//
// A change is a proto::ClusterMap that holds only the rows that differ, under the version it makes.
// Plan* answers one and alters nothing that is told to anyone; once it is durable, Apply makes it
// true. One change at a time is between the two.
//
// Invariants:
// 1. What map() shows is durable: it changes by Apply alone.
// 2. A chain moves on from a member only when the member's lease has surely run out, or by the
//    member's own report. From the plan on, its node gets no lease until it knows the new map.
// 3. For one lease after construction no silent node is given up: an earlier manager's leases may
//    still run. What only brings members back need not wait.
// 4. A report that a target is up to date counts only when its node knew the chain's present state.
// 5. No node gets a lease before the map with the newest fence is in force there. So a fence is
// over
//    once each node has said that map's version, or the last lease it was given has surely run out.
//    One fence at a time is under way: a node is never more than one behind, however many end.
class ManagerState {
 public:
  // `recovered` is the map as last persisted.
  ManagerState(const LeaseOptions& options, proto::ClusterMap recovered, Clock::Instant now);

  // Renews the node's lease and takes in its reports. kNotFound: the node must register first.
  Result<proto::HeartbeatResponse> Heartbeat(const proto::HeartbeatRequest& request,
                                             Clock::Instant now);

  // New ids that PlanRegister needs for this request.
  struct IdsNeeded {
    bool node = false;
    uint32_t targets = 0;
  };
  // kInvalid says which field cannot be taken in, or that the node is another cluster's.
  Result<IdsNeeded> CheckRegister(const proto::RegisterNodeRequest& request) const;
  // REQUIRES: CheckRegister is ok; `node` and `targets` are as many as it asked for. Nothing when
  // the registry already says so.
  std::optional<proto::ClusterMap> PlanRegister(const proto::RegisterNodeRequest& request,
                                                NodeId node,
                                                const std::vector<TargetId>& targets) const;
  // REQUIRES: the node is in the registry. Counts as being heard.
  proto::RegisterNodeResponse Registered(const proto::RegisterNodeRequest& request,
                                         Clock::Instant now);

  // The answer when the table is already there.
  Result<std::optional<proto::CreateChainsResponse>> FindChains(
      const proto::CreateChainsRequest& request) const;
  // Members of the chains to make, over the targets that work.
  Result<std::vector<std::vector<TargetId>>> PlaceNewChains(
      const proto::CreateChainsRequest& request, Clock::Instant now) const;
  proto::ClusterMap PlanCreateChains(const std::vector<std::vector<TargetId>>& members,
                                     ChainId first) const;

  // Nodes and chains that are to move at `now`, one step; nothing when all is settled.
  std::optional<proto::ClusterMap> PlanTransitions(Clock::Instant now);

  // Puts the ended sessions into the map; nothing when they are there. From the plan on no node
  // gets a lease until it knows it. REQUIRES: FenceOver; `ended` holds what it held before.
  std::optional<proto::ClusterMap> PlanFence(const FencedRanges& ended);
  // Whether no node can act on a map before the newest fence.
  bool FenceOver(Clock::Instant now) const;
  // Notes it when the newest fence is over.
  void SettleFence(Clock::Instant now);
  // As noted: nothing of this session is under way on any node, and nothing will be admitted.
  bool FencedEverywhere(Incarnation session) const;

  // `change` is durable.
  void Apply(const proto::ClusterMap& change);

  // With the space that targets last reported.
  proto::ClusterMap Map() const;
  // Of all targets, as last reported.
  struct Space {
    uint64_t used_bytes = 0;
    uint64_t total_bytes = 0;
  };
  Space TotalSpace() const;
  MapVersion version() const { return MapVersion(version_); }
  const std::string& cluster_uuid() const { return cluster_uuid_; }

 private:
  struct NodeEntry {
    proto::Node row;
    Clock::Instant lease_over{};     // when it counts as gone unless it is heard
    Clock::Instant leased_until{};   // when the last lease it was given has surely run out
    uint64_t known_version = 0;      // the newest map it has said to be in force
    uint64_t must_know_version = 0;  // no lease before it has applied this map
    bool heard = false;              // since this manager began
  };
  struct TargetEntry {
    proto::Target row;
    proto::LocalState local = proto::LOCAL_STATE_UNSPECIFIED;  // unspecified: not heard of yet
    uint64_t known_version = 0;                                // the node's map when it reported
  };
  struct ChainEntry {
    proto::Chain row;
    uint64_t changed_at = 0;  // map version
  };

  TargetHealth HealthOf(TargetId target, const ChainEntry& chain, Clock::Instant now) const;
  bool Works(const TargetEntry& target, Clock::Instant now) const;
  void TakeReport(TargetEntry& target, const proto::TargetReport& report, uint64_t known_version);
  Status CheckTargets(const proto::RegisterNodeRequest& request, uint32_t own_node,
                      uint32_t* unknown) const;
  const NodeEntry* FindNode(const std::string& uuid) const;
  const TargetEntry* FindTarget(const std::string& uuid) const;
  void HoldLeases(const proto::ClusterMap& change);
  std::map<uint32_t, proto::TargetState> StatesInChains() const;

  LeaseOptions options_;
  std::string cluster_uuid_;
  uint64_t version_;
  std::map<uint32_t, NodeEntry> nodes_;
  std::map<uint32_t, TargetEntry> targets_;
  std::map<uint32_t, ChainEntry> chains_;
  std::map<uint32_t, proto::ChainTable> tables_;
  FencedRanges fenced_;
  FencedRanges fenced_everywhere_;
  uint64_t everywhere_version_ = 0;  // of the newest fence that is over
  uint64_t fence_version_;           // of the newest fence, also while it is only planned
};

}  // namespace sheaf::meta
