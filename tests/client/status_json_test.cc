#include "client/status_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace sheaf::client {
namespace {

// Two nodes with a target each; chain 1 on both, chain 2 on the second.
proto::ClusterStatus StatusOf() {
  proto::ClusterStatus status;
  auto* map = status.mutable_map();
  for (uint32_t i = 1; i <= 2; ++i) {
    auto* node = map->add_nodes();
    node->set_id(i);
    node->set_pid(100 + i);
    node->set_state(proto::NODE_UP);
    node->mutable_addresses()->set_framed("127.0.0.1:" + std::to_string(7700 + 10 * i));
    node->mutable_addresses()->set_boot_id(i == 1 ? "here" : "there");
    auto* target = map->add_targets();
    target->set_id(10 + i);
    target->set_node_id(i);
    target->set_state(proto::SERVING);
    target->set_total_bytes(1000);
    auto* chain = map->add_chains();
    chain->set_id(i);
    chain->set_version(1);
    for (uint32_t t = i; t <= 2; ++t) {
      auto* member = chain->add_members();
      member->set_target_id(10 + t);
      member->set_state(proto::SERVING);
    }
  }
  status.set_files(3);
  return status;
}

nlohmann::json Parse(const proto::ClusterStatus& status) {
  return nlohmann::json::parse(FormatStatus(status, "here"));
}

TEST(StatusJsonTest, HasTheDocumentedKeys) {
  const auto json = Parse(StatusOf());
  for (const char* key : {"health", "nodes", "targets", "chains", "resync", "files", "used_bytes",
                          "raw_used_bytes", "total_bytes", "removal_backlog"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
  EXPECT_EQ(json.size(), 10u);
  EXPECT_EQ(json["health"], "ok");
  EXPECT_EQ(json["files"], 3);
  EXPECT_EQ(json["nodes"][0]["address"], "127.0.0.1:7710");
  EXPECT_EQ(json["nodes"][0]["state"], "up");
  EXPECT_EQ(json["targets"][1]["node"], 2);
  EXPECT_EQ(json["targets"][1]["state"], "serving");
  EXPECT_EQ(json["chains"][0]["targets"][1]["id"], 12);
  EXPECT_FALSE(json["chains"][0].contains("waiting_for"));
}

TEST(StatusJsonTest, TellsProcessIdsOfThisMachineOnly) {
  const auto json = Parse(StatusOf());
  EXPECT_EQ(json["nodes"][0]["pid"], 101);
  EXPECT_FALSE(json["nodes"][1].contains("pid"));
}

TEST(StatusJsonTest, DegradedWhileEveryChainServesWithFewer) {
  auto status = StatusOf();
  status.mutable_map()->mutable_nodes(0)->set_state(proto::NODE_DOWN);
  EXPECT_EQ(Parse(status)["health"], "degraded");
}

TEST(StatusJsonTest, DownWhenAChainCannotServeAndSaysWhatItWaitsFor) {
  auto status = StatusOf();
  status.mutable_map()->mutable_chains(1)->mutable_members(0)->set_state(proto::LAST_SERVING);
  const auto json = Parse(status);
  EXPECT_EQ(json["health"], "down");
  EXPECT_EQ(json["chains"][1]["waiting_for"], 12);
  EXPECT_EQ(json["chains"][1]["targets"][0]["state"], "lastserving");
}

TEST(StatusJsonTest, AChainWaitsForOneThatHoldsEveryCommit) {
  auto status = StatusOf();
  auto* chain = status.mutable_map()->mutable_chains(0);
  chain->mutable_members(0)->set_state(proto::LAST_SERVING);
  chain->mutable_members(1)->set_state(proto::LAST_SERVING);
  EXPECT_EQ(Parse(status)["chains"][0]["waiting_for"], 11);
  chain->mutable_members(0)->set_state(proto::WAITING);
  EXPECT_EQ(Parse(status)["chains"][0]["waiting_for"], 12);
}

TEST(StatusJsonTest, TellsThatNoReplicaHoldsAChainsData) {
  auto status = StatusOf();
  auto* chain = status.mutable_map()->mutable_chains(0);
  chain->mutable_members(0)->set_state(proto::WAITING);
  chain->mutable_members(1)->set_state(proto::OFFLINE);
  chain->mutable_members(1)->set_lost_uuid("the-old-disk");
  const auto json = Parse(status);
  EXPECT_EQ(json["health"], "down");
  EXPECT_FALSE(json["chains"][0].contains("waiting_for"));
  ASSERT_EQ(json["chains"][0]["lost"].size(), 1u);
  EXPECT_EQ(json["chains"][0]["lost"][0]["target"], 12);
  EXPECT_EQ(json["chains"][0]["lost"][0]["uuid"], "the-old-disk");
}

TEST(StatusJsonTest, AMemberThatIsBeingMovedToLeavesTheChainAsHealthyAsItIs) {
  auto status = StatusOf();
  auto* chain = status.mutable_map()->mutable_chains(1);
  chain->set_replicas(1);
  auto* member = chain->add_members();
  member->set_target_id(11);
  member->set_state(proto::SYNCING);
  EXPECT_EQ(Parse(status)["health"], "ok");
  chain->mutable_members(0)->set_state(proto::OFFLINE);
  chain->mutable_members()->SwapElements(0, 1);
  EXPECT_EQ(Parse(status)["health"], "down");
}

TEST(StatusJsonTest, TellsWhatIsLeftToResync) {
  auto status = StatusOf();
  EXPECT_EQ(Parse(status)["resync"]["chunks_left"], 0);
  status.mutable_resync()->set_chunks_left(17);
  status.mutable_resync()->set_bytes_per_s(1 << 20);
  EXPECT_EQ(Parse(status)["resync"]["chunks_left"], 17);
  EXPECT_EQ(Parse(status)["resync"]["bytes_per_s"], 1 << 20);
}

TEST(StatusJsonTest, DownWithoutChains) {
  auto status = StatusOf();
  status.mutable_map()->clear_chains();
  EXPECT_EQ(Parse(status)["health"], "down");
}

}  // namespace
}  // namespace sheaf::client
