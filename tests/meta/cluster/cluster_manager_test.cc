#include "meta/cluster/cluster_manager.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "meta/ops/executor.h"
#include "meta/schema/keys.h"
#include "meta/schema/values.h"
#include "tests/support/eventually.h"
#include "tests/support/fake_clock.h"
#include "tests/support/memory_kv.h"

namespace sheaf::meta {
namespace {

using sheaf::testing::Eventually;

class ClusterManagerTest : public ::testing::Test {
 protected:
  ClusterManagerTest() {
    options_.cluster_uuid = "the-cluster";
    options_.tick = std::chrono::milliseconds(1);
    auto executor = Executor::Open(kv_, ExecutorOptions());
    CHECK(executor.ok(), executor.status().ToString());
    executor_ = std::move(*executor);
    store_ = std::make_unique<ExecutorClusterStore>(*executor_);
    Restart();
  }

  void Restart() {
    manager_.reset();
    auto opened = ClusterManager::Open(*store_, clock_, options_);
    CHECK(opened.ok(), opened.status().ToString());
    manager_ = std::move(*opened);
    clock_.Advance(options_.leases.surely_over() / 2);
  }

  static proto::RegisterNodeRequest NodeRequest(const std::string& uuid) {
    proto::RegisterNodeRequest request;
    request.set_uuid(uuid);
    request.mutable_addresses()->set_framed("10.0.0.1:7710");
    proto::TargetReport* target = request.add_targets();
    target->set_uuid(uuid + "-disk");
    target->set_state(proto::ONLINE);
    return request;
  }

  std::future<Result<proto::RegisterNodeResponse>> StartRegister(const std::string& uuid,
                                                                 const std::string& process = "") {
    auto promise = std::make_shared<std::promise<Result<proto::RegisterNodeResponse>>>();
    proto::RegisterNodeRequest request = NodeRequest(uuid);
    request.set_process(process);
    manager_->RegisterNode(std::move(request),
                           [promise](auto result) { promise->set_value(std::move(result)); });
    return promise->get_future();
  }
  proto::RegisterNodeResponse Register(const std::string& uuid) {
    auto result = StartRegister(uuid).get();
    CHECK(result.ok(), result.status().ToString());
    return *result;
  }
  Result<proto::CreateChainsResponse> CreateChains(uint32_t replicas) {
    proto::CreateChainsRequest request;
    request.set_replicas(replicas);
    std::promise<Result<proto::CreateChainsResponse>> promise;
    manager_->CreateChains(request, [&](auto result) { promise.set_value(std::move(result)); });
    return promise.get_future().get();
  }
  Result<proto::HeartbeatResponse> Beat(uint32_t node, const std::string& uuid) {
    proto::HeartbeatRequest request;
    request.set_node_id(node);
    request.set_uuid(uuid);
    request.set_map_version(manager_->Map()->version());
    proto::TargetReport* target = request.add_targets();
    target->set_id(node);
    target->set_state(proto::UP_TO_DATE);
    return manager_->Heartbeat(request);
  }

