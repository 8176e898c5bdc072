#pragma once

#include <atomic>
#include <memory>
#include <unordered_map>
#include <vector>

#include "common/clock.h"
#include "common/guarded.h"
#include "storage/replica/admission.h"
#include "storage/replica/chain_replica.h"
#include "storage/replica/retry_table.h"

namespace sheaf::storage {

// All replicas of a node, with the lease and the map under which they serve. The manager link
// writes both; every request reads them.
//
// Thread safety: all calls.
class ReplicaSet {
 public:
  struct LocalTarget {
    std::string uuid;
    Engine* engine = nullptr;  // outlives the set
  };

  ReplicaSet(std::vector<LocalTarget> targets, const Clock& clock);

  // Older maps than the one applied are ignored.
  void ApplyMap(const proto::ClusterMap& map);
  // Leases only grow: a heartbeat answered late does not shorten one.
  void ExtendLease(Clock::Instant deadline);
  // The manager does not know this node (any more): serve nothing until told otherwise.
  void DropLease();

  struct Admitted {
    std::shared_ptr<ChainReplica> replica;
    ChainVersion chain_version;
  };
  // Errors as Admit.
  Result<Admitted> Find(const AdmissionRequest& request) const;
  // Asked again before an answer leaves: a process that was stopped meanwhile must not send what
  // may be stale by now.
  Status StillAdmits(const AdmissionRequest& request) const;

  // ok while the lease is valid and a map is applied.
  Status Serving() const;
  // Of the lease; below zero once it has run out.
  Clock::Instant LeaseLeft() const;
  MapVersion map_version() const;
  // The newest map that is in force: applied, and nothing that it refuses is still under way. A
  // client's mutation that was admitted before the map that fences it may yet take effect; once the
  // manager is told this version, none will.
  MapVersion map_in_force();
  // Mutations begin here before they are admitted: otherwise one could be admitted, not yet be
  // seen to be under way, and take effect after its client's fence is in force.
  RetryTable& retries() { return retries_; }
  // 0 until a map names it.
  TargetId TargetIdOf(size_t local_target) const;
  const std::vector<LocalTarget>& targets() const { return targets_; }

 private:
  struct Snapshot {
    ChainMap map;
    std::unordered_map<ChainId, std::shared_ptr<ChainReplica>> replicas;
  };
  std::shared_ptr<const Snapshot> snapshot() const;
  void Publish(const std::shared_ptr<Snapshot>& next);
  AdmissionState StateFor(const Snapshot* snapshot) const;

  const std::vector<LocalTarget> targets_;
  const Clock& clock_;
  std::atomic<int64_t> lease_deadline_ns_{0};
  Guarded<std::shared_ptr<const Snapshot>> snapshot_;
  RetryTable retries_;
  std::atomic<uint64_t> map_in_force_{0};
};

}  // namespace sheaf::storage
