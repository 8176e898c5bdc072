#include <algorithm>
#include <set>
#include <utility>

#include "common/address.h"
#include "meta/cluster/manager_state.h"
#include "meta/cluster/membership.h"

// A server that registers: who it is, which disks it has, and what that ends.

namespace sheaf::meta {
namespace {

Status BadRegistration(const proto::RegisterNodeRequest& request, const std::string& cause) {
  return {Code::kInvalid, "register node " + request.uuid() + ": " + cause};
}

Status CheckAddress(const proto::RegisterNodeRequest& request, const char* field,
                    const std::string& value, bool required) {
  if (required && value.empty()) {
    return BadRegistration(request, std::string(field) + " is empty");
  }
  if (value.size() > kMaxAddressLength) {
    return BadRegistration(request, std::string(field) + " is longer than " +
                                        std::to_string(kMaxAddressLength) + " bytes");
  }
  return Status::Ok();
}

// What clients connect to. One that they cannot read would cost them the whole map.
Status CheckReachable(const proto::RegisterNodeRequest& request, const char* field,
                      const std::string& value) {
  const Result<Address> address = Address::Parse(value);
  if (address.ok() && !address->IsUnix()) return Status::Ok();
  return BadRegistration(request, std::string(field) + " \"" + value +
                                      "\" is not host:port; correct the server's listen and "
                                      "advertise");
}

Status CheckAddresses(const proto::RegisterNodeRequest& request) {
  const proto::NodeAddresses& addresses = request.addresses();
  RETURN_IF_ERROR(CheckAddress(request, "uuid", request.uuid(), true));
  RETURN_IF_ERROR(CheckAddress(request, "framed address", addresses.framed(), true));
  RETURN_IF_ERROR(CheckAddress(request, "grpc address", addresses.grpc(), false));
  RETURN_IF_ERROR(CheckAddress(request, "metrics address", addresses.metrics(), false));
  RETURN_IF_ERROR(CheckAddress(request, "unix_path", addresses.unix_path(), false));
  RETURN_IF_ERROR(CheckReachable(request, "framed address", addresses.framed()));
  RETURN_IF_ERROR(CheckAddress(request, "boot_id", addresses.boot_id(), false));
  RETURN_IF_ERROR(CheckAddress(request, "process", request.process(), false));
  return CheckAddress(request, "failure_domain", request.failure_domain(), false);
}

bool SameRow(const google::protobuf::MessageLite& a, const google::protobuf::MessageLite& b) {
  return a.SerializeAsString() == b.SerializeAsString();
}

// What is durable of a target: where it is. Space and state come from reports and chains.
proto::Target TargetRow(uint32_t id, uint32_t node, const std::string& uuid,
                        const std::string& place) {
  proto::Target row;
  row.set_id(id);
  row.set_node_id(node);
  row.set_uuid(uuid);
  row.set_place(place);
  return row;
}

}  // namespace

const ManagerState::NodeEntry* ManagerState::FindNode(const std::string& uuid) const {
  for (const auto& [id, node] : nodes_) {
    if (node.row.uuid() == uuid) return &node;
  }
  return nullptr;
}

// A server all of whose disks are new has nothing left to show who it was: there it is known by its
// address, and by the path of a disk.
const ManagerState::NodeEntry* ManagerState::FindNode(
    const proto::RegisterNodeRequest& request) const {
  if (const NodeEntry* node = FindNode(request.uuid())) return node;
  const bool all_new = std::all_of(
      request.targets().begin(), request.targets().end(),
      [&](const proto::TargetReport& report) { return FindTarget(report.uuid()) == nullptr; });
  if (!all_new) return nullptr;
  const NodeEntry* found = nullptr;
  for (const auto& [id, node] : nodes_) {
    const bool here = node.row.addresses().framed() == request.addresses().framed() &&
                      node.row.state() != proto::NODE_DRAINING;
    if (here && !FindReplaced(request, id).empty()) found = &node;  // the newest
  }
  return found;
}

const ManagerState::TargetEntry* ManagerState::FindTarget(const std::string& uuid) const {
  for (const auto& [id, target] : targets_) {
    if (target.row.uuid() == uuid) return &target;
  }
  return nullptr;
}

Result<ManagerState::IdsNeeded> ManagerState::CheckRegister(
    const proto::RegisterNodeRequest& request) const {
  RETURN_IF_ERROR(CheckAddresses(request));
  if (!request.cluster_uuid().empty() && request.cluster_uuid() != cluster_uuid_) {
    return BadRegistration(request, "its disks belong to cluster " + request.cluster_uuid() +
                                        ", this is cluster " + cluster_uuid_);
  }
  const NodeEntry* node = FindNode(request);
  if (node == nullptr && nodes_.size() >= kMaxNodes) {
    return BadRegistration(request,
                           "the cluster has its limit of " + std::to_string(kMaxNodes) + " nodes");
  }
  IdsNeeded needed{.node = node == nullptr};
  RETURN_IF_ERROR(CheckTargets(request, node == nullptr ? 0 : node->row.id(), &needed.targets));
  return needed;
}

Status ManagerState::CheckTargets(const proto::RegisterNodeRequest& request, uint32_t own_node,
                                  uint32_t* unknown) const {
  if (request.targets_size() > kMaxTargetsPerNode) {
    return BadRegistration(request, std::to_string(request.targets_size()) +
                                        " targets exceed the limit of " +
                                        std::to_string(kMaxTargetsPerNode));
  }
  std::set<std::string> seen;
  std::set<std::string> places;
  for (const proto::TargetReport& report : request.targets()) {
    RETURN_IF_ERROR(CheckAddress(request, "target uuid", report.uuid(), true));
    if (!seen.insert(report.uuid()).second) {
      return BadRegistration(request, "target " + report.uuid() + " is named twice");
    }
    if (report.place().size() > kMaxPlaceLength) {
      return BadRegistration(request, "the place of target " + report.uuid() + " is longer than " +
                                          std::to_string(kMaxPlaceLength) + " bytes");
    }
    if (!report.place().empty() && !places.insert(report.place()).second) {
      return BadRegistration(request, "two targets are at " + report.place());
    }
  }
  const ReplacedDisks replaced = FindReplaced(request, own_node);
  // One process has one set of disks: this is not what it registered before.
  if (!replaced.empty() && nodes_.at(own_node).row.process() == request.process()) {
    return BadRegistration(request, "target " + std::to_string(replaced.begin()->second) +
                                        " has another disk in the same process");
  }
  for (const proto::TargetReport& report : request.targets()) {
    const TargetEntry* target = FindTarget(report.uuid());
    if (target == nullptr) {
      *unknown += !replaced.contains(report.uuid());
      continue;
    }
    const uint32_t holder = target->row.node_id();
    if (holder != own_node && nodes_.at(holder).row.state() == proto::NODE_UP) {
      return BadRegistration(
          request, "target " + report.uuid() + " is in service on node " + std::to_string(holder));
    }
  }
  return Status::Ok();
}

std::optional<proto::ClusterMap> ManagerState::PlanRegister(
    const proto::RegisterNodeRequest& request, NodeId node_id, const std::vector<TargetId>& targets,
    Clock::Instant now) {
  const NodeEntry* known = FindNode(request);
  proto::Node row;
  row.set_id(known == nullptr ? node_id.value() : known->row.id());
  row.set_uuid(request.uuid());
  *row.mutable_addresses() = request.addresses();
  row.set_state(known == nullptr ? proto::NODE_UP : known->row.state());
  row.set_pid(request.pid());
  row.set_failure_domain(request.failure_domain());
  row.set_process(request.process());

  proto::ClusterMap change;
  change.set_version(version_ + 1);
  if (known == nullptr || !SameRow(known->row, row)) *change.add_nodes() = row;
  const ReplacedDisks replaced = FindReplaced(request, row.id());
  AddTargets(request, row.id(), replaced, targets, &change);
  if (change.nodes().empty() && change.targets().empty()) return std::nullopt;
  if (known != nullptr && known->row.process() != row.process()) {
    AddRestart(row.id(), replaced, now, &change);
  }
  return change;
}

ManagerState::ReplacedDisks ManagerState::FindReplaced(const proto::RegisterNodeRequest& request,
                                                       uint32_t node) const {
  std::set<std::string> named;
  for (const proto::TargetReport& report : request.targets()) named.insert(report.uuid());
  std::map<std::string, uint32_t> gone;  // by place
  for (const auto& [id, target] : targets_) {
    if (target.row.node_id() != node || target.row.place().empty()) continue;
    if (!named.contains(target.row.uuid())) gone[target.row.place()] = id;
  }
  ReplacedDisks replaced;
  for (const proto::TargetReport& report : request.targets()) {
    const auto before = gone.find(report.place());
    if (before == gone.end() || FindTarget(report.uuid()) != nullptr) continue;
    replaced[report.uuid()] = before->second;
  }
  return replaced;
}

// A place is one target's: where a disk that is known has come to the place of another one, that
// one has none any more.
void ManagerState::AddTargets(const proto::RegisterNodeRequest& request, uint32_t node,
                              const ReplacedDisks& replaced, const std::vector<TargetId>& ids,
                              proto::ClusterMap* change) const {
  std::set<uint32_t> settled;
  std::set<std::string> taken;
  size_t next = 0;
  for (const proto::TargetReport& report : request.targets()) {
    const auto before = replaced.find(report.uuid());
    const TargetEntry* target =
        before == replaced.end() ? FindTarget(report.uuid()) : &targets_.at(before->second);
    const uint32_t id = target != nullptr ? target->row.id() : ids.at(next++).value();
    settled.insert(id);
    taken.insert(report.place());
    const bool same = target != nullptr && target->row.node_id() == node &&
                      target->row.uuid() == report.uuid() && target->row.place() == report.place();
    if (!same) *change->add_targets() = TargetRow(id, node, report.uuid(), report.place());
  }
  for (const auto& [id, target] : targets_) {
    const proto::Target& row = target.row;
    if (row.node_id() != node || row.place().empty() || settled.contains(id)) continue;
    if (taken.contains(row.place())) *change->add_targets() = TargetRow(id, node, row.uuid(), "");
  }
}

bool ManagerState::MayRegister(const proto::RegisterNodeRequest& request, Clock::Instant now) {
  const NodeEntry* known = FindNode(request);
  const uint32_t id = known == nullptr ? 0 : known->row.id();
  const bool restarted = known != nullptr && known->row.process() != request.process();
  if (restarted && !known->replaced) {
    if (now < known->leased_until && !HasItsDisks(request, id)) return false;
    nodes_.at(id).replaced = true;
    nodes_.at(id).over_at = now;
  }
  for (const proto::TargetReport& report : request.targets()) {
    const TargetEntry* target = FindTarget(report.uuid());
    if (target == nullptr || target->row.node_id() == id) continue;
    if (TakesPart(*target)) return false;  // of a node that is down, and not yet given up
  }
  return !restarted || std::none_of(chains_.begin(), chains_.end(), [&](const auto& entry) {
    return TakesPart(entry.second, id) && TakesPart(NextOf(entry.second, now), id);
  });
}

bool ManagerState::HasItsDisks(const proto::RegisterNodeRequest& request, uint32_t node) const {
  const std::string& before = nodes_.at(node).row.addresses().boot_id();
  if (request.addresses().boot_id() != before) return false;
  std::set<std::string> named;
  for (const proto::TargetReport& report : request.targets()) named.insert(report.uuid());
  bool all = true;
  for (const auto& [id, target] : targets_) {
    if (target.row.node_id() != node) continue;
    const bool has = named.contains(target.row.uuid());
    if (has && (target.local == proto::UP_TO_DATE || target.local == proto::ONLINE)) return true;
    all &= has;
  }
  return all;
}

void ManagerState::AddRestart(uint32_t node, const ReplacedDisks& replaced, Clock::Instant now,
                              proto::ClusterMap* change) {
  for (const auto& [id, chain] : chains_) {
    proto::Chain next = TakesPart(chain, node) ? NextOf(chain, now) : chain;
    CHECK(!TakesPart(next, node), "chain " + std::to_string(id) + " goes on with node " +
                                      std::to_string(node) + " through its restart");
    for (const auto& [uuid, target] : replaced) {
      if (!HasMember(next, TargetId(target))) continue;
      ReplaceDisk(&next, TargetId(target), targets_.at(target).row.uuid(), uuid);
    }
    if (SameRow(next, chain)) continue;
    next.set_version(chain.version() + 1);
    *change->add_chains() = std::move(next);
  }
  HoldLeases(*change);
}

proto::RegisterNodeResponse ManagerState::Registered(const proto::RegisterNodeRequest& request,
                                                     Clock::Instant now) {
  const uint32_t id = FindNode(request.uuid())->row.id();
  nodes_.at(id).lease_over = now + options_.surely_over();
  nodes_.at(id).heard = true;
  nodes_.at(id).heard_at = now;
  proto::RegisterNodeResponse response;
  response.set_node_id(id);
  response.set_cluster_uuid(cluster_uuid_);
  response.set_heartbeat_ms(static_cast<uint32_t>(options_.heartbeat.count()));
  response.set_lease_ms(static_cast<uint32_t>(options_.lease.count()));
  for (auto& [target_id, target] : targets_) {
    if (target.row.node_id() == id) target.local = proto::FAILED;  // unless it is named below
  }
  for (const proto::TargetReport& report : request.targets()) {
    TargetEntry& target = targets_.at(FindTarget(report.uuid())->row.id());
    TakeReport(target, report);
    target.chains.clear();  // a node that registers has no map yet
    response.add_target_ids(target.row.id());
  }
  return response;
}

}  // namespace sheaf::meta
