#include "client/routing/cluster_view.h"

#include <gtest/gtest.h>

namespace sheaf::client {
namespace {

// `nodes` servers with one target each; `chains` chains of one member, chain i on target i mod
// nodes, in table 1.
proto::ClusterMap MapOf(uint32_t nodes, uint32_t chains) {
  proto::ClusterMap map;
  map.set_version(7);
  for (uint32_t i = 0; i < nodes; ++i) {
    auto* node = map.add_nodes();
    node->set_id(10 + i);
    node->set_state(proto::NODE_UP);
    node->mutable_addresses()->set_framed("127.0.0.1:" + std::to_string(7710 + i));
    node->mutable_addresses()->set_unix_path("/run/sheaf" + std::to_string(i));
    node->mutable_addresses()->set_boot_id("boot-a");
    auto* target = map.add_targets();
    target->set_id(20 + i);
    target->set_node_id(10 + i);
  }
  auto* table = map.add_tables();
  table->set_version(1);
  for (uint32_t i = 0; i < chains; ++i) {
    auto* chain = map.add_chains();
    chain->set_id(100 + i);
    chain->set_version(3);
    auto* member = chain->add_members();
    member->set_target_id(20 + i % nodes);
    member->set_state(proto::SERVING);
    table->add_chain_ids(100 + i);
  }
  return map;
}

TEST(ClusterViewTest, FindsTheChainsThatTheLayoutFunctionNames) {
  const auto view = ClusterView::FromProto(MapOf(3, 24), "");
  ASSERT_TRUE(view.ok()) << view.status().ToString();
  // The golden vector of docs/FORMAT.md for seed 42, stripe width 4, 24 chains.
  const Layout layout{.stripe_width = 4, .table_version = 1, .seed = 42};
  const uint32_t positions[] = {13, 6, 23, 16, 13, 6, 23, 16, 13, 6};
  for (uint32_t i = 0; i < 10; ++i) {
    const auto chain = (*view)->ChainOf(layout, i);
    ASSERT_TRUE(chain.ok());
    EXPECT_EQ((*chain)->id, ChainId(100 + positions[i])) << "chunk " << i;
    EXPECT_EQ((*chain)->version, ChainVersion(3));
    const ChainReplica& head = (*chain)->replicas.front();
    EXPECT_EQ(head.target, TargetId(20 + positions[i] % 3));
    EXPECT_EQ((*view)->servers()[head.server].node, NodeId(10 + positions[i] % 3));
  }
}

TEST(ClusterViewTest, AsksForANewerMapWhenTheTableIsUnknown) {
  const auto view = ClusterView::FromProto(MapOf(1, 1), "");
  ASSERT_TRUE(view.ok());
  const auto chain = (*view)->ChainOf({.table_version = 2}, 0);
  ASSERT_FALSE(chain.ok());
  EXPECT_EQ(chain.status().retry(), Retry::kRefresh);
}

TEST(ClusterViewTest, OffersUnixSocketsOfTheSameBootOnly) {
  const auto here = ClusterView::FromProto(MapOf(1, 1), "boot-a");
  ASSERT_TRUE(here.ok());
  ASSERT_TRUE((*here)->servers()[0].unix_socket.has_value());
  EXPECT_EQ((*here)->servers()[0].unix_socket->unix_path, "/run/sheaf0");
  const auto elsewhere = ClusterView::FromProto(MapOf(1, 1), "boot-b");
  ASSERT_TRUE(elsewhere.ok());
  EXPECT_FALSE((*elsewhere)->servers()[0].unix_socket.has_value());
}

TEST(ClusterViewTest, RefusesAMapThatNamesWhatIsNotThere) {
  proto::ClusterMap map = MapOf(2, 4);
  map.mutable_chains(1)->mutable_members(0)->set_target_id(99);
  EXPECT_EQ(ClusterView::FromProto(map, "").status().code(), Code::kInvalid);
  map = MapOf(2, 4);
  map.mutable_targets(0)->set_node_id(99);
  EXPECT_EQ(ClusterView::FromProto(map, "").status().code(), Code::kInvalid);
  map = MapOf(2, 4);
  map.mutable_tables(0)->add_chain_ids(99);
  EXPECT_EQ(ClusterView::FromProto(map, "").status().code(), Code::kInvalid);
  map = MapOf(2, 4);
  map.mutable_chains(0)->clear_members();
  EXPECT_EQ(ClusterView::FromProto(map, "").status().code(), Code::kInvalid);
}

}  // namespace
}  // namespace sheaf::client
