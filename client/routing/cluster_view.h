#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/address.h"
#include "common/ids.h"
#include "common/layout.h"
#include "common/status.h"
#include "proto/cluster.pb.h"

namespace sheaf::client {

// A storage server as a client reaches it.
struct ServerAddress {
  NodeId node;
  Address tcp;
  std::optional<Address> unix_socket;  // only when it runs on this machine
  bool up = false;

  friend bool SameAddress(const ServerAddress& a, const ServerAddress& b);
};

struct ChainReplica {
  TargetId target;
  size_t server = 0;  // index in ClusterView::servers()
  bool serving = false;
  bool leaving = false;  // takes part in writes, answers no reads
};

struct ChainRoute {
  ChainId id;
  ChainVersion version;
  std::vector<ChainReplica> replicas;  // head first; never empty
};

// One version of the cluster map, checked and laid out for look-up by layout. Immutable, so it is
// shared between threads without locking.
class ClusterView {
 public:
  // `local_boot_id` decides which Unix sockets are ours; empty: none. kInvalid names what in the
  // map refers to something that is not there.
  static Result<std::shared_ptr<const ClusterView>> FromProto(const proto::ClusterMap& map,
                                                              const std::string& local_boot_id);

  MapVersion version() const { return version_; }
  const std::vector<ServerAddress>& servers() const { return servers_; }

  // The chain that holds chunk `index`. kWrongChain when this map does not have the layout's
  // table: a newer one may.
  Result<const ChainRoute*> ChainOf(const Layout& layout, uint32_t index) const;

 private:
  Status AddServers(const proto::ClusterMap& map, const std::string& local_boot_id);
  Status AddChains(const proto::ClusterMap& map);
  Status AddTables(const proto::ClusterMap& map);

  MapVersion version_;
  std::vector<ServerAddress> servers_;
  std::vector<ChainRoute> chains_;
  std::unordered_map<uint32_t, std::vector<size_t>> tables_;  // version: indexes in chains_
};

}  // namespace sheaf::client
