#pragma once

#include <memory>

#include "common/address.h"
#include "proto/cluster.pb.h"

namespace sheaf::meta {

// A map whose chains 1 to `chains`, at version 7 and in table 1, are all served by one target, of a
// node at `address`.
inline std::shared_ptr<proto::ClusterMap> MapOfOneTarget(const Address& address,
                                                         uint32_t chains) {
  auto map = std::make_shared<proto::ClusterMap>();
  proto::Node* node = map->add_nodes();
  node->set_id(1);
  node->mutable_addresses()->set_framed(address.ToString());
  proto::Target* target = map->add_targets();
  target->set_id(1);
  target->set_node_id(1);
  proto::ChainTable* table = map->add_tables();
  table->set_version(1);
  for (uint32_t id = 1; id <= chains; ++id) {
    proto::Chain* chain = map->add_chains();
    chain->set_id(id);
    chain->set_version(7);
    proto::ChainMember* member = chain->add_members();
    member->set_target_id(1);
    member->set_state(proto::SERVING);
    table->add_chain_ids(id);
  }
  return map;
}

}  // namespace sheaf::meta
