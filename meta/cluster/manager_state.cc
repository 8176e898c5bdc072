#include "meta/cluster/manager_state.h"

#include <algorithm>
#include <utility>

#include "meta/cluster/membership.h"

namespace sheaf::meta {
namespace {

// Whether the change of `chain` to `next` ends a member's part in it.
bool SomeoneLeft(const proto::Chain& chain, const proto::Chain& next) {
  return std::any_of(chain.members().begin(), chain.members().end(), [&](const auto& before) {
    return TakesPart(before) &&
           std::none_of(next.members().begin(), next.members().end(), [&](const auto& after) {
             return TakesPart(after) && after.target_id() == before.target_id();
           });
  });
}

}  // namespace

ManagerState::ManagerState(const LeaseOptions& options, proto::ClusterMap recovered,
                           Clock::Instant now)
    : options_(options),
      cluster_uuid_(recovered.cluster_uuid()),
      version_(recovered.version()),
      fenced_(recovered.fenced()),
      fence_version_(recovered.fenced().empty() ? 0 : recovered.version()) {
  const Clock::Instant earlier_leases_over = now + options.surely_over();
  for (proto::Node& row : *recovered.mutable_nodes()) {
    // The last change may have been persisted and never told: whoever has not seen it waits.
    nodes_[row.id()] = {.row = row,
                        .lease_over = earlier_leases_over,
                        .leased_until = earlier_leases_over,
                        .must_know_version = version_};
  }
  for (proto::Target& row : *recovered.mutable_targets()) targets_[row.id()] = {.row = row};
  for (proto::Chain& row : *recovered.mutable_chains()) {
    chains_[row.id()] = row;
    chain_since_[row.id()] = version_;
  }
  for (proto::ChainTable& row : *recovered.mutable_tables()) tables_[row.version()] = row;
}

Result<proto::HeartbeatResponse> ManagerState::Heartbeat(const proto::HeartbeatRequest& request,
                                                         Clock::Instant now) {
  auto found = nodes_.find(request.node_id());
  if (found == nodes_.end() || found->second.row.uuid() != request.uuid()) {
    return Status(Code::kNotFound, "heartbeat of node " + std::to_string(request.node_id()) +
                                       ": no such node is registered (uuid " + request.uuid() +
                                       ")");
  }
  NodeEntry& node = found->second;
  if (node.replaced || node.row.process() != request.process()) {
    return Status(Code::kNotFound, "heartbeat of node " + std::to_string(request.node_id()) +
                                       ": its server began anew since process " +
                                       request.process());
  }
  if (node.stopped) {  // this one was overtaken by the last
    return Status(Code::kNotFound, "heartbeat of node " + std::to_string(request.node_id()) +
                                       ": process " + request.process() + " has stopped");
  }
  for (const proto::TargetReport& report : request.targets()) {
    auto target = targets_.find(report.id());
    if (target == targets_.end() || target->second.row.node_id() != request.node_id()) continue;
    TakeReport(target->second, report);
  }
  proto::HeartbeatResponse response;
  response.set_map_version(version_);
  if (request.stopping()) {
    node.stopped = true;
    node.over_at = node.lease_over = node.leased_until = now;
    return response;
  }
  // Even the node that gets no lease has been heard: once it knows the map, chains take it back.
  node.lease_over = now + options_.surely_over();
  node.heard = true;
  node.heard_at = now;
  node.known_version = std::max(node.known_version, request.map_version());
  node.out_of_reach.clear();
  for (uint32_t other : request.out_of_reach()) {
    if (nodes_.contains(other)) node.out_of_reach.insert(other);
  }
  if (request.map_version() >= std::max(node.must_know_version, fence_version_)) {
    node.leased_until = now + options_.surely_over();
    response.set_lease_ms(static_cast<uint32_t>(options_.lease.count()));
  }
  return response;
}

void ManagerState::TakeReport(TargetEntry& target, const proto::TargetReport& report) {
  target.local = report.state();
  target.stalled = report.stalled();
  target.chains.clear();
  for (const proto::ChainReport& chain : report.chains()) target.chains[chain.chain_id()] = chain;
  target.row.set_used_bytes(report.used_bytes());
  target.row.set_total_bytes(report.total_bytes());
}

bool ManagerState::TakesPart(const proto::Chain& chain, uint32_t node) const {
  return std::any_of(
      chain.members().begin(), chain.members().end(), [&](const proto::ChainMember& member) {
        return meta::TakesPart(member) && targets_.at(member.target_id()).row.node_id() == node;
      });
}

bool ManagerState::TakesPart(const TargetEntry& target) const {
  for (const auto& [id, chain] : chains_) {
    for (const proto::ChainMember& member : chain.members()) {
      if (member.target_id() == target.row.id() && meta::TakesPart(member)) return true;
    }
  }
  return false;
}

bool ManagerState::Works(const TargetEntry& target, Clock::Instant now) const {
  const bool usable = target.local == proto::UP_TO_DATE || target.local == proto::ONLINE;
  return usable && now < nodes_.at(target.row.node_id()).lease_over;
}

TargetHealth ManagerState::HealthOf(TargetId id, const proto::Chain& chain, Clock::Instant since,
                                    Clock::Instant now) const {
  const TargetEntry& target = targets_.at(id.value());
  const NodeEntry& node = nodes_.at(target.row.node_id());
  if (node.replaced) return TargetHealth::kRestarted;
  if (now >= node.lease_over) return TargetHealth::kGone;
  if (!node.heard) return TargetHealth::kUnknown;
  if (!Works(target, now)) return TargetHealth::kGone;
  if (node.heard_at < since) return TargetHealth::kUnknown;
  const auto report = target.chains.find(chain.id());
  const bool complete = report != target.chains.end() && report->second.complete() &&
                        report->second.chain_version() == chain.version();
  return complete ? TargetHealth::kComplete : TargetHealth::kUp;
}

bool ManagerState::LinkBroken(TargetId one, TargetId other, Clock::Instant now) const {
  const uint32_t nodes[] = {targets_.at(one.value()).row.node_id(),
                            targets_.at(other.value()).row.node_id()};
  const auto says = [&](uint32_t node, uint32_t of) {
    const NodeEntry& entry = nodes_.at(node);
    return entry.heard && now < entry.lease_over && entry.out_of_reach.contains(of);
  };
  return says(nodes[0], nodes[1]) || says(nodes[1], nodes[0]);
}

bool ManagerState::IsCutOff(const proto::ChainMember& member, const proto::Chain& chain,
                            Clock::Instant now) const {
  if (member.state() == proto::SERVING) return false;
  if (targets_.at(member.target_id()).stalled) return true;
  return std::any_of(
      chain.members().begin(), chain.members().end(), [&](const proto::ChainMember& other) {
        return other.state() == proto::SERVING && Works(targets_.at(other.target_id()), now) &&
               LinkBroken(TargetId(member.target_id()), TargetId(other.target_id()), now);
      });
}

proto::Chain ManagerState::NextOf(const proto::Chain& chain, Clock::Instant now) const {
  Clock::Instant since = now - options_.overdue();
  for (const proto::ChainMember& member : chain.members()) {
    const NodeEntry& node = nodes_.at(targets_.at(member.target_id()).row.node_id());
    if (member.state() == proto::SERVING && (node.replaced || node.stopped)) {
      since = std::max(since, node.over_at);
    }
  }
  return NextChain(chain, [&](TargetId target) {
    const TargetHealth health = HealthOf(target, chain, since, now);
    const bool up = health == TargetHealth::kUp || health == TargetHealth::kComplete;
    return up && IsCutOff(MemberOf(chain, target), chain, now) ? TargetHealth::kCutOff : health;
  });
}

std::optional<proto::ClusterMap> ManagerState::PlanTransitions(Clock::Instant now) {
  proto::ClusterMap change;
  change.set_version(version_ + 1);
  for (const auto& [id, node] : nodes_) {
    const bool leased = now < node.lease_over;
    if (leased && !node.heard) continue;  // an earlier manager's lease may run: nothing is known
    const proto::NodeState state = leased ? proto::NODE_UP : proto::NODE_DOWN;
    if (node.row.state() == state || node.row.state() == proto::NODE_DRAINING) continue;
    proto::Node* row = change.add_nodes();
    *row = node.row;
    row->set_state(state);
  }
  for (const auto& [id, chain] : chains_) {
    proto::Chain next = NextStep(chain, now);
    if (next.version() != chain.version()) *change.add_chains() = std::move(next);
  }
  if (change.nodes().empty() && change.chains().empty()) return std::nullopt;
  HoldLeases(change);
  return change;
}

// A heartbeat may arrive between this plan and its telling: it must not bring a lease back to a
// node that acts on the chains as they were.
void ManagerState::HoldLeases(const proto::ClusterMap& change) {
  for (const proto::Chain& chain : change.chains()) {
    for (const proto::ChainMember& member : chain.members()) {
      if (member.state() != proto::OFFLINE && member.state() != proto::LAST_SERVING) continue;
      nodes_.at(targets_.at(member.target_id()).row.node_id()).must_know_version = change.version();
    }
  }
}

bool ManagerState::FenceOver(Clock::Instant now) const {
  const uint64_t needed = std::max(fence_version_, left_version_);
  return version_ >= fence_version_ &&
         std::all_of(nodes_.begin(), nodes_.end(), [&](const auto& entry) {
           const NodeEntry& node = entry.second;
           if (node.known_version >= needed) return true;
           return now >= node.leased_until &&
                  std::none_of(chains_.begin(), chains_.end(), [&](const auto& chain) {
                    return TakesPart(chain.second, entry.first);
                  });
         });
}

std::optional<proto::ClusterMap> ManagerState::PlanFence(const FencedRanges& ended) {
  if (ended == fenced_) return std::nullopt;
  proto::ClusterMap change;
  change.set_version(version_ + 1);
  ended.CopyTo(change.mutable_fenced());
  fence_version_ = change.version();
  return change;
}

void ManagerState::SettleFence(Clock::Instant now) {
  if (everywhere_version_ == fence_version_ || !FenceOver(now)) return;
  fenced_everywhere_ = fenced_;
  everywhere_version_ = fence_version_;
}

bool ManagerState::FencedEverywhere(Incarnation session) const {
  return fenced_everywhere_.Contains(session);
}

Result<std::optional<proto::CreateChainsResponse>> ManagerState::FindChains(
    const proto::CreateChainsRequest& request) const {
  if (tables_.empty()) return std::optional<proto::CreateChainsResponse>();
  const proto::ChainTable& table = tables_.rbegin()->second;
  const int replicas =
      table.chain_ids().empty() ? 0 : WantedMembers(chains_.at(table.chain_ids(0)));
  if (static_cast<uint32_t>(replicas) != request.replicas()) {
    return Status(Code::kExists, "create chains: the cluster has chains of " +
                                     std::to_string(replicas) + " replicas, asked for " +
                                     std::to_string(request.replicas()));
  }
  proto::CreateChainsResponse response;
  response.set_table_version(table.version());
  response.set_chains(table.chain_ids_size());
  return std::optional(response);
}

Result<std::vector<std::vector<TargetId>>> ManagerState::PlaceNewChains(
    const proto::CreateChainsRequest& request, Clock::Instant now) const {
  std::vector<PlacementTarget> usable;
  for (const auto& [id, target] : targets_) {
    if (!Works(target, now) || Drains(TargetId(id))) continue;
    usable.push_back(PlacementOf(TargetId(id)));
  }
  if (usable.empty()) {
    return Status(Code::kUnavailable,
                  "create chains: no storage target is up; start a storage server first");
  }
  const uint32_t chains = request.chains_per_target();
  return PlaceChains(std::move(usable), request.replicas(),
                     chains == 0 ? kDefaultChainsPerTarget : chains);
}

proto::ClusterMap ManagerState::PlanCreateChains(const std::vector<std::vector<TargetId>>& members,
                                                 ChainId first) const {
  proto::ClusterMap change;
  change.set_version(version_ + 1);
  proto::ChainTable* table = change.add_tables();
  table->set_version(tables_.empty() ? 1 : tables_.rbegin()->first + 1);
  uint32_t next = first.value();
  for (const std::vector<TargetId>& targets : members) {
    proto::Chain* chain = change.add_chains();
    chain->set_id(next);
    chain->set_version(1);
    chain->set_replicas(static_cast<uint32_t>(targets.size()));
    for (TargetId target : targets) {
      proto::ChainMember* member = chain->add_members();
      member->set_target_id(target.value());
      member->set_state(proto::SERVING);
    }
    table->add_chain_ids(next++);
  }
  return change;
}

void ManagerState::Apply(const proto::ClusterMap& change) {
  CHECK(change.version() == version_ + 1, "cluster map change " + std::to_string(change.version()) +
                                              " does not follow " + std::to_string(version_));
  version_ = change.version();
  for (const proto::Node& row : change.nodes()) {
    NodeEntry& node = nodes_[row.id()];
    if (node.row.process() != row.process()) {
      node.replaced = node.stopped = false;
      node.out_of_reach.clear();
    }
    node.row = row;
  }
  for (const proto::Target& row : change.targets()) {
    TargetEntry& target = targets_[row.id()];
    target.row.set_id(row.id());
    target.row.set_node_id(row.node_id());
    target.row.set_uuid(row.uuid());
    target.row.set_place(row.place());
  }
  for (const proto::Chain& row : change.chains()) {
    if (SomeoneLeft(chains_[row.id()], row)) left_version_ = version_;
    chains_[row.id()] = row;
    chain_since_[row.id()] = version_;
  }
  for (const proto::ChainTable& row : change.tables()) tables_[row.version()] = row;
  if (!change.fenced().empty()) fenced_ = FencedRanges(change.fenced());
}

// The enumeration rises from serving to offline: the worst of a target's chains counts.
std::map<uint32_t, proto::TargetState> ManagerState::StatesInChains() const {
  std::map<uint32_t, proto::TargetState> states;
  for (const auto& [id, chain] : chains_) {
    for (const proto::ChainMember& member : chain.members()) {
      proto::TargetState& state = states[member.target_id()];
      state = std::max(state, member.state());
    }
  }
  return states;
}

ManagerState::Space ManagerState::TotalSpace() const {
  Space space;
  for (const auto& [id, target] : targets_) {
    space.used_bytes += target.row.used_bytes();
    space.total_bytes += target.row.total_bytes();
  }
  return space;
}

proto::Resync ManagerState::Resync(Clock::Instant now) const {
  proto::Resync sum;
  std::map<uint32_t, uint64_t> rates;  // by node: it tells that of all its resyncs with each chain
  for (const auto& [id, chain] : chains_) {
    for (const proto::ChainMember& member : chain.members()) {
      const TargetEntry& target = targets_.at(member.target_id());
      const auto report = target.chains.find(id);
      if (member.state() != proto::SERVING || report == target.chains.end()) continue;
      if (report->second.chain_version() != chain.version() || !Works(target, now)) continue;
      sum.set_chunks_left(sum.chunks_left() + report->second.chunks_left());
      rates[target.row.node_id()] = report->second.bytes_per_s();
    }
  }
  for (const auto& [node, rate] : rates) sum.set_bytes_per_s(sum.bytes_per_s() + rate);
  return sum;
}

proto::ClusterMap ManagerState::Map() const {
  proto::ClusterMap map;
  map.set_version(version_);
  map.set_cluster_uuid(cluster_uuid_);
  for (const auto& [id, node] : nodes_) *map.add_nodes() = node.row;
  const std::map<uint32_t, proto::TargetState> states = StatesInChains();
  for (const auto& [id, target] : targets_) {
    proto::Target* row = map.add_targets();
    *row = target.row;
    const bool up = nodes_.at(target.row.node_id()).row.state() != proto::NODE_DOWN;
    const bool usable = up && target.local != proto::FAILED;
    auto state = states.find(id);
    row->set_state(state != states.end() ? state->second
                                         : (usable ? proto::WAITING : proto::OFFLINE));
  }
  for (const auto& [id, chain] : chains_) *map.add_chains() = chain;
  for (const auto& [version, table] : tables_) *map.add_tables() = table;
  fenced_.CopyTo(map.mutable_fenced());
  return map;
}

}  // namespace sheaf::meta
