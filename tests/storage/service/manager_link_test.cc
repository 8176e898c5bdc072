#include "storage/service/manager_link.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <optional>
#include <thread>
#include <utility>

#include "common/rpc.h"
#include "proto/cluster.grpc.pb.h"
#include "tests/storage/service/data_rig.h"
#include "tests/support/eventually.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_disk.h"
#include "tests/support/fake_engine.h"

namespace sheaf::storage {
namespace {

using sheaf::testing::Eventually;
using std::chrono::milliseconds;

// A manager of one node, with switches.
class FakeManager : public proto::Cluster::Service {
 public:
  grpc::Status RegisterNode(grpc::ServerContext*, const proto::RegisterNodeRequest* request,
                            proto::RegisterNodeResponse* response) override {
    std::lock_guard lock(mutex_);
    ++registrations_;
    last_registration_ = *request;
    changed_.notify_all();
    if (!registration_answer_.ok()) return ToGrpc(registration_answer_);
    response->set_node_id(4);
    for (int i = 0; i < request->targets_size(); ++i) response->add_target_ids(i + 1);
    response->set_cluster_uuid("the-cluster");
    response->set_heartbeat_ms(5);
    response->set_lease_ms(2000);
    return grpc::Status::OK;
  }

  grpc::Status Heartbeat(grpc::ServerContext*, const proto::HeartbeatRequest* request,
                         proto::HeartbeatResponse* response) override {
    std::lock_guard lock(mutex_);
    ++heartbeats_;
    last_heartbeat_ = *request;
    if (request->stopping() && at_stop_) at_stop_();
    changed_.notify_all();
    if (!heartbeat_answer_.ok()) return ToGrpc(heartbeat_answer_);
    if (slow_heartbeat_) {
      std::exchange(slow_heartbeat_, nullptr)();
      heartbeat_answer_ = {Code::kUnavailable, "not now"};
    }
    response->set_lease_ms(2000);
    response->set_map_version(map_.version());
    return grpc::Status::OK;
  }

  grpc::Status WatchClusterMap(grpc::ServerContext* context,
                               const proto::GetClusterMapRequest* request,
                               grpc::ServerWriter<proto::ClusterMap>* writer) override {
    uint64_t sent = request->known_version();
    std::unique_lock lock(mutex_);
    ++watches_;
    while (!context->IsCancelled() && !stopping_) {
      if (map_.version() > sent && !silent_stream_) {
        sent = map_.version();
        if (!writer->Write(map_)) break;
      }
      changed_.wait_for(lock, milliseconds(5));
    }
    return grpc::Status::OK;
  }

  template <typename Change>
  void Set(Change change) {
    std::lock_guard lock(mutex_);
    change(*this);
    changed_.notify_all();
  }
  // Waits, bounded, until `condition` of this holds.
  template <typename Condition>
  bool Await(Condition condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return condition(*this); });
  }

  int registrations_ = 0;
  int heartbeats_ = 0;
  int watches_ = 0;
  bool silent_stream_ = false;
  bool stopping_ = false;
  Status registration_answer_;
  Status heartbeat_answer_;
  std::function<void()> slow_heartbeat_;  // while the next one is under way; none succeeds after
  std::function<void()> at_stop_;
  proto::ClusterMap map_ = DataRig::Map(1);
  proto::RegisterNodeRequest last_registration_;
  proto::HeartbeatRequest last_heartbeat_;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

class ManagerLinkTest : public ::testing::Test {
 protected:
  ManagerLinkTest() { StartManager("127.0.0.1:0"); }
  ~ManagerLinkTest() override {
    link_.reset();
    StopManager();
  }

  void StartManager(const std::string& listen) {
    manager_.Set([](FakeManager& manager) { manager.stopping_ = false; });
    RpcServer::Options options;
    options.listen = listen;
    options.services = {&manager_};
    options.grace = milliseconds(100);
    auto server = RpcServer::Start(options);
    CHECK(server.ok(), server.status().ToString());
    server_ = std::move(*server);
    address_ = server_->address();
  }
  void StopManager() {
    manager_.Set([](FakeManager& manager) { manager.stopping_ = true; });
    server_.reset();
  }

  void Link() {
    ManagerLink::Options options;
    options.manager = address_;
    options.node_uuid = "node-uuid";
    options.cluster_uuid = known_cluster_;
    options.failure_domain = "rack1";
    options.addresses.set_framed("127.0.0.1:1");
    options.retry_min = milliseconds(5);
    options.retry_max = milliseconds(50);
    options.remember_cluster = [this](const std::string& uuid) {
      remembered_ = uuid;
      return remember_answer_;
    };
    link_ = std::make_unique<ManagerLink>(replicas_, options, clock_);
  }
  void AwaitServing(bool wanted) {
    while (replicas_.Serving().ok() != wanted) std::this_thread::yield();
  }

