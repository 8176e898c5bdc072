#pragma once

#include <atomic>
#include <memory>
#include <unordered_map>
#include <vector>

#include "common/clock.h"
#include "common/guarded.h"
#include "storage/replica/admission.h"
#include "storage/replica/chain_replica.h"

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
  // 0 until a map names it.
  TargetId TargetIdOf(size_t local_target) const;
  const std::vector<LocalTarget>& targets() const { return targets_; }

 private:
  struct Snapshot {
    ChainMap map;
    std::unordered_map<ChainId, std::shared_ptr<ChainReplica>> replicas;
  };
  std::shared_ptr<const Snapshot> snapshot() const;
  AdmissionState StateFor(const Snapshot* snapshot) const;

  const std::vector<LocalTarget> targets_;
  const Clock& clock_;
  std::atomic<int64_t> lease_deadline_ns_{0};
  Guarded<std::shared_ptr<const Snapshot>> snapshot_;
};

}  // namespace sheaf::storage
