#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/ids.h"
#include "common/status.h"
#include "meta/cluster/fenced_ranges.h"
#include "meta/cluster/placement.h"
#include "meta/cluster/transitions.h"
#include "proto/admin.pb.h"
#include "proto/cluster.pb.h"

namespace sheaf::meta {

inline constexpr size_t kMaxNodes = 4096;
inline constexpr int kMaxTargetsPerNode = 256;
inline constexpr size_t kMaxAddressLength = 255;
inline constexpr size_t kMaxPlaceLength = 4096;
inline constexpr uint32_t kDefaultChainsPerTarget = 8;

struct LeaseOptions {
  std::chrono::milliseconds heartbeat{500};
  std::chrono::milliseconds lease{2000};

  // A lease has surely run out this long after the manager heard the heartbeat that renewed it:
  // the node counts from when it sent it, and the rest covers clocks that run apart.
  std::chrono::milliseconds surely_over() const { return lease + lease / 10; }
  // A node that was not heard for so long may have gone.
  std::chrono::milliseconds overdue() const { return heartbeat * 3 / 2; }
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
//    member's own report. From the plan on, its node gets no lease until it knows the new map. A
//    node that says that it stops serves nothing from before it said so.
// 3. For one lease after construction no silent node is given up: an earlier manager's leases may
//    still run. What only brings members back need not wait.
// 4. A member that syncs serves only once its own node, in its present process, has said of exactly
//    the chain's present version that it holds every commit.
// 5. No node gets a lease before the map with the newest fence is in force there. A fence is over
//    once each node has said that map's version, or has no lease and takes part in no chain: one
//    that still does may have a change under way that others commit. What such a node left behind
//    is told by those that have said the map without it.
//    One fence at a time is under way: a node is never more than one behind, however many end.
// 6. When another process becomes a node's own, its targets are out of the chains where they served
//    or synced, by the same change at the latest: whatever a server held in memory of a chain's
//    version, it goes on with another. From its first word on the process before gets no lease.
//    That one is over: a server's disks are locked by the one process that has them, and the new
//    one has a disk that it had, or every disk of the node, on the same machine since the same
//    boot. Otherwise, as when a disk is pulled out of a server that runs, it is first waited until
//    the lease of the one before has run out.
// 7. A chain goes on without a member only with members that were heard after that one was known to
//    be over, or, where its lease ran out, not long before. So those that go together, within about
//    a heartbeat or two, are given up together, in whatever order that is seen, and any of them
//    resumes the chain.
// 8. A target's row names the disk that its chains' states are true of. When another disk comes to
//    its place, the change that takes it in says that what the one before held is lost: so no disk
//    serves, or resumes a chain, by what another one held.
// 9. A member that serves is removed only once its own node has said to know that it is leaving,
//    and as many others as the chain is to have serve and were heard lately.
// 10. A chain goes on without a member that is up, since others that serve do not reach it or its
//     disk hangs, only once its own node has said to know that it answers no reads.
//
// On 7: it does not do to count back, and to take for whole whoever left before a map that the
// others have not said to know. They act on a map when it comes, under the lease they have, and may
// commit and die before their next heartbeat.
class ManagerState {
 public:
  // `recovered` is the map as last persisted.
  ManagerState(const LeaseOptions& options, proto::ClusterMap recovered, Clock::Instant now);

  // Renews the node's lease and takes in its reports. kNotFound: the node must register first, or
  // this is not the process that did last.
  Result<proto::HeartbeatResponse> Heartbeat(const proto::HeartbeatRequest& request,
                                             Clock::Instant now);

  // New ids that PlanRegister needs for this request.
  struct IdsNeeded {
    bool node = false;
    uint32_t targets = 0;
  };
  // kInvalid says which field cannot be taken in, or that the node is another cluster's.
  Result<IdsNeeded> CheckRegister(const proto::RegisterNodeRequest& request) const;
  // Notes that the node's process is another one, if it is. False while the node's targets cannot
  // be taken out of their chains, since it is not known who would be left: to be asked again. That
  // is decided within a lease.
  bool MayRegister(const proto::RegisterNodeRequest& request, Clock::Instant now);
  // REQUIRES: CheckRegister is ok, and MayRegister says so at `now`; `node` and `targets` are as
  // many as the first asked for. Nothing when the registry already says so.
  std::optional<proto::ClusterMap> PlanRegister(const proto::RegisterNodeRequest& request,
                                                NodeId node, const std::vector<TargetId>& targets,
                                                Clock::Instant now);
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

