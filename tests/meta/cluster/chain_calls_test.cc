#include "meta/cluster/chain_calls.h"

#include <gtest/gtest.h>

#include <array>
#include <mutex>

#include "common/guarded.h"
#include "proto/data.pb.h"
#include "tests/support/frame_server.h"

namespace sheaf::meta {
namespace {

using sheaf::testing::FrameServer;

// Chain 1 on two servers, members in an order of the test's choice.
class ChainCallsTest : public ::testing::Test {
 protected:
  ChainCallsTest() : pool_(transport::ConnectionPool::Options()) {
    for (uint32_t i = 0; i < servers_.size(); ++i) {
      auto server = FrameServer::Start([this, i](const std::shared_ptr<FrameServer::Peer>& peer,
                                                 const FrameServer::Request& request) {
        if (request.header.type != transport::FrameType::kRequest) return;
        Serve(i + 1, *peer, request);
      });
      CHECK(server.ok(), server.status().ToString());
      servers_[i] = std::move(*server);
    }
    SetMap(1, {{1, proto::SERVING}, {2, proto::SERVING}});
  }

  struct Member {
    uint32_t target = 0;
    proto::TargetState state = proto::SERVING;
  };
  // Map and chain have the same version.
  void SetMap(uint32_t version, const std::vector<Member>& members) {
    auto map = std::make_shared<proto::ClusterMap>();
    map->set_version(version);
    for (uint32_t i = 0; i < servers_.size(); ++i) {
      proto::Node* node = map->add_nodes();
      node->set_id(i + 1);
      node->mutable_addresses()->set_framed(servers_[i]->address().ToString());
      proto::Target* target = map->add_targets();
      target->set_id(i + 1);
      target->set_node_id(i + 1);
    }
    proto::Chain* chain = map->add_chains();
    chain->set_id(1);
    chain->set_version(version);
    for (const Member& member : members) {
      proto::ChainMember* added = chain->add_members();
      added->set_target_id(member.target);
      added->set_state(member.state);
    }
    *map_.Lock() = std::move(map);
  }
  void Serve(uint32_t server, FrameServer::Peer& peer, const FrameServer::Request& request) {
    if (server == frozen_) {
      // The manager sees that it hangs.
      SetMap(2, {{2, proto::SERVING}, {1, proto::OFFLINE}});
      return;
    }
    peer.Respond(request.header.request_id, "of server " + std::to_string(server));
  }
  Result<std::string> Ask() {
    ChainCalls calls(pool_, [this] { return *map_.Lock(); });
    const auto request = calls.To<proto::ListChunksRequest>(1);
    return calls
        .Run({{.chain = 1,
               .method = transport::Method::kList,
               .message = request.SerializeAsString()}},
             Clock::System().Now() + std::chrono::hours(1))
        .front();
  }

  Guarded<std::shared_ptr<const proto::ClusterMap>> map_;
  uint32_t frozen_ = 0;
  std::array<std::unique_ptr<FrameServer>, 2> servers_;
  transport::ConnectionPool pool_;
};

TEST_F(ChainCallsTest, AsksTheHeadAndFollowsItsChange) {
  EXPECT_EQ(*Ask(), "of server 1");
  SetMap(2, {{2, proto::SERVING}, {1, proto::SYNCING}});
  EXPECT_EQ(*Ask(), "of server 2");
}

TEST_F(ChainCallsTest, AChainThatNobodyServesMayBeAskedAgain) {
  SetMap(2, {{1, proto::LAST_SERVING}, {2, proto::OFFLINE}});
  const Status status = Ask().status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_NE(status.retry(), Retry::kNever);
}

TEST_F(ChainCallsTest, ACallToAHeadThatHangsIsGivenUpOnceTheChainHasAnother) {
  frozen_ = 1;
  const Status status = Ask().status();
  EXPECT_EQ(status.code(), Code::kWrongChain);
  EXPECT_NE(status.retry(), Retry::kNever);
  EXPECT_EQ(*Ask(), "of server 2");
}

}  // namespace
}  // namespace sheaf::meta
