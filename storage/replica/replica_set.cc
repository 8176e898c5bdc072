#include "storage/replica/replica_set.h"

#include <algorithm>
#include <utility>

namespace sheaf::storage {

ReplicaSet::ReplicaSet(std::vector<LocalTarget> targets, const Clock& clock, Neighbours neighbours)
    : targets_(std::move(targets)),
      clock_(clock),
      neighbours_(std::move(neighbours)),
      streams_(targets_.size()) {}

Status ReplicaSet::LoadStreams() {
  for (size_t i = 0; i < targets_.size(); ++i) {
    ASSIGN_OR_RETURN(streams_[i], targets_[i].engine->LoadStreamRows());
  }
  return Status::Ok();
}

// One map after the other: the map stream's thread alone calls this.
void ReplicaSet::ApplyMap(const proto::ClusterMap& map) {
  std::vector<std::string> uuids;
  for (const LocalTarget& target : targets_) uuids.push_back(target.uuid);
  auto next = std::make_shared<Snapshot>();
  next->map = BuildChainMap(map, uuids);

  Replicas dropped;
  if (!Publish(next, &dropped)) return;
  // Their chains go on without this node. What is on the disk stays: it is in nobody's way.
  for (const auto& [id, replica] : dropped) replica->Stop();
  for (const auto& [id, replica] : next->replicas) {
    replica->Configure(next->map.chains.at(id));
    replica->ForgetStreams([&](Incarnation client) { return next->map.IsFenced(client); });
  }
  for (const LocalTarget& target : targets_) {
    target.engine->ForgetStreamRows(
        [next](Incarnation client) { return next->map.IsFenced(client); });
  }
}

std::shared_ptr<ChainReplica> ReplicaSet::MakeReplica(const ChainView& chain) {
  ChainReplica::Env env;
  env.peers = neighbours_.peers;
  env.mover = neighbours_.mover;
  env.repairer = neighbours_.repairer;
  if (neighbours_.home) env.home = &neighbours_.home();
  auto replica = std::make_shared<ChainReplica>(chain.id, chain.local().target,
                                                *targets_[chain.local_target].engine, env);
  for (const Engine::StreamRow& row : streams_[chain.local_target])
    if (row.chain == chain.id) replica->Learn(row);
  std::erase_if(streams_[chain.local_target],
                [&](const Engine::StreamRow& row) { return row.chain == chain.id; });
  return replica;
}

bool ReplicaSet::Publish(const std::shared_ptr<Snapshot>& next, Replicas* dropped) {
  auto current = snapshot_.Lock();
  if (*current && (*current)->map.version > next->map.version) return false;
  if (*current) *dropped = (*current)->replicas;
  for (const auto& [id, chain] : next->map.chains) {
    Engine& engine = *targets_[chain.local_target].engine;
    std::shared_ptr<ChainReplica> replica;
    if (*current) {
      auto known = (*current)->replicas.find(id);
      if (known != (*current)->replicas.end() && &known->second->engine() == &engine)
        replica = known->second;
    }
    if (replica) dropped->erase(id);
    if (!replica) replica = MakeReplica(chain);
    next->replicas.emplace(id, std::move(replica));
  }
  *current = next;
  return true;
}

void ReplicaSet::ExtendLease(Clock::Instant deadline) {
  int64_t current = lease_deadline_ns_.load();
  while (current < deadline.count() &&
         !lease_deadline_ns_.compare_exchange_weak(current, deadline.count())) {
  }
}

void ReplicaSet::DropLease() { lease_deadline_ns_ = 0; }

std::shared_ptr<const ReplicaSet::Snapshot> ReplicaSet::snapshot() const {
  return *snapshot_.Lock();
}

AdmissionState ReplicaSet::StateFor(const Snapshot* snapshot) const {
  return {snapshot ? &snapshot->map : nullptr, Clock::Instant(lease_deadline_ns_.load()),
          clock_.Now()};
}

Result<std::shared_ptr<ChainReplica>> ReplicaSet::Find(const AdmissionRequest& request) const {
  std::shared_ptr<const Snapshot> current = snapshot();
  ASSIGN_OR_RETURN(const ChainView* chain, Admit(StateFor(current.get()), request));
  return current->replicas.at(chain->id);
}

Result<std::shared_ptr<ChainReplica>> ReplicaSet::FindForPeer(ChainId chain) const {
  std::shared_ptr<const Snapshot> current = snapshot();
  if (current) {
    const auto found = current->replicas.find(chain);
    if (found != current->replicas.end()) return found->second;
  }
  return Status(Code::kWrongChain, "chain " + ToString(chain) + ": no replica on this node");
}

Status ReplicaSet::StillAdmits(const AdmissionRequest& request) const {
  std::shared_ptr<const Snapshot> current = snapshot();
  return Admit(StateFor(current.get()), request).status();
}

Status ReplicaSet::Serving() const {
  std::shared_ptr<const Snapshot> current = snapshot();
  return CheckLease(StateFor(current.get()));
}

Clock::Instant ReplicaSet::LeaseLeft() const {
  return Clock::Instant(lease_deadline_ns_.load()) - clock_.Now();
}

TargetId ReplicaSet::TargetIdOf(size_t local_target) const {
  std::shared_ptr<const Snapshot> current = snapshot();
  return current ? current->map.local_targets.at(local_target) : TargetId();
}

MapVersion ReplicaSet::map_in_force() {
  std::shared_ptr<const Snapshot> current = snapshot();
  if (!current) return MapVersion();
  const auto fenced = [&](Incarnation client) { return current->map.IsFenced(client); };
  const bool under_way =
      std::any_of(current->replicas.begin(), current->replicas.end(),
                  [&](const auto& entry) { return entry.second->AnyUnderWay(fenced); });
  if (!under_way) map_in_force_ = current->map.version.value();
  return MapVersion(map_in_force_);
}

void ReplicaSet::RequestRepair(size_t local_target, const Engine::ChunkKey& key) {
  const auto replica = FindForPeer(key.chain);
  if (!replica.ok() || &(*replica)->engine() != targets_[local_target].engine) return;
  (void)(*replica)->RequestRepair(key.chunk);
}

void ReplicaSet::Tick() {
  std::shared_ptr<const Snapshot> current = snapshot();
  if (!current) return;
  for (const auto& [id, replica] : current->replicas) replica->Tick();
}

void ReplicaSet::Stop() {
  std::shared_ptr<const Snapshot> current = snapshot();
  if (!current) return;
  for (const auto& [id, replica] : current->replicas) replica->Stop();
}

ReplicaSet::Counts ReplicaSet::GetCounts() const {
  Counts sum;
  std::shared_ptr<const Snapshot> current = snapshot();
  if (!current) return sum;
  for (const auto& [id, replica] : current->replicas) {
    const ChainReplica::Counts counts = replica->GetCounts();
    sum.streams.streams += counts.streams.streams;
    sum.streams.repeated += counts.streams.repeated;
    sum.streams.late += counts.streams.late;
    sum.uncommitted += counts.uncommitted;
    sum.diverged += counts.diverged;
    sum.resyncs += counts.sends_resync ? 1 : 0;
    sum.staged_bytes += counts.staged_bytes;
    sum.stages_lost += counts.stages_lost;
  }
  return sum;
}

std::vector<proto::ChainReport> ReplicaSet::ChainReports(size_t local_target) const {
  std::vector<proto::ChainReport> reports;
  std::shared_ptr<const Snapshot> current = snapshot();
  if (!current) return reports;
  for (const auto& [id, replica] : current->replicas) {
    if (current->map.chains.at(id).local_target != local_target) continue;
    if (auto report = replica->Report()) reports.push_back(std::move(*report));
  }
  return reports;
}

MapVersion ReplicaSet::map_version() const {
  std::shared_ptr<const Snapshot> current = snapshot();
  return current ? current->map.version : MapVersion();
}

}  // namespace sheaf::storage
