#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "storage/replica/admission.h"
#include "storage/replica/chain_map.h"
#include "storage/replica/link_watch.h"
#include "tests/sim/sim_engine.h"
#include "tests/sim/sim_replica.h"
#include "tests/sim/world.h"

namespace sheaf::sim {

// Where every node has its disk.
inline constexpr const char* kPlace = "disk";
std::string NodeUuid(uint32_t node, uint32_t disk);
std::string TargetUuid(uint32_t node, uint32_t disk);
std::string NodeProcess(uint32_t node, uint32_t life);

// A storage server with one disk: the lease, the map and the replicas that ReplicaSet and
// ManagerLink have in the product.
class SimNode {
 public:
  SimNode(World& world, Actor& actor, uint32_t id);

  uint32_t id() const { return id_; }
  TargetId target() const { return TargetId(id_); }
  Actor& actor() { return actor_; }
  SimEngine& engine() { return engine_; }
  World& world() { return world_; }
  std::string ProcessName() const;
  // Both are on its disk.
  std::string Uuid() const { return NodeUuid(id_, disk_); }
  std::string TargetUuid() const { return sim::TargetUuid(id_, disk_); }

  void Kill();
  Time killed_at() const { return killed_at_; }
  // `registered`: the manager knows this process from the beginning.
  void Boot(bool registered);
  // REQUIRES: it is down. An empty disk has the place of its own.
  void LoseDisk();
  void JumpClock(Time by) { jumped_ += by; }

  void ApplyMap(const MapRef& map);
  const storage::ChainMap* map() const { return map_.get(); }
  uint64_t map_version() const { return map_ ? map_->version.value() : 0; }

  Result<const storage::ChainView*> Admit(const storage::AdmissionRequest& request) const;

  // ---- as asked by clients ----
  void OnMutate(const MutateRequest& request, const Network::Responder<MutateAnswer>& reply);
  void OnRead(const ReadRequest& request, const Network::Responder<Image>& reply);

  // Null when there is none in this life.
  SimReplica* replica(ChainId chain);
  const std::map<ChainId, std::unique_ptr<SimReplica>>& replicas() const { return replicas_; }

 private:
  Clock::Instant LocalNow() const;
  bool Leased() const;
  uint64_t MapInForce();
  void Beat();
  void Register();
  void Heartbeat();
  void Probe();
  void FetchMap();
  void AddReport(google::protobuf::RepeatedPtrField<proto::TargetReport>* reports);
  void Tick();

  World& world_;
  Actor& actor_;
  const uint32_t id_;
  Random random_;
  SimEngine engine_;
  Time jumped_ = 0;
  uint32_t disk_ = 1;
  Time killed_at_ = 0;

  // Of this life.
  bool registered_ = false;
  bool fetching_ = false;
  bool registering_ = false;
  Clock::Instant lease_deadline_{};
  std::unique_ptr<storage::ChainMap> map_;
  uint64_t in_force_ = 0;
  storage::LinkWatch links_;
  Time next_probe_ = 0;
  std::map<ChainId, std::unique_ptr<SimReplica>> replicas_;
  std::set<ChainId> learned_;  // chains whose rows were read
  std::vector<std::unique_ptr<SimReplica>> dropped_;  // what is under way may still end
};

}  // namespace sheaf::sim
