#include <algorithm>
#include <string>
#include <utility>

#include "meta/cluster/manager_state.h"
#include "meta/cluster/membership.h"

// Operators' changes of who holds which chain, and the steps that follow from them.

namespace sheaf::meta {
namespace {

std::string Name(const char* what, uint32_t id) { return what + (" " + std::to_string(id)); }

}  // namespace

// ---- what is known ----

bool ManagerState::Drains(TargetId target) const {
  const NodeEntry& node = nodes_.at(targets_.at(target.value()).row.node_id());
  return node.row.state() == proto::NODE_DRAINING;
}

PlacementTarget ManagerState::PlacementOf(TargetId target) const {
  const proto::Node& node = nodes_.at(targets_.at(target.value()).row.node_id()).row;
  return {target, NodeId(node.id()), node.failure_domain()};
}

std::vector<PlacementTarget> ManagerState::StayingMembers(const proto::Chain& chain) const {
  std::vector<PlacementTarget> staying;
  for (const proto::ChainMember& member : chain.members()) {
    const TargetId target(member.target_id());
    if (!Drains(target)) staying.push_back(PlacementOf(target));
  }
  return staying;
}

std::map<uint32_t, uint32_t> ManagerState::ChainsByTarget() const {
  std::map<uint32_t, uint32_t> chains;
  for (const auto& [id, chain] : chains_) {
    for (const proto::ChainMember& member : chain.members()) ++chains[member.target_id()];
  }
  return chains;
}

std::vector<SpareTarget> ManagerState::Spares(Clock::Instant now) const {
  std::map<uint32_t, uint32_t> chains = ChainsByTarget();
  std::vector<SpareTarget> spares;
  for (const auto& [id, target] : targets_) {
    const TargetId target_id(id);
    if (!Works(target, now) || Drains(target_id)) continue;
    const uint64_t used = std::min(target.row.used_bytes(), target.row.total_bytes());
    spares.push_back({PlacementOf(target_id), chains[id], target.row.total_bytes() - used});
  }
  return spares;
}

uint32_t ManagerState::ChainsOn(NodeId node) const {
  return static_cast<uint32_t>(
      std::count_if(chains_.begin(), chains_.end(),
                    [&](const auto& entry) { return HasMemberOn(entry.second, node); }));
}

bool ManagerState::HasMemberOn(const proto::Chain& chain, NodeId node) const {
  return std::any_of(chain.members().begin(), chain.members().end(),
                     [&](const proto::ChainMember& member) {
                       return targets_.at(member.target_id()).row.node_id() == node.value();
                     });
}

proto::Chain ManagerState::NextStep(const proto::Chain& chain, Clock::Instant now) const {
  proto::Chain next = NextOf(chain, now);
  if (next.version() != chain.version()) return next;
  MemberView view;
  view.drains = [this](TargetId target) { return Drains(target); };
  view.up = [&](TargetId target) {
    const TargetHealth health = HealthOf(target, chain, now - options_.overdue(), now);
    return health == TargetHealth::kUp || health == TargetHealth::kComplete;
  };
  view.knows = [&](TargetId target) {
    const NodeEntry& node = nodes_.at(targets_.at(target.value()).row.node_id());
    return node.known_version >= chain_since_.at(chain.id());
  };
  view.stalled = [&](TargetId target) { return targets_.at(target.value()).stalled; };
  view.broken = [&](TargetId one, TargetId other) { return LinkBroken(one, other, now); };
  if (const auto member = CutOffMember(chain, view)) {
    return NextCutOff(chain, *member, view).value_or(chain);
  }
  return NextRemoval(chain, view).value_or(chain);
}

// ---- one target for another ----

ManagerState::Change ManagerState::PlanReplaceTarget(const proto::ReplaceTargetRequest& request,
                                                     Clock::Instant now) {
  RETURN_IF_ERROR(CheckReplacement(request, now));
  proto::ClusterMap change;
  change.set_version(version_ + 1);
  for (const auto& [id, chain] : chains_) {
    if (!HasMember(chain, TargetId(request.old_id()))) continue;
    ASSIGN_OR_RETURN(std::optional<proto::Chain> next, Replaced(chain, request));
    if (next.has_value()) *change.add_chains() = std::move(*next);
  }
  if (change.chains().empty()) return std::optional<proto::ClusterMap>();
  HoldLeases(change);
  return std::optional(std::move(change));
}

Status ManagerState::CheckReplacement(const proto::ReplaceTargetRequest& request,
                                      Clock::Instant now) const {
  const auto from = targets_.find(request.old_id());
  const auto to = targets_.find(request.new_id());
  const std::string what = "replace " + Name("target", request.old_id()) + ": ";
  if (from == targets_.end()) return {Code::kNotFound, what + "there is no such target"};
  if (to == targets_.end()) {
    return {Code::kNotFound, what + "there is no " + Name("target", request.new_id())};
  }
  if (from == to) return {Code::kInvalid, what + "the new one is the same"};
  if (!Works(to->second, now)) {
    return {Code::kInvalid, what + Name("target", request.new_id()) + " is not up"};
  }
  if (Drains(TargetId(request.new_id()))) {
    return {Code::kInvalid,
            what + "the node of " + Name("target", request.new_id()) + " is being drained"};
  }
  const NodeEntry& node = nodes_.at(from->second.row.node_id());
  if (Drains(TargetId(request.old_id()))) return Status::Ok();
  const bool unheard = !node.heard && now < node.lease_over;
  if (unheard || Works(from->second, now) || TakesPart(from->second)) {
    return {Code::kInvalid, what + "it is in service; stop its server, or drain node " +
                                std::to_string(node.row.id()) + ", first"};
  }
  return Status::Ok();
}

// The chain with the new target in it; nothing where another replacement is under way. One that
// still takes part goes when the new one serves, as from any node that drains.
Result<std::optional<proto::Chain>> ManagerState::Replaced(
    const proto::Chain& chain, const proto::ReplaceTargetRequest& request) const {
  const TargetId from(request.old_id());
  const TargetId to(request.new_id());
  const std::string what = "replace " + Name("target", from.value()) + ": ";
  std::vector<PlacementTarget> staying = StayingMembers(chain);
  std::erase_if(staying, [&](const PlacementTarget& other) { return other.target == from; });
  if (static_cast<int>(staying.size()) >= WantedMembers(chain)) {
    return std::optional<proto::Chain>();
  }
  for (const PlacementTarget& other : staying) {
    if (DomainOf(other) != DomainOf(PlacementOf(to))) continue;
    return Status(Code::kInvalid, what + Name("chain", chain.id()) + " already has target " +
                                      ToString(other.target) + " in the " +
                                      DomainOf(PlacementOf(to)) + " of " +
                                      Name("target", to.value()));
  }
  if (meta::TakesPart(MemberOf(chain, from))) return std::optional(AddMember(chain, to));
  // Others that hold every write, by the map, may never come back either.
  const bool holds = MemberOf(chain, from).state() == proto::LAST_SERVING;
  if (holds && !IsServed(chain) && !request.accept_loss()) {
    return Status(Code::kInvalid, what + "it holds every write to " + Name("chain", chain.id()) +
                                      ", which nobody serves now; bring it back, or another that "
                                      "does, or accept the loss with --accept-loss");
  }
  return std::optional(ReplaceMember(chain, from, targets_.at(from.value()).row.uuid(), to,
                                     targets_.at(to.value()).row.uuid()));
}

// ---- draining ----

ManagerState::Change ManagerState::PlanDrain(const proto::DrainNodeRequest& request,
                                             Clock::Instant now) {
  const auto found = nodes_.find(request.node_id());
  if (found == nodes_.end()) {
    return Status(Code::kNotFound,
                  Name("drain node", request.node_id()) + ": there is no such node");
  }
  const NodeEntry& node = found->second;
  const bool drains = node.row.state() == proto::NODE_DRAINING;
  if (request.undo() && !drains) return std::optional<proto::ClusterMap>();
  proto::ClusterMap change;
  change.set_version(version_ + 1);
  if (request.undo() || !drains) {
    proto::Node& row = *change.add_nodes();
    row = node.row;
    row.set_state(!request.undo()         ? proto::NODE_DRAINING
                  : now < node.lease_over ? proto::NODE_UP
                                          : proto::NODE_DOWN);
  }
  if (!request.undo()) RETURN_IF_ERROR(AddReplacements(NodeId(node.row.id()), now, &change));
  if (change.nodes().empty() && change.chains().empty()) return std::optional<proto::ClusterMap>();
  HoldLeases(change);
  return std::optional(std::move(change));
}

Status ManagerState::AddReplacements(NodeId node, Clock::Instant now,
                                     proto::ClusterMap* change) const {
  std::vector<SpareTarget> spares = Spares(now);
  std::erase_if(spares, [&](const SpareTarget& spare) { return spare.target.node == node; });
  const std::map<uint32_t, uint32_t> chains = ChainsByTarget();
  for (const auto& [id, chain] : chains_) {
    if (!HasMemberOn(chain, node)) continue;
    uint64_t bytes = 0;  // about what it holds: nobody counts by chain
    for (const proto::ChainMember& member : chain.members()) {
      const uint64_t used = targets_.at(member.target_id()).row.used_bytes();
      bytes = std::max(bytes, used / chains.at(member.target_id()));
    }
    std::vector<PlacementTarget> staying = StayingMembers(chain);
    std::erase_if(staying, [&](const PlacementTarget& member) { return member.node == node; });
    proto::Chain next = chain;
    while (static_cast<int>(staying.size()) < WantedMembers(chain)) {
      const std::optional<TargetId> target = PlaceMember(staying, bytes, spares);
      if (!target.has_value()) {
        return {Code::kInvalid,
                "drain node " + ToString(node) + ": chain " + std::to_string(id) +
                    " has nowhere to go: there is no other node or failure domain with a target "
                    "that is up and has " +
                    std::to_string(bytes) + " bytes free; add a storage server first"};
      }
      next = AddMember(next, *target);
      staying.push_back(PlacementOf(*target));
      for (SpareTarget& spare : spares) {
        if (spare.target.target != *target) continue;
        ++spare.chains;
        spare.free_bytes -= bytes;
      }
    }
    if (next.version() == chain.version()) continue;
    next.set_version(chain.version() + 1);
    *change->add_chains() = std::move(next);
  }
  return Status::Ok();
}

// ---- accepting a loss ----

ManagerState::Change ManagerState::PlanResetChain(const proto::ResetChainRequest& request,
                                                  Clock::Instant now) {
  const auto found = chains_.find(request.chain_id());
  const std::string what = Name("reset chain", request.chain_id()) + ": ";
  if (found == chains_.end()) return Status(Code::kNotFound, what + "there is no such chain");
  const proto::Chain& chain = found->second;
  const TargetId target(request.target_id());
  if (!HasMember(chain, target)) {
    return Status(Code::kInvalid, what + "target " + ToString(target) + " is no member of it");
  }
  for (const proto::ChainMember& member : chain.members()) {
    if (member.state() == proto::SERVING) {
      return Status(Code::kInvalid, what + Name("target", member.target_id()) + " serves it");
    }
    if (member.state() == proto::LAST_SERVING && Works(targets_.at(member.target_id()), now)) {
      return Status(Code::kInvalid,
                    what + Name("target", member.target_id()) + " is about to resume it");
    }
  }
  if (MemberOf(chain, target).state() != proto::WAITING ||
      !Works(targets_.at(target.value()), now)) {
    return Status(Code::kInvalid, what + "target " + ToString(target) + " is not up");
  }
  proto::ClusterMap change;
  change.set_version(version_ + 1);
  *change.add_chains() = ResetTo(chain, target);
  HoldLeases(change);
  return std::optional(std::move(change));
}

}  // namespace sheaf::meta
