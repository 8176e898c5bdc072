#include "client/status_json.h"

#include <nlohmann/json.hpp>
#include <unordered_map>

namespace sheaf::client {
namespace {

using Json = nlohmann::ordered_json;

const char* Name(proto::NodeState state) {
  switch (state) {
    case proto::NODE_UP:
      return "up";
    case proto::NODE_DRAINING:
      return "draining";
    default:
      return "down";
  }
}

const char* Name(proto::TargetState state) {
  switch (state) {
    case proto::SERVING:
      return "serving";
    case proto::SYNCING:
      return "syncing";
    case proto::WAITING:
      return "waiting";
    case proto::LAST_SERVING:
      return "lastserving";
    default:
      return "offline";
  }
}

// Which targets are on nodes that are up.
std::unordered_map<uint32_t, bool> TargetsUp(const proto::ClusterMap& map) {
  std::unordered_map<uint32_t, bool> node_up;
  for (const auto& node : map.nodes()) node_up[node.id()] = node.state() != proto::NODE_DOWN;
  std::unordered_map<uint32_t, bool> target_up;
  for (const auto& target : map.targets()) target_up[target.id()] = node_up[target.node_id()];
  return target_up;
}

struct ChainHealth {
  bool full = false;    // as many replicas serve as there are to be
  bool serves = false;  // at least one does
  uint32_t waiting_for = 0;  // the first target whose return would let it serve; 0: no replica
                             // holds what was written
};

ChainHealth Judge(const proto::Chain& chain, std::unordered_map<uint32_t, bool>& target_up) {
  ChainHealth health;
  uint32_t serving = 0;
  for (const auto& member : chain.members()) {
    const bool serves = member.state() == proto::SERVING && target_up[member.target_id()];
    serving += serves;
    const bool holds_all =
        member.state() == proto::LAST_SERVING || member.state() == proto::SERVING;
    if (health.waiting_for == 0 && holds_all) health.waiting_for = member.target_id();
  }
  // While a member is being moved the chain has more than it is to have.
  const uint32_t wanted = chain.replicas() > 0 ? chain.replicas() : chain.members_size();
  health.full = serving >= wanted;
  health.serves = serving > 0;
  return health;
}

Json Nodes(const proto::ClusterMap& map, const std::string& local_boot_id) {
  Json nodes = Json::array();
  for (const auto& node : map.nodes()) {
    Json out = {{"id", node.id()}, {"address", node.addresses().framed()}};
    if (!local_boot_id.empty() && node.addresses().boot_id() == local_boot_id) {
      out["pid"] = node.pid();
    }
    out["state"] = Name(node.state());
    nodes.push_back(std::move(out));
  }
  return nodes;
}

Json Targets(const proto::ClusterMap& map) {
  Json targets = Json::array();
  for (const auto& target : map.targets()) {
    targets.push_back({{"id", target.id()},
                       {"node", target.node_id()},
                       {"state", Name(target.state())},
                       {"used_bytes", target.used_bytes()},
                       {"total_bytes", target.total_bytes()}});
  }
  return targets;
}

// Those that held what was written when they were replaced.
Json LostDisks(const proto::Chain& chain) {
  Json disks = Json::array();
  for (const auto& member : chain.members()) {
    if (member.lost_uuid().empty()) continue;
    disks.push_back({{"target", member.target_id()}, {"uuid", member.lost_uuid()}});
  }
  return disks;
}

Json ChainJson(const proto::Chain& chain, const ChainHealth& health) {
  Json members = Json::array();
  for (const auto& member : chain.members()) {
    members.push_back({{"id", member.target_id()}, {"state", Name(member.state())}});
  }
  Json out = {{"id", chain.id()}, {"version", chain.version()}, {"targets", std::move(members)}};
  if (health.serves) return out;
  if (health.waiting_for != 0) {
    out["waiting_for"] = health.waiting_for;
  } else {
    out["lost"] = LostDisks(chain);
  }
  return out;
}

}  // namespace

std::string FormatStatus(const proto::ClusterStatus& status, const std::string& local_boot_id) {
  const proto::ClusterMap& map = status.map();
  auto target_up = TargetsUp(map);
  bool full = true;
  bool serves = map.chains_size() > 0;
  Json chains = Json::array();
  for (const auto& chain : map.chains()) {
    const ChainHealth health = Judge(chain, target_up);
    full &= health.full;
    serves &= health.serves;
    chains.push_back(ChainJson(chain, health));
  }
  const Json out = {
      {"health", !serves ? "down" : full ? "ok" : "degraded"},
      {"nodes", Nodes(map, local_boot_id)},
      {"targets", Targets(map)},
      {"chains", std::move(chains)},
      {"resync",
       {{"chunks_left", status.resync().chunks_left()},
        {"bytes_per_s", status.resync().bytes_per_s()}}},
      {"files", status.files()},
      {"used_bytes", status.used_bytes()},
      {"raw_used_bytes", status.raw_used_bytes()},
      {"total_bytes", status.total_bytes()},
      {"removal_backlog", status.removal_backlog()}};
  return out.dump();
}

}  // namespace sheaf::client
