#include "storage/replica/replica_set.h"

#include <utility>

namespace sheaf::storage {

ReplicaSet::ReplicaSet(std::vector<LocalTarget> targets, const Clock& clock)
    : targets_(std::move(targets)), clock_(clock) {}

void ReplicaSet::ApplyMap(const proto::ClusterMap& map) {
  std::vector<std::string> uuids;
  for (const LocalTarget& target : targets_) uuids.push_back(target.uuid);
  auto next = std::make_shared<Snapshot>();
  next->map = BuildChainMap(map, uuids);

  Publish(next);
  retries_.Forget([&](Incarnation client) { return next->map.IsFenced(client); });
}

void ReplicaSet::Publish(const std::shared_ptr<Snapshot>& next) {
  auto current = snapshot_.Lock();
  if (*current && (*current)->map.version > next->map.version) return;
  for (const auto& [id, chain] : next->map.chains) {
    Engine& engine = *targets_[chain.local_target].engine;
    std::shared_ptr<ChainReplica> replica;
    if (*current) {
      auto known = (*current)->replicas.find(id);
      if (known != (*current)->replicas.end() && &known->second->engine() == &engine)
        replica = known->second;
    }
    if (!replica) replica = std::make_shared<ChainReplica>(id, engine);
    next->replicas.emplace(id, std::move(replica));
  }
  *current = next;
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

Result<ReplicaSet::Admitted> ReplicaSet::Find(const AdmissionRequest& request) const {
  std::shared_ptr<const Snapshot> current = snapshot();
  ASSIGN_OR_RETURN(const ChainView* chain, Admit(StateFor(current.get()), request));
  return Admitted{current->replicas.at(chain->id), chain->version};
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
  if (!retries_.AnyUnderWay(fenced)) map_in_force_ = current->map.version.value();
  return MapVersion(map_in_force_);
}

MapVersion ReplicaSet::map_version() const {
  std::shared_ptr<const Snapshot> current = snapshot();
  return current ? current->map.version : MapVersion();
}

}  // namespace sheaf::storage
