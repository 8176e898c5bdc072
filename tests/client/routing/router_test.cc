#include "client/routing/router.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <future>
#include <random>
#include <set>
#include <thread>

#include "tests/support/eventually.h"
#include "tests/support/fake_clock.h"
#include "tests/support/frame_server.h"

namespace sheaf::client {
namespace {

using testing::FrameServer;

const Layout kLayout{.table_version = 1};

// Chain 3 of one replica on each address, the first `serving` of them serving.
proto::ClusterMap MapOf(uint64_t version, const std::vector<std::string>& addresses,
                        size_t serving) {
  proto::ClusterMap map;
  map.set_version(version);
  auto* chain = map.add_chains();
  chain->set_id(3);
  chain->set_version(static_cast<uint32_t>(version));
  for (uint32_t i = 0; i < addresses.size(); ++i) {
    auto* node = map.add_nodes();
    node->set_id(1 + i);
    node->mutable_addresses()->set_framed(addresses[i]);
    auto* target = map.add_targets();
    target->set_id(20 + i);
    target->set_node_id(1 + i);
    auto* member = chain->add_members();
    member->set_target_id(20 + i);
    member->set_state(i < serving ? proto::SERVING : proto::OFFLINE);
  }
  auto* table = map.add_tables();
  table->set_version(1);
  table->add_chain_ids(3);
  return map;
}

proto::ClusterMap MapAt(uint64_t version, const std::string& address) {
  return MapOf(version, {address}, 1);
}

const Wanted kRead{.layout = kLayout};
const Wanted kWrite{.layout = kLayout, .access = Access::kWrite};

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
  auto route = (*router)->Find(kRead, Blocking::kNo);
  ASSERT_TRUE(route.ok());
  EXPECT_EQ(route->connection, nullptr);
  route = (*router)->Find(kRead, Blocking::kYes);
  ASSERT_TRUE(route.ok()) << route.status().ToString();
  EXPECT_NE(route->connection, nullptr);
  const auto again = (*router)->Find(kWrite, Blocking::kNo);
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
  const auto route = (*router)->Find(kRead, Blocking::kYes);
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

// Three servers, their chain, and a clock of its own.
class RouterReplicasTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (auto& server : servers_) server = StartServer();
    serving_ = servers_.size();
    Router::Options options{.use_unix_sockets = false, .clock = &clock_};
    options.random = [this] { return static_cast<uint32_t>(random_()); };
    auto router = Router::Create(options, [this](MapVersion) { return Map(); });
    CHECK(router.ok(), router.status().ToString());
    router_ = std::move(*router);
  }
  Result<std::optional<proto::ClusterMap>> Map() {
    return std::optional(MapOf(version_, addresses_, serving_));
  }
  std::unique_ptr<FrameServer> StartServer() {
    auto server = client::StartServer();
    addresses_.push_back(server->address().ToString());
    return server;
  }
  Route Find(const Wanted& wanted, Blocking blocking = Blocking::kYes) {
    auto route = router_->Find(wanted, blocking);
    CHECK(route.ok(), route.status().ToString());
    return *route;
  }
  std::set<uint32_t> ServersOf(int reads, Blocking blocking = Blocking::kYes) {
    std::set<uint32_t> servers;
    for (int i = 0; i < reads; ++i) servers.insert(Find(kRead, blocking).server.value());
    return servers;
  }
  void MoveTo(uint64_t version, size_t serving) {
    version_ = version;
    serving_ = serving;
    router_->Refresh();
    ASSERT_TRUE(testing::Eventually([&] { return router_->version() == MapVersion(version); }));
  }
  using Servers = std::set<uint32_t>;

  FakeClock clock_;
  std::vector<std::string> addresses_;
  std::array<std::unique_ptr<FrameServer>, 3> servers_;
  std::atomic<uint64_t> version_ = 1;
  std::atomic<size_t> serving_ = 0;
  std::mt19937 random_{7};
  std::unique_ptr<Router> router_;
};

TEST_F(RouterReplicasTest, SpreadsReadsOverTheReplicasThatServe) {
  EXPECT_EQ(ServersOf(50), (Servers{1, 2, 3}));
  EXPECT_EQ(ServersOf(50, Blocking::kNo), (Servers{1, 2, 3}));
  MoveTo(2, 2);
  EXPECT_EQ(ServersOf(50), (Servers{1, 2}));
}

TEST_F(RouterReplicasTest, WritesGoToTheFirstThatServes) {
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(Find(kWrite).server, NodeId(1));
    EXPECT_FALSE(Find(kWrite).others);
  }
}

TEST_F(RouterReplicasTest, PassesOverReplicasAndSaysWhetherAnyIsLeft) {
  const std::vector<TargetId> two{TargetId(20), TargetId(22)};
  EXPECT_TRUE(Find(kRead).others);
  for (int i = 0; i < 20; ++i) {
    const Route route = Find({.layout = kLayout, .passed_over = two});
    EXPECT_EQ(route.target, TargetId(21));
    EXPECT_FALSE(route.others);
  }
  const std::vector<TargetId> all{TargetId(20), TargetId(21), TargetId(22)};
  const auto none = router_->Find({.layout = kLayout, .passed_over = all}, Blocking::kYes);
  EXPECT_EQ(none.status().code(), Code::kUnavailable);
}

TEST_F(RouterReplicasTest, AvoidsAServerForAWhile) {
  router_->Avoid(NodeId(2));
  EXPECT_EQ(ServersOf(50), (Servers{1, 3}));
  clock_.Advance(ServerLink::kAvoid);
  EXPECT_EQ(ServersOf(50), (Servers{1, 2, 3}));
}

TEST_F(RouterReplicasTest, AsksAnAvoidedServerWhereNoOtherServes) {
  MoveTo(2, 1);
  router_->Avoid(NodeId(1));
  EXPECT_EQ(ServersOf(5), Servers{1});
}

TEST_F(RouterReplicasTest, ReadsElsewhereWhenAServerIsGone) {
  EXPECT_EQ(ServersOf(50), (Servers{1, 2, 3}));
  servers_[1].reset();
  // Its connection breaks in its own time.
  ASSERT_TRUE(testing::Eventually([&] { return ServersOf(50) == Servers{1, 3}; }));
}

TEST_F(RouterReplicasTest, AReadThatMayNotWaitTakesALiveConnection) {
  const Route first = Find(kRead);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Find(kRead, Blocking::kNo).connection, first.connection);
  }
}

TEST_F(RouterReplicasTest, KnowsWhichCallsANewMapLeavesBehind) {
  const Route write = Find(kWrite);
  Route read = Find(kRead);
  EXPECT_TRUE(router_->IsCurrent(kWrite, write));
  MoveTo(2, 1);
  EXPECT_FALSE(router_->IsCurrent(kWrite, write));
  read.target = TargetId(20);
  EXPECT_TRUE(router_->IsCurrent(kRead, read));
  read.target = TargetId(21);
  EXPECT_FALSE(router_->IsCurrent(kRead, read));
}

TEST_F(RouterReplicasTest, AChainThatNobodyServesMayBeAskedForAgain) {
  MoveTo(2, 0);
  for (const Wanted& wanted : {kRead, kWrite}) {
    const auto route = router_->Find(wanted, Blocking::kYes);
    ASSERT_FALSE(route.ok());
    EXPECT_EQ(route.status().code(), Code::kUnavailable);
  }
}

}  // namespace
}  // namespace sheaf::client
