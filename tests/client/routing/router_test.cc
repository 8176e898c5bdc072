#include "client/routing/router.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "tests/support/frame_server.h"

namespace sheaf::client {
namespace {

using testing::FrameServer;

const Layout kLayout{.table_version = 1};

proto::ClusterMap MapAt(uint64_t version, const std::string& address) {
  proto::ClusterMap map;
  map.set_version(version);
  auto* node = map.add_nodes();
  node->set_id(1);
  node->mutable_addresses()->set_framed(address);
  auto* target = map.add_targets();
  target->set_id(2);
  target->set_node_id(1);
  auto* chain = map.add_chains();
  chain->set_id(3);
  chain->set_version(static_cast<uint32_t>(version));
  auto* member = chain->add_members();
  member->set_target_id(2);
  member->set_state(proto::SERVING);
  auto* table = map.add_tables();
  table->set_version(1);
  table->add_chain_ids(3);
  return map;
}

std::unique_ptr<FrameServer> StartServer() {
  auto server = FrameServer::Start([](const auto&, const auto&) {});
  CHECK(server.ok(), server.status().ToString());
  return std::move(*server);
}

Result<std::unique_ptr<Router>> RouterOver(Router::FetchMap fetch) {
  return Router::Create({.use_unix_sockets = false}, std::move(fetch));
}

TEST(RouterTest, ConnectsOnlyWhereBlockingIsAllowed) {
  const auto server = StartServer();
  const auto router = RouterOver([&](MapVersion) -> Result<std::optional<proto::ClusterMap>> {
    return std::optional(MapAt(1, server->address().ToString()));
  });
  ASSERT_TRUE(router.ok()) << router.status().ToString();
  auto route = (*router)->Find(kLayout, 0, Access::kRead, Blocking::kNo);
  ASSERT_TRUE(route.ok());
  EXPECT_EQ(route->connection, nullptr);
  route = (*router)->Find(kLayout, 0, Access::kRead, Blocking::kYes);
  ASSERT_TRUE(route.ok()) << route.status().ToString();
  EXPECT_NE(route->connection, nullptr);
  const auto again = (*router)->Find(kLayout, 0, Access::kWrite, Blocking::kNo);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->connection, route->connection);
  EXPECT_EQ(again->chain, ChainId(3));
}

TEST(RouterTest, NamesAServerThatCannotBeReached) {
  std::string address;
  {
    address = StartServer()->address().ToString();
  }
  const auto router = RouterOver([&](MapVersion) -> Result<std::optional<proto::ClusterMap>> {
    return std::optional(MapAt(1, address));
  });
  ASSERT_TRUE(router.ok());
  const auto route = (*router)->Find(kLayout, 0, Access::kRead, Blocking::kYes);
  ASSERT_FALSE(route.ok());
  EXPECT_EQ(route.status().code(), Code::kUnavailable);
}

TEST(RouterTest, RefreshAdoptsANewerMapAndIgnoresAnOlder) {
  const auto server = StartServer();
  std::atomic<uint64_t> version = 5;
  std::promise<void> fetched_old;
  std::promise<void> fetched_again;
  std::atomic<int> fetches = 0;
  auto router = RouterOver([&](MapVersion) -> Result<std::optional<proto::ClusterMap>> {
    auto map = std::optional(MapAt(version, server->address().ToString()));
    const int count = ++fetches;
    if (count == 3) fetched_old.set_value();
    if (count == 4) fetched_again.set_value();
    return map;
  });
  ASSERT_TRUE(router.ok());
  version = 6;
  (*router)->Refresh();
  while (fetches < 2) std::this_thread::yield();
  version = 4;
  (*router)->Refresh();
  fetched_old.get_future().wait();
  (*router)->Refresh();
  fetched_again.get_future().wait();  // so the third answer has been looked at
  EXPECT_EQ((*router)->version(), MapVersion(6));
}

TEST(RouterTest, CreateFailsWithoutAMap) {
  const auto router = RouterOver([](MapVersion) -> Result<std::optional<proto::ClusterMap>> {
    return Status(Code::kUnavailable, "gone");
  });
  EXPECT_EQ(router.status().code(), Code::kUnavailable);
}

}  // namespace
}  // namespace sheaf::client
