#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <optional>
#include <thread>
#include <tuple>
#include <vector>

#include "tests/common/transport/connection_fixture.h"
#include "tests/support/eventually.h"

// Who receives on a connection: its own thread, or a caller that waits.

namespace sheaf::transport {
namespace {

using testing::Eventually;

// A thread in Run: its call is the only one under way when it begins, so it is the receiver.
class Caller {
 public:
  Caller(Connection& connection, Inbox& inbox, std::string message = "caller") {
    thread_ = std::thread([this, &connection, message = std::move(message)] {
      Call call = EchoCall({});
      call.message = message;
      result_.set_value(connection.Run(std::move(call)));
    });
    std::tie(peer_, request_) = inbox.Next();
    id_ = thread_.get_id();
  }
  ~Caller() {
    if (thread_.joinable()) thread_.join();
  }
  std::thread::id id() const { return id_; }
  const PeerRef& peer() const { return peer_; }
  void Answer() { peer_->Respond(request_.header.request_id, "re " + request_.message); }
  Result<Reply> Join() {
    thread_.join();
    return result_.get_future().get();
  }

 private:
  std::promise<Result<Reply>> result_;
  std::thread thread_;
  std::thread::id id_;
  PeerRef peer_;
  FrameServer::Request request_;
};

struct Ended {
  Result<Reply> result;
  std::thread::id on;
};

std::future<Ended> StartNoting(Connection& connection, Call call) {
  auto promise = std::make_shared<std::promise<Ended>>();
  auto future = promise->get_future();
  connection.Start(std::move(call), [promise](Result<Reply> result) {
    promise->set_value({std::move(result), std::this_thread::get_id()});
  });
  return future;
}

// The receiving thread is at work until it first waits, and until then lends nothing.
void AwaitLending(Connection& connection) {
  const auto here = std::this_thread::get_id();
  for (;;) {
    ReceivesHere scope;
    auto echo = StartNoting(connection, EchoCall({}));
    scope.Wait();
    if (echo.get().on == here) return;
  }
}

// Echoes until it is told to keep what comes.
struct EchoThenKeep {
  Inbox inbox;
  std::atomic<bool> keep = false;
  FrameServer::Script Script() {
    return [this, echo = testing::EchoScript(), kept = inbox.Script()](
               const PeerRef& peer, FrameServer::Request request) {
      (keep ? kept : echo)(peer, std::move(request));
    };
  }
};

class LendingTest : public ::testing::Test {
 protected:
  LendingTest() {
    server_ = Serve(script_.Script());
    connection_ = Open(*server_);
    AwaitLending(*connection_);
    script_.keep = true;
  }
  Inbox& inbox() { return script_.inbox; }

