#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "common/clock.h"
#include "common/guarded.h"
#include "storage/replica/admission.h"
#include "storage/replica/chain_replica.h"
#include "storage/replica/resync_mover.h"

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
    std::string place;         // its directory, as configured
  };

  // What replicas of chains of several members need; a node that has none may leave it empty.
  struct Neighbours {
    Peers* peers = nullptr;
    ResyncMover* mover = nullptr;
    Repairer* repairer = nullptr;
    std::function<IoContext&()> home;  // of a new replica
  };

  ReplicaSet(std::vector<LocalTarget> targets, const Clock& clock) : ReplicaSet(targets, clock, {}) {}
  ReplicaSet(std::vector<LocalTarget> targets, const Clock& clock, Neighbours neighbours);

  // Reads what the targets remember of clients. Before the first map; blocks.
  Status LoadStreams();

  // Older maps than the one applied are ignored.
  void ApplyMap(const proto::ClusterMap& map);
  // Leases only grow: a heartbeat answered late does not shorten one.
  void ExtendLease(Clock::Instant deadline);
  // The manager does not know this node (any more): serve nothing until told otherwise.
  void DropLease();

  // Errors as Admit; nothing is begun by it: the replica asks StillAdmits under its mutex.
  Result<std::shared_ptr<ChainReplica>> Find(const AdmissionRequest& request) const;
  // For a neighbour, whose messages the replica itself checks. kWrongChain.
  Result<std::shared_ptr<ChainReplica>> FindForPeer(ChainId chain) const;
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

  // A chunk of that target is damaged.
  void RequestRepair(size_t local_target, const Engine::ChunkKey& key);

  // Every now and then: replicas send again what was lost.
  void Tick();
  // Answers whoever waits; nothing is begun any more.
  void Stop();
  // Of all replicas together.
  struct Counts {
    StreamTable::Counts streams;
    uint64_t uncommitted = 0;
    uint64_t diverged = 0;
    uint64_t resyncs = 0;  // that this node sends
    uint64_t staged_bytes = 0;
    uint64_t stages_lost = 0;
  };
  Counts GetCounts() const;
  // Of a target's chains that are being resynced.
  std::vector<proto::ChainReport> ChainReports(size_t local_target) const;
  // 0 until a map names it.
  TargetId TargetIdOf(size_t local_target) const;
  const std::vector<LocalTarget>& targets() const { return targets_; }

 private:
  struct Snapshot {
    ChainMap map;
    std::unordered_map<ChainId, std::shared_ptr<ChainReplica>> replicas;
  };
  std::shared_ptr<const Snapshot> snapshot() const;
  std::shared_ptr<ChainReplica> MakeReplica(const ChainView& chain);
  using Replicas = std::unordered_map<ChainId, std::shared_ptr<ChainReplica>>;
  // False: there is a newer one. `dropped` gets the replicas that `next` no longer has.
  bool Publish(const std::shared_ptr<Snapshot>& next, Replicas* dropped);
  AdmissionState StateFor(const Snapshot* snapshot) const;

  const std::vector<LocalTarget> targets_;
  const Clock& clock_;
  const Neighbours neighbours_;
  std::vector<std::vector<Engine::StreamRow>> streams_;  // by target, until replicas take them
  std::atomic<int64_t> lease_deadline_ns_{0};
  Guarded<std::shared_ptr<const Snapshot>> snapshot_;
  std::atomic<uint64_t> map_in_force_{0};
};

}  // namespace sheaf::storage