  MemoryKv kv_;
  FakeClock clock_;
  ClusterManagerOptions options_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<ExecutorClusterStore> store_;
  std::unique_ptr<ClusterManager> manager_;
};

TEST_F(ClusterManagerTest, ARestartKeepsEverything) {
  EXPECT_EQ(Register("a").node_id(), 1u);
  EXPECT_EQ(Register("b").node_id(), 2u);
  auto created = CreateChains(1);
  ASSERT_TRUE(created.ok()) << created.status().ToString();
  EXPECT_EQ(created->chains(), 16u);
  const proto::ClusterMap before = *manager_->Map();
  options_.cluster_uuid = "not used any more";
  Restart();
  EXPECT_EQ(manager_->Map()->SerializeAsString(), before.SerializeAsString());
  EXPECT_EQ(manager_->Map()->cluster_uuid(), "the-cluster");
  EXPECT_EQ(Register("b").node_id(), 2u);
  EXPECT_EQ(Register("c").node_id(), 3u);
  EXPECT_EQ(CreateChains(1)->table_version(), created->table_version());
  EXPECT_EQ(CreateChains(2).status().code(), Code::kExists);
}

TEST_F(ClusterManagerTest, ANodeDownIsDurableBeforeItIsTold) {
  Register("a");
  ASSERT_TRUE(CreateChains(1).ok());
  std::promise<void> told;
  const uint64_t watch = manager_->Watch([&](const ClusterManager::MapPtr& map) {
    if (map->nodes(0).state() != proto::NODE_DOWN) return;
    auto stored = store_->Load();
    EXPECT_TRUE(stored.ok());
    EXPECT_EQ(stored->version(), map->version());
    EXPECT_EQ(stored->nodes(0).state(), proto::NODE_DOWN);
    EXPECT_EQ(stored->chains(0).members(0).state(), proto::LAST_SERVING);
    told.set_value();
  });
  clock_.Advance(options_.leases.surely_over());
  told.get_future().get();
  manager_->Unwatch(watch);
  ASSERT_TRUE(Beat(1, "a").ok());
  EXPECT_TRUE(Eventually([&] { return manager_->Map()->targets(0).state() == proto::SERVING; }));
}

TEST_F(ClusterManagerTest, HeartbeatsDoNotWaitForTheStore) {
  Register("a");
  kv_.HoldWrites();
  auto pending = StartRegister("b");
  kv_.AwaitHeldWrite();
  auto beat = Beat(1, "a");
  ASSERT_TRUE(beat.ok());
  EXPECT_EQ(beat->lease_ms(), 2000u);
  EXPECT_EQ(manager_->Map()->nodes_size(), 1) << "not told before it is durable";
  kv_.Release();
  EXPECT_EQ(pending.get()->node_id(), 2u);
}

TEST_F(ClusterManagerTest, ARestartedServerIsAnsweredOnceItIsOutOfItsChains) {
  Register("a");
  Register("b");
  ASSERT_TRUE(CreateChains(2).ok());
  clock_.Advance(options_.leases.heartbeat);
  auto again = StartRegister("a", "second");
  ASSERT_TRUE(Eventually([&] { return manager_->Queued() == 1; })) << "b was not heard since";
  clock_.Advance(options_.leases.heartbeat);
  Register("c");  // others are not held up
  EXPECT_EQ(manager_->Map()->chains(0).version(), 1u);
  ASSERT_TRUE(Beat(2, "b").ok());
  EXPECT_EQ(again.get()->node_id(), 1u);
  const auto map = manager_->Map();
  EXPECT_EQ(map->nodes(0).process(), "second");
  EXPECT_GT(map->chains(0).version(), 1u);
  EXPECT_EQ(map->chains(0).members(0).target_id(), 2u);
}

TEST_F(ClusterManagerTest, ARegistrationThatIsHeldIsAnsweredAtTheEnd) {
  Register("a");
  Register("b");
  ASSERT_TRUE(CreateChains(2).ok());
  clock_.Advance(options_.leases.heartbeat);
  auto again = StartRegister("a", "second");
  ASSERT_TRUE(Eventually([&] { return manager_->Queued() == 1; }));
  manager_.reset();
  EXPECT_EQ(again.get().status().code(), Code::kUnavailable);
}

// A node that drains keeps that state though it is gone, and its disks may move meanwhile.
TEST_F(ClusterManagerTest, ARegistrationIsNotHeldForEver) {
  Register("a");
  ASSERT_TRUE(CreateChains(1).ok());
  proto::ClusterMap map = *manager_->Map();
  manager_.reset();
  map.set_version(map.version() + 1);
  map.mutable_nodes(0)->set_state(proto::NODE_DRAINING);
  ASSERT_TRUE(store_->Write(map).ok());
  Restart();
  ASSERT_TRUE(Beat(1, "a").ok());
  auto promise = std::make_shared<std::promise<Status>>();
  proto::RegisterNodeRequest thief = NodeRequest("b");
  thief.mutable_targets(0)->set_uuid("a-disk");
  manager_->RegisterNode(thief, [promise](auto result) { promise->set_value(result.status()); });
  auto answer = promise->get_future();
  while (answer.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) {
    clock_.Advance(options_.leases.heartbeat);
    ASSERT_TRUE(Beat(1, "a").ok());
  }
  EXPECT_EQ(answer.get().code(), Code::kUnavailable);
}

TEST_F(ClusterManagerTest, AnUnwatchedWatcherIsNotCalled) {
  int calls = 0;
  const uint64_t watch = manager_->Watch([&](const ClusterManager::MapPtr&) { ++calls; });
  Register("a");
  manager_->Unwatch(watch);
  const int before = calls;
  EXPECT_GE(before, 1);
  Register("b");
  EXPECT_EQ(calls, before);
}

TEST_F(ClusterManagerTest, RefusesABadRegistration) {
  proto::RegisterNodeRequest request = NodeRequest("a");
  request.set_cluster_uuid("another");
  std::promise<Status> promise;
  manager_->RegisterNode(request, [&](auto result) { promise.set_value(result.status()); });
  EXPECT_EQ(promise.get_future().get().code(), Code::kInvalid);
}

class ClusterManagerFenceTest : public ClusterManagerTest {
 protected:
  void SetUp() override {
    Register("a");
    ASSERT_TRUE(Beat(1, "a").ok());
  }
  // Gives out numbers up to `last`; of these `live` have sessions.
  void Sessions(uint64_t last, std::vector<uint64_t> live) {
    auto fill = [&](OpContext& ctx) -> Result<std::string> {
      ctx.Put(AllocatorKey(Sequence::kIncarnation), EncodeCounter(last + 1));
      for (uint64_t each = 1; each <= last; ++each) ctx.Delete(SessionKey(Incarnation(each)));
      for (uint64_t each : live) {
        ctx.Put(SessionKey(Incarnation(each)), EncodeSession({.description = "live"}));
      }
      return std::string();
    };
    ASSERT_TRUE(executor_->Run(std::nullopt, fill).ok());
    manager_->FenceEnded();
  }
  bool Fenced(uint64_t session) { return manager_->FencedEverywhere(Incarnation(session)); }
  bool MapFences(uint64_t session) {
    return FencedRanges(manager_->Map()->fenced()).Contains(Incarnation(session));
  }
};

TEST_F(ClusterManagerFenceTest, SessionsThatEndTogetherAreFencedByOneDurableChange) {
  const uint64_t before = manager_->Map()->version();
  Sessions(5, {2, 4});
  ASSERT_TRUE(Eventually([&] { return MapFences(5); }));
  const ClusterManager::MapPtr map = manager_->Map();
  EXPECT_EQ(map->version(), before + 1);
  EXPECT_EQ(map->fenced_size(), 3);
  EXPECT_FALSE(MapFences(4));
  const auto stored = store_->Load();
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ(stored->version(), map->version());
  EXPECT_EQ(FencedRanges(stored->fenced()), FencedRanges(map->fenced()));
  EXPECT_FALSE(Fenced(5));
  ASSERT_TRUE(Beat(1, "a").ok());
  EXPECT_TRUE(Eventually([&] { return Fenced(1) && Fenced(3) && Fenced(5); }));
  EXPECT_FALSE(Fenced(2));
}

TEST_F(ClusterManagerFenceTest, TheNextFenceWaitsForTheOneUnderWay) {
  Sessions(3, {2});
  ASSERT_TRUE(Eventually([&] { return MapFences(1); }));
  const uint64_t first = manager_->Map()->version();
  Sessions(3, {});
  // Two turns of the manager: in the first, at the latest, it would have been planned.
  Register("a");
  Register("a");
  EXPECT_EQ(manager_->Map()->version(), first);
  kv_.HoldWrites();  // would hold the second change, had it been planned
  EXPECT_EQ(Beat(1, "a")->lease_ms(), 2000u) << "it knows the first, and no later one is planned";
  kv_.Release();
  ASSERT_TRUE(Eventually([&] { return MapFences(2); }));
  EXPECT_EQ(manager_->Map()->version(), first + 1);
}

// Whoever runs `sheaf status` in a loop ends a session a second: nothing was ever reclaimed.
TEST_F(ClusterManagerFenceTest, AFenceCountsThoughTheNextIsAskedForBeforeItIsOver) {
  Sessions(1, {});
  ASSERT_TRUE(Eventually([&] { return MapFences(1); }));
  for (uint64_t ended = 2; ended < 6; ++ended) {
    Sessions(ended, {});
    ASSERT_TRUE(Beat(1, "a").ok());
    ASSERT_TRUE(Eventually([&] { return MapFences(ended); })) << ended;
    EXPECT_TRUE(Fenced(ended - 1)) << "the node knew of it before the next was planned";
    EXPECT_FALSE(Fenced(ended));
  }
}

TEST_F(ClusterManagerFenceTest, ARestartGoesOnWithIt) {
  Sessions(3, {2});
  ASSERT_TRUE(Eventually([&] { return MapFences(1); }));
  Restart();
  EXPECT_TRUE(MapFences(1)) << "it is stored";
  EXPECT_FALSE(Fenced(1)) << "who knows of it is not";
  ASSERT_TRUE(Beat(1, "a").ok());
  EXPECT_TRUE(Eventually([&] { return Fenced(1); }));
}

TEST_F(ClusterManagerFenceTest, ARestartFencesWhatEndedBeforeIt) {
  Sessions(3, {1, 2, 3});
  manager_.reset();
  auto end = [](OpContext& ctx) -> Result<std::string> {
    ctx.Put(SessionKey(Incarnation(2)), EncodeSession({.fenced = true}));
    return std::string();
  };
  ASSERT_TRUE(executor_->Run(std::nullopt, end).ok());
  Restart();
  ASSERT_TRUE(Beat(1, "a").ok());
  EXPECT_TRUE(Eventually([&] { return MapFences(2); }));
  EXPECT_FALSE(MapFences(1));
  EXPECT_FALSE(MapFences(3));
}

// Cannot read once which sessions have ended.
class OnceUnreadable final : public ClusterStore {
 public:
  explicit OnceUnreadable(ClusterStore& under) : under_(under) {}

