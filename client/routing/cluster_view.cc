#include "client/routing/cluster_view.h"

namespace sheaf::client {
namespace {

Status Dangling(const std::string& what, uint32_t id, const std::string& refers_to, uint32_t to) {
  return {Code::kInvalid, "read cluster map: " + what + " " + std::to_string(id) + " names " +
                              refers_to + " " + std::to_string(to) + ", which is not in the map"};
}

}  // namespace

bool SameAddress(const ServerAddress& a, const ServerAddress& b) {
  const auto text = [](const std::optional<Address>& address) {
    return address ? address->ToString() : std::string();
  };
  return a.tcp.ToString() == b.tcp.ToString() && text(a.unix_socket) == text(b.unix_socket);
}

Result<std::shared_ptr<const ClusterView>> ClusterView::FromProto(
    const proto::ClusterMap& map, const std::string& local_boot_id) {
  auto view = std::make_shared<ClusterView>();
  view->version_ = MapVersion(map.version());
  RETURN_IF_ERROR(view->AddServers(map, local_boot_id));
  RETURN_IF_ERROR(view->AddChains(map));
  RETURN_IF_ERROR(view->AddTables(map));
  return std::shared_ptr<const ClusterView>(std::move(view));
}

Status ClusterView::AddServers(const proto::ClusterMap& map, const std::string& local_boot_id) {
  for (const proto::Node& node : map.nodes()) {
    const proto::NodeAddresses& addresses = node.addresses();
    ServerAddress server{.node = NodeId(node.id()), .up = node.state() != proto::NODE_DOWN};
    ASSIGN_OR_RETURN(server.tcp, Address::Parse(addresses.framed()));
    const bool local = !local_boot_id.empty() && addresses.boot_id() == local_boot_id;
    if (local && !addresses.unix_path().empty()) {
      server.unix_socket = Address{.unix_path = addresses.unix_path()};
    }
    servers_.push_back(std::move(server));
  }
  return Status::Ok();
}

Status ClusterView::AddChains(const proto::ClusterMap& map) {
  std::unordered_map<uint32_t, size_t> server_of_node;
  for (size_t i = 0; i < servers_.size(); ++i) server_of_node[servers_[i].node.value()] = i;
  std::unordered_map<uint32_t, size_t> server_of_target;
  for (const proto::Target& target : map.targets()) {
    const auto server = server_of_node.find(target.node_id());
    if (server == server_of_node.end()) {
      return Dangling("target", target.id(), "node", target.node_id());
    }
    server_of_target[target.id()] = server->second;
  }
  for (const proto::Chain& chain : map.chains()) {
    ChainRoute route{.id = ChainId(chain.id()), .version = ChainVersion(chain.version())};
    for (const proto::ChainMember& member : chain.members()) {
      const auto server = server_of_target.find(member.target_id());
      if (server == server_of_target.end()) {
        return Dangling("chain", chain.id(), "target", member.target_id());
      }
      route.replicas.push_back({.target = TargetId(member.target_id()),
                                .server = server->second,
                                .serving = member.state() == proto::SERVING,
                                .leaving = member.leaving()});
    }
    if (route.replicas.empty()) {
      return {Code::kInvalid,
              "read cluster map: chain " + std::to_string(chain.id()) + " has no members"};
    }
    chains_.push_back(std::move(route));
  }
  return Status::Ok();
}

Status ClusterView::AddTables(const proto::ClusterMap& map) {
  std::unordered_map<uint32_t, size_t> position;
  for (size_t i = 0; i < chains_.size(); ++i) position[chains_[i].id.value()] = i;
  for (const proto::ChainTable& table : map.tables()) {
    std::vector<size_t>& chains = tables_[table.version()];
    for (uint32_t id : table.chain_ids()) {
      const auto chain = position.find(id);
      if (chain == position.end()) return Dangling("chain table", table.version(), "chain", id);
      chains.push_back(chain->second);
    }
  }
  return Status::Ok();
}

Result<const ChainRoute*> ClusterView::ChainOf(const Layout& layout, uint32_t index) const {
  const auto table = tables_.find(layout.table_version);
  if (table == tables_.end() || table->second.empty()) {
    return Status(Code::kWrongChain, "find chunk: chain table " +
                                         std::to_string(layout.table_version) +
                                         " is not in cluster map " + ToString(version_));
  }
  const auto size = static_cast<uint32_t>(table->second.size());
  return &chains_[table->second[ChainPosition(layout, size, index)]];
}

}  // namespace sheaf::client