  EchoThenKeep script_;
  std::unique_ptr<FrameServer> server_;
  std::shared_ptr<Connection> connection_;
};

TEST_F(LendingTest, ACallerReceivesItsAnswerAndOthersMeanwhile) {
  Caller caller(*connection_, inbox());
  auto other = StartNoting(*connection_, EchoCall({}));
  const auto request = inbox().Next();
  request.first->Respond(request.second.header.request_id, "other");
  const Ended ended = other.get();
  EXPECT_EQ(ended.result->message, "other");
  EXPECT_EQ(ended.on, caller.id());
  caller.Answer();
  EXPECT_EQ(caller.Join()->message, "re caller");
}

TEST_F(LendingTest, WhatACallerLeavesUnderWayIsTheThreads) {
  Caller caller(*connection_, inbox());
  auto other = StartNoting(*connection_, EchoCall({}));
  auto late = StartNoting(*connection_, EchoCall({}, milliseconds(300)));
  const auto request = inbox().Next();
  caller.Answer();
  EXPECT_TRUE(caller.Join().ok());
  request.first->Respond(request.second.header.request_id, "other");
  EXPECT_EQ(other.get().result->message, "other");
  EXPECT_EQ(late.get().result.status().code(), Code::kDeadline);
}

TEST_F(LendingTest, ACallerThatReceivesKeepsOthersDeadlines) {
  Caller caller(*connection_, inbox());
  const auto begin = Clock::System().Now();
  auto other = StartNoting(*connection_, EchoCall({}, milliseconds(100)));
  const Ended ended = other.get();
  EXPECT_EQ(ended.result.status().code(), Code::kDeadline);
  EXPECT_EQ(ended.on, caller.id());
  EXPECT_GE(Clock::System().Now() - begin, milliseconds(100));
  caller.Answer();
  EXPECT_TRUE(caller.Join().ok());
}

TEST_F(LendingTest, ACallerThatReceivesEndsWhatIsCancelled) {
  Caller caller(*connection_, inbox());
  Call call = EchoCall({});
  call.tag = 9;
  auto other = StartNoting(*connection_, std::move(call));
  connection_->Cancel(9);
  EXPECT_EQ(other.get().result.status().code(), Code::kCancelled);
  caller.Answer();
  EXPECT_TRUE(caller.Join().ok());
}

TEST_F(LendingTest, ACallerKeepsItsOwnDeadline) {
  const auto ended = connection_->Run(EchoCall({}, milliseconds(50)));
  EXPECT_EQ(ended.status().code(), Code::kDeadline);
  EXPECT_EQ(connection_->under_way(), 0u);
}

TEST_F(LendingTest, AConnectionThatBreaksUnderACallerEndsEveryCall) {
  Caller caller(*connection_, inbox());
  auto other = StartNoting(*connection_, EchoCall({}));
  caller.peer()->Close();
  EXPECT_EQ(caller.Join().status().code(), Code::kUnavailable);
  EXPECT_EQ(other.get().result.status().code(), Code::kUnavailable);
  EXPECT_TRUE(connection_->IsBroken());
  EXPECT_EQ(connection_->Run(EchoCall({})).status().code(), Code::kUnavailable);
}

TEST_F(LendingTest, AThreadThatRestsSeesThePeerHangUp) {
  PeerRef peer;
  {
    Caller caller(*connection_, inbox());
    peer = caller.peer();
    caller.Answer();
    EXPECT_TRUE(caller.Join().ok());
  }
  EXPECT_FALSE(connection_->IsBroken());
  peer->Close();
  EXPECT_TRUE(Eventually([&] { return connection_->IsBroken(); }));
}

TEST_F(LendingTest, WhoForgoesItHasTheThreadReceive) {
  script_.keep = false;
  ReceivesHere here;
  ReceivesHere::Forgo();
  auto echo = StartNoting(*connection_, EchoCall({}));
  here.Wait();
  EXPECT_NE(echo.get().on, std::this_thread::get_id());
}

TEST_F(LendingTest, ACallbackOnACallerMayBeginCallsAndDropTheConnection) {
  Caller caller(*connection_, inbox());
  auto again = std::make_shared<std::promise<Result<Reply>>>();
  connection_->Start(EchoCall({}), [this, again](const Result<Reply>&) {
    connection_->Start(EchoCall({}),
                       [again](Result<Reply> result) { again->set_value(std::move(result)); });
  });
  for (int i = 0; i < 2; ++i) {
    const auto request = inbox().Next();
    request.first->Respond(request.second.header.request_id, "other");
  }
  EXPECT_EQ(again->get_future().get()->message, "other");
  connection_->Start(EchoCall({}), [this](const Result<Reply>&) { connection_.reset(); });
  const auto request = inbox().Next();
  request.first->Respond(request.second.header.request_id, "drop it");
  EXPECT_EQ(caller.Join().status().code(), Code::kUnavailable);
}

TEST(LendingModelTest, TheRoleGoesRoundAmongThreadsOfEveryKind) {
  auto server = Serve(testing::EchoScript());
  auto connection = Open(*server);
  std::atomic<int> ended = 0;
  std::atomic<int> wrong = 0;
  constexpr int kThreads = 6;
  constexpr int kEach = 300;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::vector<uint8_t> into(static_cast<size_t>(t) * 5000);
      for (int i = 0; i < kEach; ++i) {
        const bool hurried = i % 10 == 9;
        Call call = EchoCall(into, hurried ? milliseconds(1) : milliseconds(30'000));
        call.tag = static_cast<uint64_t>(t * kEach + i + 1);
        const uint64_t tag = call.tag;
        Result<Reply> result = Status(Code::kInvalid, "none");
        if (t % 3 == 0) {
          result = connection->Run(std::move(call));
        } else {
          std::optional<ReceivesHere> here;
          if (t % 3 == 1) here.emplace();
          auto future = Start(*connection, std::move(call));
          if (t % 3 == 2 && i % 7 == 0) connection->Cancel(tag);
          if (here) here->Wait();
          result = future.get();
        }
        ++ended;
        const Code code = result.status().code();
        const bool may_fail = code == Code::kDeadline || code == Code::kCancelled;
        if (result.ok() ? !IsEcho(into) : !may_fail) ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(ended, kThreads * kEach);
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(connection->under_way(), 0u);
  EXPECT_TRUE(connection->Run(EchoCall({})).ok());
}

}  // namespace
}  // namespace sheaf::transport
