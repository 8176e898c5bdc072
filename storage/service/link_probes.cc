#include "storage/service/link_probes.h"

#include <algorithm>
#include <set>
#include <utility>

#include "common/log.h"

namespace sheaf::storage {
namespace {

constexpr std::chrono::milliseconds kAnswerTimeout = LinkProbes::kRound * LinkWatch::kMissedMax;

std::map<NodeId, TargetId> NeighboursIn(const proto::ClusterMap& map,
                                        const std::vector<std::string>& own_targets) {
  std::map<uint32_t, uint32_t> node_of;
  std::set<uint32_t> own_nodes;
  for (const proto::Target& target : map.targets()) {
    node_of[target.id()] = target.node_id();
    if (std::find(own_targets.begin(), own_targets.end(), target.uuid()) != own_targets.end())
      own_nodes.insert(target.node_id());
  }
  std::set<uint32_t> down;
  for (const proto::Node& node : map.nodes()) {
    if (node.state() == proto::NODE_DOWN) down.insert(node.id());
  }
  std::map<NodeId, TargetId> neighbours;
  for (const proto::Chain& chain : map.chains()) {
    const auto is_own = [&](const proto::ChainMember& member) {
      return own_nodes.contains(node_of[member.target_id()]);
    };
    if (std::none_of(chain.members().begin(), chain.members().end(), is_own)) continue;
    for (const proto::ChainMember& member : chain.members()) {
      const uint32_t node = node_of[member.target_id()];
      if (!own_nodes.contains(node) && !down.contains(node))
        neighbours.emplace(NodeId(node), TargetId(member.target_id()));
    }
  }
  return neighbours;
}

}  // namespace

LinkProbes::LinkProbes(Peers& peers, std::vector<std::string> targets, const Clock& clock,
                       Metrics* metrics)
    : peers_(peers), targets_(std::move(targets)), clock_(clock) {
  if (metrics == nullptr) return;
  count_ =
      &metrics->AddGauge("sheaf_storage_neighbours_out_of_reach",
                         "Servers that share a chain with this one, are up, and do not answer it");
}

void LinkProbes::Update(const proto::ClusterMap& map) {
  std::map<NodeId, TargetId> neighbours = NeighboursIn(map, targets_);
  std::set<NodeId> nodes;
  for (const auto& [node, target] : neighbours) nodes.insert(node);
  const std::lock_guard lock(state_->mutex);
  state_->watch.SetNeighbours(nodes);
  state_->target_on = std::move(neighbours);
}

void LinkProbes::Tick() {
  std::map<NodeId, TargetId> asked;
  {
    const std::lock_guard lock(state_->mutex);
    const Clock::Instant now = clock_.Now();
    if (now < state_->next_round) return;
    state_->next_round = now + kRound;
    for (NodeId node : state_->watch.BeginRound()) asked.emplace(node, state_->target_on.at(node));
    std::vector<NodeId> out_of_reach = state_->watch.OutOfReach();
    for (NodeId node : out_of_reach) {
      const auto& before = state_->out_of_reach;
      if (std::find(before.begin(), before.end(), node) != before.end()) continue;
      LogWarn("node {} does not answer this one, though it is up; the manager is told",
              ToString(node));
    }
    for (NodeId node : state_->out_of_reach) {
      if (std::find(out_of_reach.begin(), out_of_reach.end(), node) == out_of_reach.end())
        LogInfo("node {} answers again, or is no neighbour any more", ToString(node));
    }
    if (count_ != nullptr) count_->Set(static_cast<double>(out_of_reach.size()));
    state_->out_of_reach = std::move(out_of_reach);
  }
  for (const auto& [node, target] : asked) Ask(node, target);
}

void LinkProbes::Ask(NodeId node, TargetId target) {
  peers_.Call(target,
              {.method = transport::Method::kEcho, .deadline = clock_.Now() + kAnswerTimeout},
              [state = state_, node](const Result<transport::Reply>& reply) {
                const Code code = reply.status().code();
                const bool refused = code == Code::kBusy || code == Code::kUnsupported;
                if (!reply.ok() && !refused) return;
                const std::lock_guard lock(state->mutex);
                state->watch.OnAnswer(node);
              });
}

std::vector<NodeId> LinkProbes::OutOfReach() const {
  const std::lock_guard lock(state_->mutex);
  return state_->out_of_reach;
}

}  // namespace sheaf::storage