  FakeClock clock_;
  FakeManager manager_;
  std::unique_ptr<RpcServer> server_;
  std::string address_;
  std::string known_cluster_;
  std::string remembered_;
  Status remember_answer_;
  testing::FakeEngine engine_;
  ReplicaSet replicas_{{{"a", &engine_}}, clock_};
  std::unique_ptr<ManagerLink> link_;
};

TEST_F(ManagerLinkTest, RegistersRenewsAndFollowsTheMap) {
  Link();
  AwaitServing(true);
  EXPECT_EQ(remembered_, "the-cluster");
  manager_.Set([](FakeManager& manager) {
    EXPECT_EQ(manager.last_registration_.uuid(), "node-uuid");
    EXPECT_EQ(manager.last_registration_.failure_domain(), "rack1");
    EXPECT_EQ(manager.last_registration_.targets(0).uuid(), "a");
    manager.map_ = DataRig::Map(2);
  });
  EXPECT_TRUE(manager_.Await([](FakeManager& manager) {
    return manager.last_heartbeat_.map_version() == 2 && manager.last_heartbeat_.node_id() == 4 &&
           manager.last_heartbeat_.targets(0).id() == 1;
  }));
}

TEST_F(ManagerLinkTest, ReportsAFailedDisk) {
  Link();
  AwaitServing(true);
  engine_.SetHealth({Code::kIo, "gone"});
  EXPECT_TRUE(manager_.Await([](FakeManager& manager) {
    return manager.last_heartbeat_.targets_size() == 1 &&
           manager.last_heartbeat_.targets(0).state() == proto::FAILED;
  }));
}

TEST_F(ManagerLinkTest, StopsWhenTheManagerIsGoneAndResumesByItself) {
  Link();
  AwaitServing(true);
  StopManager();
  clock_.Advance(std::chrono::seconds(3));
  AwaitServing(false);
  StartManager(address_);
  AwaitServing(true);
}

TEST_F(ManagerLinkTest, TheLeaseCountsFromTheSendOfItsHeartbeat) {
  Link();
  AwaitServing(true);
  // No renewal from here on; what is valid was sent at the clock's present time.
  manager_.Set([](FakeManager& manager) {
    manager.heartbeat_answer_ = {Code::kUnavailable, "not now"};
    manager.heartbeats_ = 0;
  });
  EXPECT_TRUE(manager_.Await([](FakeManager& manager) { return manager.heartbeats_ >= 2; }));
  clock_.Advance(milliseconds(1999));
  EXPECT_TRUE(replicas_.Serving().ok());
  clock_.Advance(milliseconds(1));
  EXPECT_FALSE(replicas_.Serving().ok());
}

TEST_F(ManagerLinkTest, AnAnswerThatTakesLongGivesNoLongerLease) {
  Link();
  AwaitServing(true);
  manager_.Set([&](FakeManager& manager) {
    manager.slow_heartbeat_ = [this] { clock_.Advance(milliseconds(1500)); };
    manager.heartbeats_ = 0;
  });
  EXPECT_TRUE(manager_.Await([](FakeManager& manager) { return manager.heartbeats_ >= 3; }));
  clock_.Advance(milliseconds(499));
  EXPECT_TRUE(replicas_.Serving().ok());
  clock_.Advance(milliseconds(1));
  EXPECT_FALSE(replicas_.Serving().ok());
}

// What is fenced may still be under way here, admitted before the map came.
TEST_F(ManagerLinkTest, AHeartbeatNamesTheMapThatIsInForce) {
  Link();
  AwaitServing(true);
  ASSERT_TRUE(manager_.Await(
      [](FakeManager& manager) { return manager.last_heartbeat_.map_version() == 1; }));
  engine_.Hold();
  auto disk = std::make_shared<testing::FakeDisk>(testing::FakeDisk::Options{});
  testing::FakeIoContext io(disk, {});
  auto replica = replicas_.FindForPeer(ChainId(kChain));
  ASSERT_TRUE(replica.ok());
  ChainOp op;
  op.kind = ChainOp::Kind::kTruncate;
  op.chunk = {DataId(5), 0};
  op.chunk_size = 1 << 22;
  op.length = 1;
  op.extend = true;
  op.name = {Incarnation(70), 1, 1};
  io.RunAndWait([&] {
    (*replica)->Mutate(io, op, [] { return Status::Ok(); }, [](const auto&) {});
  });
  manager_.Set([](FakeManager& manager) {
    manager.map_ = DataRig::Map(2);
    manager.map_.mutable_fenced(0)->set_last(70);
  });
  ASSERT_TRUE(Eventually([&] { return replicas_.map_version() == MapVersion(2); }));
  manager_.Set([](FakeManager& manager) { manager.heartbeats_ = 0; });
  EXPECT_TRUE(manager_.Await([](FakeManager& manager) { return manager.heartbeats_ >= 3; }));
  manager_.Set([](FakeManager& manager) { EXPECT_EQ(manager.last_heartbeat_.map_version(), 1u); });
  engine_.Release();
  EXPECT_TRUE(manager_.Await(
      [](FakeManager& manager) { return manager.last_heartbeat_.map_version() == 2; }));
}

TEST_F(ManagerLinkTest, NamesOneProcessAllItsLifeAndTheNextOneNamesAnother) {
  Link();
  AwaitServing(true);
  std::string first;
  manager_.Set([&](FakeManager& manager) {
    first = manager.last_registration_.process();
    manager.heartbeat_answer_ = {Code::kNotFound, "another process"};
    manager.registrations_ = 0;
  });
  EXPECT_FALSE(first.empty());
  EXPECT_TRUE(manager_.Await([](FakeManager& manager) { return manager.registrations_ >= 1; }));
  manager_.Set([&](FakeManager& manager) {
    EXPECT_EQ(manager.last_registration_.process(), first);
    EXPECT_EQ(manager.last_heartbeat_.process(), first);
    manager.heartbeat_answer_ = Status::Ok();
  });
  link_.reset();
  manager_.Set([](FakeManager& manager) { manager.registrations_ = 0; });
  Link();
  EXPECT_TRUE(manager_.Await([&](FakeManager& manager) {
    return manager.registrations_ >= 1 && manager.last_registration_.process() != first;
  }));
}

TEST_F(ManagerLinkTest, SaysThatItStopsOnceItServesNothing) {
  Link();
  AwaitServing(true);
  int told = 0;
  manager_.Set([&](FakeManager& manager) {
    manager.at_stop_ = [&] {
      ++told;
      EXPECT_FALSE(replicas_.Serving().ok());
    };
  });
  link_.reset();
  EXPECT_EQ(told, 1);
  EXPECT_FALSE(replicas_.Serving().ok()) << "the answer's lease is none";
  manager_.Set([](FakeManager& manager) {
    EXPECT_TRUE(manager.last_heartbeat_.stopping());
    EXPECT_EQ(manager.last_heartbeat_.node_id(), 4u);
    EXPECT_EQ(manager.last_heartbeat_.process(), manager.last_registration_.process());
  });
}

TEST_F(ManagerLinkTest, StopsWithoutAWordToAManagerThatIsGone) {
  Link();
  AwaitServing(true);
  StopManager();
  link_.reset();
  EXPECT_FALSE(replicas_.Serving().ok());
}

TEST_F(ManagerLinkTest, RegistersAgainWithAManagerThatForgotIt) {
  Link();
  AwaitServing(true);
  manager_.Set([](FakeManager& manager) {
    manager.heartbeat_answer_ = {Code::kStale, "who?"};
    manager.registrations_ = 0;
  });
  EXPECT_TRUE(manager_.Await([](FakeManager& manager) { return manager.registrations_ >= 1; }));
  manager_.Set([](FakeManager& manager) { manager.heartbeat_answer_ = Status::Ok(); });
  AwaitServing(true);
}

TEST_F(ManagerLinkTest, ANodeThatItsManagerForgotServesNothing) {
  Link();
  AwaitServing(true);
  manager_.Set([](FakeManager& manager) {
    manager.heartbeat_answer_ = {Code::kStale, "who?"};
    manager.registration_answer_ = {Code::kUnavailable, "not now"};
  });
  EXPECT_TRUE(Eventually([&] { return !replicas_.Serving().ok(); })) << "though its lease runs";
}

TEST_F(ManagerLinkTest, KeepsTryingWhenRegistrationIsRefused) {
  manager_.Set([](FakeManager& manager) {
    manager.registration_answer_ = {Code::kInvalid, "another cluster"};
  });
  Link();
  EXPECT_TRUE(manager_.Await([](FakeManager& manager) { return manager.registrations_ >= 3; }));
  EXPECT_FALSE(link_->registered());
  manager_.Set([](FakeManager& manager) { manager.registration_answer_ = Status::Ok(); });
  AwaitServing(true);
}

TEST_F(ManagerLinkTest, ServesNothingUntilTheClusterIsRemembered) {
  remember_answer_ = {Code::kNoSpace, "disk full"};
  Link();
  EXPECT_TRUE(manager_.Await([](FakeManager& manager) { return manager.registrations_ >= 3; }));
  EXPECT_FALSE(link_->registered());
  EXPECT_FALSE(replicas_.Serving().ok());
}

TEST_F(ManagerLinkTest, NamesTheClusterItBelongsTo) {
  known_cluster_ = "the-cluster";
  Link();
  AwaitServing(true);
  EXPECT_EQ(remembered_, "the-cluster") << "by a disk that was replaced, too";
  manager_.Set([](FakeManager& manager) {
    EXPECT_EQ(manager.last_registration_.cluster_uuid(), "the-cluster");
  });
}

TEST_F(ManagerLinkTest, AMapStreamThatFallsSilentIsOpenedAgain) {
  Link();
  AwaitServing(true);
  manager_.Set([](FakeManager& manager) {
    manager.silent_stream_ = true;
    manager.map_ = DataRig::Map(2);
    manager.watches_ = 0;
  });
  EXPECT_TRUE(manager_.Await([](FakeManager& manager) { return manager.watches_ >= 1; }));
  manager_.Set([](FakeManager& manager) { manager.silent_stream_ = false; });
  while (replicas_.map_version() != MapVersion(2)) std::this_thread::yield();
}

TEST_F(ManagerLinkTest, StopsWithoutAManager) {
  StopManager();
  Link();
  link_.reset();
}

}  // namespace
}  // namespace sheaf::storage
