#include "meta/cluster/placement.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace sheaf::meta {
namespace {

Status Validate(const std::vector<PlacementTarget>& targets, uint32_t replicas,
                uint32_t chains_per_target) {
  if (replicas == 0 || replicas > kMaxReplicas) {
    return {Code::kInvalid, "create chains: " + std::to_string(replicas) +
                                " replicas is outside 1 to " + std::to_string(kMaxReplicas)};
  }
  if (chains_per_target == 0 || chains_per_target > kMaxChainsPerTarget) {
    return {Code::kInvalid, "create chains: " + std::to_string(chains_per_target) +
                                " chains a target is outside 1 to " +
                                std::to_string(kMaxChainsPerTarget)};
  }
  std::set<std::string> domains;
  for (const PlacementTarget& target : targets) domains.insert(DomainOf(target));
  if (domains.size() < replicas) {
    return {Code::kInvalid, "create chains: " + std::to_string(replicas) +
                                " replicas need as many nodes or failure domains, there are " +
                                std::to_string(domains.size()) + " with a working target"};
  }
  if (targets.size() * chains_per_target > kMaxChains * uint64_t{replicas}) {
    return {Code::kInvalid, "create chains: " + std::to_string(targets.size()) + " targets of " +
                                std::to_string(chains_per_target) + " chains exceed " +
                                std::to_string(kMaxChains) + " chains"};
  }
  return Status::Ok();
}

// Takes one target of each node in turn.
std::vector<PlacementTarget> Interleave(std::vector<PlacementTarget> targets) {
  std::map<NodeId, std::vector<PlacementTarget>> by_node;
  std::sort(targets.begin(), targets.end(),
            [](const auto& a, const auto& b) { return a.target < b.target; });
  for (PlacementTarget& target : targets) by_node[target.node].push_back(std::move(target));
  std::vector<PlacementTarget> order;
  for (size_t turn = 0; order.size() < targets.size(); ++turn) {
    for (auto& [node, own] : by_node) {
      if (turn < own.size()) order.push_back(own[turn]);
    }
  }
  return order;
}

class Placer {
 public:
  explicit Placer(std::vector<PlacementTarget> targets)
      : targets_(std::move(targets)), load_(targets_.size(), 0) {}

  std::vector<TargetId> Place(size_t head, uint32_t replicas) {
    std::vector<size_t> members{head};
    while (members.size() < replicas) {
      members.push_back(Best(members));
    }
    std::vector<TargetId> chain;
    for (size_t member : members) {
      ++load_[member];
      chain.push_back(targets_[member].target);
      for (size_t other : members) ++shared_[{targets_[member].node, targets_[other].node}];
    }
    return chain;
  }

  // Heads to come count as load from the start, so that they are not piled upon.
  void ReserveHeads(size_t chains) {
    for (size_t i = 0; i < chains; ++i) ++load_[i % targets_.size()];
  }
  void ReleaseHead(size_t head) { --load_[head]; }

 private:
  bool Conflicts(const std::vector<size_t>& members, size_t candidate) const {
    return std::any_of(members.begin(), members.end(), [&](size_t member) {
      return DomainOf(targets_[member]) == DomainOf(targets_[candidate]);
    });
  }

  size_t Best(const std::vector<size_t>& members) {
    const size_t none = targets_.size();
    size_t best = none;
    std::tuple<uint32_t, uint32_t, size_t> best_cost;
    for (size_t i = 0; i < targets_.size(); ++i) {
      if (Conflicts(members, i)) continue;
      uint32_t shared = 0;
      for (size_t member : members) shared += shared_[{targets_[member].node, targets_[i].node}];
      const size_t distance = (i + targets_.size() - members.front()) % targets_.size();
      const std::tuple cost{load_[i], shared, distance};
      if (best != none && cost >= best_cost) continue;
      best = i;
      best_cost = cost;
    }
    CHECK(best != none, "placement found no target for a member");
    return best;
  }

  std::vector<PlacementTarget> targets_;
  std::vector<uint32_t> load_;
  std::map<std::pair<NodeId, NodeId>, uint32_t> shared_;  // chains two nodes have in common
};

}  // namespace

std::string DomainOf(const PlacementTarget& target) {
  return target.failure_domain.empty() ? "node " + ToString(target.node)
                                       : "domain " + target.failure_domain;
}

Result<std::vector<std::vector<TargetId>>> PlaceChains(std::vector<PlacementTarget> targets,
                                                       uint32_t replicas,
                                                       uint32_t chains_per_target) {
  RETURN_IF_ERROR(Validate(targets, replicas, chains_per_target));
  const size_t count = (targets.size() * chains_per_target + replicas - 1) / replicas;
  const size_t target_count = targets.size();
  Placer placer(Interleave(std::move(targets)));
  placer.ReserveHeads(count);
  std::vector<std::vector<TargetId>> chains;
  for (size_t i = 0; i < count; ++i) {
    placer.ReleaseHead(i % target_count);
    chains.push_back(placer.Place(i % target_count, replicas));
  }
  return chains;
}

std::optional<TargetId> PlaceMember(const std::vector<PlacementTarget>& members, uint64_t bytes,
                                    const std::vector<SpareTarget>& spares) {
  std::set<std::string> taken;
  for (const PlacementTarget& member : members) taken.insert(DomainOf(member));
  const SpareTarget* best = nullptr;
  const auto cost = [](const SpareTarget& spare) {
    return std::tuple(spare.chains, ~spare.free_bytes, spare.target.target);
  };
  for (const SpareTarget& spare : spares) {
    if (spare.free_bytes < bytes || taken.contains(DomainOf(spare.target))) continue;
    if (best == nullptr || cost(spare) < cost(*best)) best = &spare;
  }
  return best == nullptr ? std::nullopt : std::optional(best->target.target);
}

}  // namespace sheaf::meta