  Result<proto::ClusterMap> Load() override { return under_.Load(); }
  Status Write(const proto::ClusterMap& change) override { return under_.Write(change); }
  Result<FencedRanges> EndedSessions() override {
    if (!failed_.exchange(true)) return Status(Code::kUnavailable, "told to fail");
    return under_.EndedSessions();
  }
  Result<uint64_t> Allocate(Sequence which, uint64_t count) override {
    return under_.Allocate(which, count);
  }
  bool failed() const { return failed_; }

 private:
  ClusterStore& under_;
  std::atomic<bool> failed_ = false;
};

TEST_F(ClusterManagerFenceTest, EndedSessionsThatCouldNotBeReadAreFencedLater) {
  Sessions(3, {1, 2, 3});
  manager_.reset();
  auto end = [](OpContext& ctx) -> Result<std::string> {
    ctx.Delete(SessionKey(Incarnation(2)));
    return std::string();
  };
  ASSERT_TRUE(executor_->Run(std::nullopt, end).ok());
  OnceUnreadable store(*store_);
  manager_ = ClusterManager::Open(store, clock_, options_).value();
  EXPECT_TRUE(Eventually([&] { return MapFences(2); }));
  EXPECT_TRUE(store.failed());
  manager_.reset();
}

}  // namespace
}  // namespace sheaf::meta
