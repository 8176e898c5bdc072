#include "storage/replica/chain_map.h"

#include <algorithm>
#include <iterator>

namespace sheaf::storage {
namespace {

struct KnownTarget {
  NodeId node;
  std::optional<size_t> local;
};

using TargetIndex = std::unordered_map<uint32_t, KnownTarget>;

TargetIndex IndexTargets(const proto::ClusterMap& map,
                         const std::vector<std::string>& target_uuids) {
  TargetIndex index;
  for (const proto::Target& target : map.targets()) {
    KnownTarget known{NodeId(target.node_id()), std::nullopt};
    for (size_t i = 0; i < target_uuids.size(); ++i)
      if (target_uuids[i] == target.uuid()) known.local = i;
    index.emplace(target.id(), known);
  }
  return index;
}

std::optional<ChainView> BuildChain(const proto::Chain& chain, const TargetIndex& targets) {
  ChainView view;
  view.id = ChainId(chain.id());
  view.version = ChainVersion(chain.version());
  bool ours = false;
  for (const proto::ChainMember& member : chain.members()) {
    auto target = targets.find(member.target_id());
    if (target == targets.end()) continue;
    if (target->second.local) {
      ours = true;
      view.local_member = view.members.size();
      view.local_target = *target->second.local;
    }
    view.members.push_back(
        {TargetId(member.target_id()), target->second.node, member.state(), member.leaving()});
  }
  if (!ours) return std::nullopt;
  return view;
}

}  // namespace

ChainMap BuildChainMap(const proto::ClusterMap& map, const std::vector<std::string>& target_uuids) {
  ChainMap result;
  result.version = MapVersion(map.version());
  result.cluster_uuid = map.cluster_uuid();
  const TargetIndex targets = IndexTargets(map, target_uuids);
  result.local_targets.resize(target_uuids.size());
  for (const auto& [id, target] : targets)
    if (target.local) result.local_targets[*target.local] = TargetId(id);
  for (const proto::Chain& chain : map.chains())
    if (auto view = BuildChain(chain, targets)) result.chains.emplace(view->id, std::move(*view));
  result.fenced.assign(map.fenced().begin(), map.fenced().end());
  return result;
}

bool ChainMap::IsFenced(Incarnation incarnation) const {
  const auto after = std::upper_bound(
      fenced.begin(), fenced.end(), incarnation.value(),
      [](uint64_t value, const proto::IncarnationRange& range) { return value < range.first(); });
  return after != fenced.begin() && incarnation.value() <= std::prev(after)->last();
}

}  // namespace sheaf::storage