  // Operators' changes of who holds which chain; nothing when all is as asked for. kNotFound,
  // kInvalid: a sentence why not.
  using Change = Result<std::optional<proto::ClusterMap>>;
  Change PlanReplaceTarget(const proto::ReplaceTargetRequest& request, Clock::Instant now);
  // Every chain of the node gets its further member by this one change, or none does.
  Change PlanDrain(const proto::DrainNodeRequest& request, Clock::Instant now);
  Change PlanResetChain(const proto::ResetChainRequest& request, Clock::Instant now);
  // Chains with a member on the node.
  uint32_t ChainsOn(NodeId node) const;

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
  // What the members that serve still have to send, as they reported last of their chains as these
  // are.
  proto::Resync Resync(Clock::Instant now) const;
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
    Clock::Instant heard_at{};
    bool replaced = false;     // another process has asked to be the node's own
    bool stopped = false;      // its process has said so
    Clock::Instant over_at{};  // when either was known
    std::set<uint32_t> out_of_reach;  // nodes that it does not reach, as it said last
  };
  struct TargetEntry {
    proto::Target row;
    proto::LocalState local = proto::LOCAL_STATE_UNSPECIFIED;  // unspecified: not heard of yet
    bool stalled = false;
    std::map<uint32_t, proto::ChainReport> chains;             // by chain id, as last reported
  };
  // Who was not heard since `since` is not known to be up.
  TargetHealth HealthOf(TargetId target, const proto::Chain& chain, Clock::Instant since,
                        Clock::Instant now) const;
  proto::Chain NextOf(const proto::Chain& chain, Clock::Instant now) const;
  // Whether one of the two nodes, being up, says that the other does not answer it.
  bool LinkBroken(TargetId one, TargetId other, Clock::Instant now) const;
  // Whether this member does not serve, and its disk hangs, or a member that serves, and is up, and
  // it do not reach one another.
  bool IsCutOff(const proto::ChainMember& member, const proto::Chain& chain,
                Clock::Instant now) const;
  bool Works(const TargetEntry& target, Clock::Instant now) const;
  static void TakeReport(TargetEntry& target, const proto::TargetReport& report);
  // Whether the request's disks show that the node's process before is over. A lock says nothing
  // of another machine; one that was booted anew has taken longer than a lease.
  bool HasItsDisks(const proto::RegisterNodeRequest& request, uint32_t node) const;
  // Whether a member on the node takes part in the chain's commits.
  bool TakesPart(const proto::Chain& chain, uint32_t node) const;
  bool TakesPart(const TargetEntry& target) const;
  // Disks that have come to the place of another one, by their uuid: the id of the target whose
  // disk is gone. REQUIRES: the node is in the registry.
  using ReplacedDisks = std::map<std::string, uint32_t>;
  ReplacedDisks FindReplaced(const proto::RegisterNodeRequest& request, uint32_t node) const;
  void AddTargets(const proto::RegisterNodeRequest& request, uint32_t node,
                  const ReplacedDisks& replaced, const std::vector<TargetId>& ids,
                  proto::ClusterMap* change) const;
  void AddRestart(uint32_t node, const ReplacedDisks& replaced, Clock::Instant now,
                  proto::ClusterMap* change);
  Status CheckTargets(const proto::RegisterNodeRequest& request, uint32_t own_node,
                      uint32_t* unknown) const;
  // Also for members on nodes that drain, and such as are too many.
  proto::Chain NextStep(const proto::Chain& chain, Clock::Instant now) const;
  bool Drains(TargetId target) const;
  bool HasMemberOn(const proto::Chain& chain, NodeId node) const;
  PlacementTarget PlacementOf(TargetId target) const;
  std::vector<PlacementTarget> StayingMembers(const proto::Chain& chain) const;
  std::map<uint32_t, uint32_t> ChainsByTarget() const;
  std::vector<SpareTarget> Spares(Clock::Instant now) const;
  Status CheckReplacement(const proto::ReplaceTargetRequest& request, Clock::Instant now) const;
  Result<std::optional<proto::Chain>> Replaced(const proto::Chain& chain,
                                               const proto::ReplaceTargetRequest& request) const;
  Status AddReplacements(NodeId node, Clock::Instant now, proto::ClusterMap* change) const;
  const NodeEntry* FindNode(const std::string& uuid) const;
  const NodeEntry* FindNode(const proto::RegisterNodeRequest& request) const;
  const TargetEntry* FindTarget(const std::string& uuid) const;
  void HoldLeases(const proto::ClusterMap& change);
  std::map<uint32_t, proto::TargetState> StatesInChains() const;

  LeaseOptions options_;
  std::string cluster_uuid_;
  uint64_t version_;
  std::map<uint32_t, NodeEntry> nodes_;
  std::map<uint32_t, TargetEntry> targets_;
  std::map<uint32_t, proto::Chain> chains_;
  std::map<uint32_t, uint64_t> chain_since_;  // at the latest: the map version that made the row so
  std::map<uint32_t, proto::ChainTable> tables_;
  FencedRanges fenced_;
  FencedRanges fenced_everywhere_;
  uint64_t everywhere_version_ = 0;  // of the newest fence that is over
  uint64_t fence_version_;           // of the newest fence, also while it is only planned
  uint64_t left_version_ = 0;  // of this manager's newest change that took a member out of a chain
};

}  // namespace sheaf::meta
