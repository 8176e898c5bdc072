#include "storage/service/peer_links.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>

#include "common/clock.h"
#include "tests/support/eventually.h"
#include "tests/support/frame_server.h"
#include "tests/support/temp_dir.h"

namespace sheaf::storage {
namespace {

using std::chrono::seconds;
using testing::Eventually;
using testing::FrameServer;
using transport::Method;

constexpr TargetId kTarget{5};
constexpr uint32_t kCredits = 4;

// A server that answers changes only when it is told to, and all else at once.
class PeerLinksTest : public ::testing::Test {
 protected:
  PeerLinksTest() : server_(Start({.host = "127.0.0.1"})) { PutOn("there"); }
  std::unique_ptr<FrameServer> Start(const Address& address) {
    auto server = FrameServer::Start(
        [this](const std::shared_ptr<FrameServer::Peer>& peer, FrameServer::Request request) {
          if (request.header.type != transport::FrameType::kRequest) return;
          if (request.header.method == Method::kReplicate && ++changes_ > 0) return;
          peer->Respond(request.header.request_id, "");
        },
        {.address = address, .terms = {.request_credits = kCredits}});
    CHECK(server.ok(), server.status().ToString());
    return std::move(*server);
  }
  void PutOn(const std::string& machine, const std::string& socket = "", int64_t pid = 0) {
    map_.Clear();
    proto::Node* node = map_.add_nodes();
    node->set_id(2);
    node->mutable_addresses()->set_framed(server_->address().ToString());
    node->mutable_addresses()->set_boot_id(machine);
    node->mutable_addresses()->set_unix_path(socket);
    node->set_pid(pid);
    proto::Target* target = map_.add_targets();
    target->set_id(kTarget.value());
    target->set_node_id(2);
    links_.Update(map_);
  }
  ~PeerLinksTest() override { links_.Stop(); }

  std::future<Status> Call(Method method) { return CallBy(links_, method); }
  static std::future<Status> CallBy(PeerLinks& links, Method method) {
    auto promise = std::make_shared<std::promise<Status>>();
    auto answer = promise->get_future();
    links.Call(kTarget, {.method = method, .deadline = Clock::System().Now() + seconds(20)},
                [promise](const Result<transport::Reply>& reply) {
                  promise->set_value(reply.status());
                });
    return answer;
  }
  // The first finds no connection, and has it made.
  void Connect(Method method) { ConnectBy(links_, method); }
  static void ConnectBy(PeerLinks& links, Method method) {
    ASSERT_TRUE(Eventually([&] {
      auto answer = CallBy(links, method);
      return answer.wait_for(std::chrono::milliseconds(50)) != std::future_status::ready ||
             answer.get().ok();
    }));
  }

  proto::ClusterMap map_;
  std::atomic<uint32_t> changes_ = 0;
  std::unique_ptr<FrameServer> server_;
  PeerLinks links_{{.boot_id = "here"}};
};

// They are answered when they are committed, and a token is what commits them.
TEST_F(PeerLinksTest, ChangesThatTakeAllCreditsDoNotHoldUpWhatTheyWaitFor) {
  Connect(Method::kDurable);
  Connect(Method::kReplicate);
  std::vector<std::future<Status>> changes;
  for (uint32_t i = 0; i < 2 * kCredits; ++i) changes.push_back(Call(Method::kReplicate));
  ASSERT_TRUE(Eventually([&] { return changes_ == kCredits; })) << changes_;
  for (Method method : {Method::kDurable, Method::kCommitted, Method::kSyncList}) {
    auto answer = Call(method);
    ASSERT_EQ(answer.wait_for(seconds(10)), std::future_status::ready);
    EXPECT_TRUE(answer.get().ok());
  }
  EXPECT_EQ(changes_, kCredits);
}

TEST_F(PeerLinksTest, SignsOfLifeHaveAConnectionOfTheirOwn) {
  Connect(Method::kDurable);
  Connect(Method::kSyncList);
  EXPECT_EQ(server_->accepted(), 1);
  Connect(Method::kEcho);
  EXPECT_EQ(server_->accepted(), 2);
}

TEST_F(PeerLinksTest, ANewProcessIsConnectedToAnew) {
  PutOn("there", "", 5);
  Connect(Method::kDurable);
  PutOn("there", "", 5);
  EXPECT_TRUE(Call(Method::kDurable).get().ok());
  PutOn("there", "", 6);
  EXPECT_EQ(Call(Method::kDurable).get().code(), Code::kUnavailable);
  Connect(Method::kDurable);
  EXPECT_EQ(server_->accepted(), 2);
}

TEST_F(PeerLinksTest, NothingIsStagedOnOneMachine) {
  EXPECT_TRUE(links_.TakesStages(kTarget));
  PutOn("here");
  EXPECT_FALSE(links_.TakesStages(kTarget));
  PutOn("there");
  EXPECT_TRUE(links_.TakesStages(kTarget));
  EXPECT_FALSE(links_.TakesStages(TargetId(9))) << "it is not in the map";
}

// Where a server's socket is on this machine and it is that server which listens, it is used.
TEST_F(PeerLinksTest, OnOneMachineTheSocketOfTheServerIsUsedWhereItIsThatServers) {
  const testing::TempDir dir;
  const auto here = Start({.unix_path = dir / "socket"});
  struct Case {
    const char* machine;
    std::string socket;
    int64_t pid;
    int64_t own_pid;
    bool used;
  };
  for (const Case& is : {Case{"there", dir / "socket", getpid(), 1, false},
                         Case{"here", dir / "none", getpid(), 1, false},
                         Case{"here", dir / "socket", getpid() + 1, 1, false},
                         Case{"here", dir / "socket", 0, 1, false},
                         Case{"here", dir / "socket", getpid(), getpid(), false},
                         Case{"here", dir / "socket", getpid(), 1, true}}) {
    const int before = here->accepted();
    const int before_there = server_->accepted();
    PutOn(is.machine, is.socket, is.pid);
    PeerLinks links({.boot_id = "here", .own_pid = is.own_pid});
    links.Update(map_);
    ConnectBy(links, Method::kDurable);
    EXPECT_EQ(server_->accepted() - before_there, is.used ? 0 : 1) << is.machine << is.socket;
    EXPECT_GE(here->accepted() - before, is.used ? 1 : 0);
    links.Stop();
  }
}

TEST_F(PeerLinksTest, CallsFailThatFindNoTargetOrAreMadeTooLate) {
  proto::ClusterMap none;
  links_.Update(none);
  EXPECT_EQ(Call(Method::kDurable).get().code(), Code::kUnavailable);
  links_.EndCalls();
  EXPECT_EQ(Call(Method::kDurable).get().code(), Code::kUnavailable);
}

}  // namespace
}  // namespace sheaf::storage
