#include "common/transport/server.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

#include "common/transport/connection.h"
#include "tests/support/eventually.h"
#include "tests/support/raw_frame_client.h"
#include "tests/support/temp_dir.h"

namespace sheaf::transport {
namespace {

using sheaf::testing::Eventually;
using sheaf::testing::RawFrame;
using sheaf::testing::RawFrameClient;
using std::chrono::milliseconds;

using CallPtr = std::shared_ptr<ServerCall>;

constexpr auto kWait = std::chrono::seconds(30);

std::string Text(std::span<const uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

// Requests that wait for the test to answer them.
class Held {
 public:
  void Add(CallPtr call, std::string message) {
    std::lock_guard lock(mutex_);
    calls_.emplace_back(std::move(call), std::move(message));
  }
  size_t size() const {
    std::lock_guard lock(mutex_);
    return calls_.size();
  }
  // Answers the oldest, with what it asked.
  void AnswerOne() {
    std::pair<CallPtr, std::string> taken;
    {
      std::lock_guard lock(mutex_);
      CHECK(!calls_.empty());
      taken = std::move(calls_.front());
      calls_.pop_front();
    }
    taken.first->Respond(std::move(taken.second));
  }
  void Drop() {
    std::lock_guard lock(mutex_);
    calls_.clear();
  }

 private:
  mutable std::mutex mutex_;
  std::deque<std::pair<CallPtr, std::string>> calls_;
};

class ServerTest : public ::testing::Test {
 protected:
  void Start(Server::Handler handler, Server::Options options = {}) {
    if (options.listen.empty()) options.listen = {Address{.host = "127.0.0.1"}};
    auto server = Server::Start(options, std::move(handler));
    CHECK(server.ok(), server.status().ToString());
    server_ = std::move(*server);
  }
  void StartEcho(Server::Options options = {}) {
    Start([](const CallPtr& call, auto message) { call->Respond(Text(message)); },
          std::move(options));
  }
  void StartHolding(Server::Options options = {}) {
    Start([this](CallPtr call, auto message) { held_.Add(std::move(call), Text(message)); },
          std::move(options));
  }
  const Address& address() const { return server_->addresses().front(); }
  std::shared_ptr<Connection> Open() {
    auto connection = Connection::Open(address(), {});
    CHECK(connection.ok(), connection.status().ToString());
    return *connection;
  }
  static Result<Reply> Ask(Connection& connection, std::string message) {
    return connection.Run({.method = Method::kMetaLookup,
                           .message = std::move(message),
                           .deadline = Clock::System().Now() + kWait});
  }
  static std::string Request(uint64_t id, std::string_view message) {
    return RawFrameClient::Request(id, Method::kMetaLookup, message);
  }
  bool EventuallyAlone() {
    return Eventually([this] { return server_->stats().connections == 0; });
  }

  Held held_;
  std::unique_ptr<Server> server_;
};

TEST_F(ServerTest, AnswersManyCallsOfManyThreads) {
  StartEcho();
  const auto connection = Open();
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 300; ++i) {
        const std::string asked = std::to_string(t) + "." + std::string(i * 7, 'x');
        const auto reply = Ask(*connection, asked);
        if (!reply.ok() || reply->message != asked) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(server_->stats().under_way, 0u);
}

TEST_F(ServerTest, ListensOnAUnixSocketToo) {
  const sheaf::testing::TempDir dir;
  const Address socket{.unix_path = dir / "meta.sock"};
  StartEcho({.listen = {Address{.host = "127.0.0.1"}, socket}});
  ASSERT_EQ(server_->addresses().size(), 2u);
  const auto connection = Connection::Open(socket, {});
  ASSERT_TRUE(connection.ok()) << connection.status().ToString();
  EXPECT_EQ(Ask(**connection, "a")->message, "a");
}

TEST_F(ServerTest, AnAddressInUseIsNamed) {
  StartEcho();
  const auto second = Server::Start({.listen = {address()}}, [](auto, auto) {});
  EXPECT_EQ(second.status().code(), Code::kExists);
  EXPECT_NE(second.status().message().find(address().ToString()), std::string::npos);
}

TEST_F(ServerTest, AMessageAsLargeAsMayBeGoesBothWays) {
  StartEcho();
  const std::string largest(kMaxMessage, 'm');
  EXPECT_EQ(Ask(*Open(), largest)->message, largest);
}

TEST_F(ServerTest, AnswersComeInAnyOrderFromAnyThread) {
  StartHolding();
  const auto connection = Open();
  std::vector<std::future<Result<Reply>>> replies;
  for (const char* each : {"a", "b", "c"}) {
    const size_t before = held_.size();
    replies.push_back(std::async(std::launch::async, [&, each] { return Ask(*connection, each); }));
    ASSERT_TRUE(Eventually([&] { return held_.size() == before + 1; }));
  }
  std::thread([this] {
    for (int i = 0; i < 3; ++i) held_.AnswerOne();
  }).join();
  EXPECT_EQ(replies[0].get()->message, "a");
  EXPECT_EQ(replies[1].get()->message, "b");
  EXPECT_EQ(replies[2].get()->message, "c");
}

TEST_F(ServerTest, APeerBeyondItsCreditsIsNotRead) {
  StartHolding({.request_credits = 8});
  RawFrameClient client(address());
  EXPECT_EQ(client.Greet().request_credits(), 8u);
  std::string requests;
  for (uint64_t id = 1; id <= 50; ++id) requests += Request(id, "x");
  ASSERT_TRUE(client.Send(requests));
  ASSERT_TRUE(Eventually([&] { return held_.size() == 8; }));
  for (uint64_t id = 1; id <= 50; ++id) {
    ASSERT_TRUE(Eventually([&] { return held_.size() > 0; })) << id;
    EXPECT_LE(server_->stats().under_way, 8u);
    held_.AnswerOne();
    const auto answer = client.Receive();
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(answer->header.request_id, id);
  }
}

TEST_F(ServerTest, APeerThatDoesNotReadItsAnswersIsHeldBackAndThenServed) {
  std::atomic<int> asked = 0;
  Start([&](const CallPtr& call, auto) {
    ++asked;
    call->Respond(std::string(64 << 10, 'a'));
  });
  RawFrameClient client(address());
  client.Greet();
  constexpr int kRequests = 1000;  // 64 MiB of answers, more than any socket holds
  std::thread sender([&] {
    for (int id = 1; id <= kRequests; ++id) CHECK(client.Send(Request(id, "x")));
  });
  // It stops for want of room: more was not asked for twice in a row.
  int before = -1;
  ASSERT_TRUE(
      Eventually([&] { return std::exchange(before, asked.load()) == asked && asked > 0; }));
  EXPECT_LT(asked, kRequests);
  for (int id = 1; id <= kRequests; ++id) {
    const auto answer = client.Receive();
    ASSERT_TRUE(answer.has_value()) << id;
    ASSERT_EQ(answer->message.size(), size_t{64} << 10);
  }
  sender.join();
  EXPECT_EQ(asked, kRequests);
}

TEST_F(ServerTest, WhatCannotBeAnsweredIsRefused) {
  Start([](const CallPtr& call, auto message) {
    if (Text(message) == "long") call->Respond(std::string(kMaxMessage + 1, 'l'));
    if (Text(message) == "error") call->Refuse({Code::kNotFound, "it is not here"});
  });
  const auto connection = Open();
  EXPECT_EQ(Ask(*connection, "long").status().code(), Code::kTooBig);
  EXPECT_EQ(Ask(*connection, "drop").status().code(), Code::kIo);
  const Status error = Ask(*connection, "error").status();
  EXPECT_EQ(error.code(), Code::kNotFound);
  EXPECT_EQ(error.message(), "it is not here");
}

TEST_F(ServerTest, ADeadlineIsTheCallersWait) {
  std::promise<Clock::Instant> seen;
  Start([&](const CallPtr& call, auto) { seen.set_value(call->deadline()); });
  const auto before = Clock::System().Now();
  (void)Ask(*Open(), "x");
  const auto deadline = seen.get_future().get();
  EXPECT_GT(deadline, before);
  EXPECT_LE(deadline, Clock::System().Now() + kWait + milliseconds(1));
}

TEST_F(ServerTest, BadMannersEndTheirOwnConnectionAlone) {
  StartEcho();
  const auto good = Open();
  FrameHeader payload{.type = FrameType::kRequest, .request_id = 1};
  const std::string hello = EncodeHello(MakeClientHello());
  for (const std::string& bytes :
       {std::string(200, 'r'), Request(1, "no hello"), hello + std::string(100, 'r'), hello + hello,
        hello + RawFrameClient::Encode(payload, "x", "payload"),
        hello + EncodeError(3, Status(Code::kIo, "an answer"))}) {
    RawFrameClient bad(address());
    bad.Send(bytes);
    auto frame = bad.Receive();
    if (frame && frame->header.type == FrameType::kHello) frame = bad.Receive();
    EXPECT_FALSE(frame.has_value());
    EXPECT_EQ(Ask(*good, "still")->message, "still");
  }
  EXPECT_TRUE(Eventually([this] { return server_->stats().connections == 1; }));
}

TEST_F(ServerTest, ACancelIsTaken) {
  StartEcho();
  RawFrameClient client(address());
  client.Greet();
  FrameHeader cancel{.type = FrameType::kCancel, .request_id = 9};
  ASSERT_TRUE(client.Send(RawFrameClient::Encode(cancel, {}, {}) + Request(10, "x")));
  EXPECT_EQ(client.Receive()->header.request_id, 10u);
}

TEST_F(ServerTest, WhoSaysNothingOrHalfAFrameIsHungUpOn) {
  StartEcho({.hello_wait = milliseconds(1), .stall_wait = milliseconds(1)});
  RawFrameClient silent(address());
  EXPECT_FALSE(silent.Receive().has_value());
  RawFrameClient half(address());
  half.Send(EncodeHello(MakeClientHello()) + Request(1, "x").substr(0, 30));
  if (half.Receive()) {  // its hello, unless the wait for that was over already
    EXPECT_FALSE(half.Receive().has_value());
  }
  EXPECT_TRUE(EventuallyAlone());
}

// Its frames come, each with the beginning of the next: it is never between two of them.
TEST_F(ServerTest, WhoIsAlwaysWithinAFrameButGoesOnIsServed) {
  constexpr auto kStall = std::chrono::seconds(1);
  StartEcho({.stall_wait = kStall});
  RawFrameClient client(address());
  client.Greet();
  const std::string message(100, 'm');
  const auto end = Clock::System().Now() + 3 * kStall;
  uint64_t id = 1;
  ASSERT_TRUE(client.Send(Request(id, message).substr(0, 80)));
  for (; Clock::System().Now() < end; ++id) {
    ASSERT_TRUE(
        client.Send(Request(id, message).substr(80) + Request(id + 1, message).substr(0, 80)));
    const auto answer = client.Receive();
    ASSERT_TRUE(answer.has_value()) << "hung up on after " << id << " requests";
    ASSERT_EQ(answer->header.request_id, id);
  }
}

TEST_F(ServerTest, OneConnectionTooManyIsClosed) {
  StartEcho({.max_connections = 1});
  RawFrameClient first(address());
  first.Greet();
  RawFrameClient second(address());
  second.Send(EncodeHello(MakeClientHello()));
  EXPECT_FALSE(second.Receive().has_value());
  EXPECT_EQ(server_->stats().refused_connections, 1u);
  first.Hangup();
  EXPECT_TRUE(EventuallyAlone());
  EXPECT_EQ(Ask(*Open(), "x")->message, "x");
}

TEST_F(ServerTest, AnAnswerToAPeerThatIsGoneIsDropped) {
  StartHolding();
  RawFrameClient client(address());
  client.Greet();
  ASSERT_TRUE(client.Send(Request(1, "x")));
  ASSERT_TRUE(Eventually([&] { return held_.size() == 1; }));
  client.Hangup();
  ASSERT_TRUE(EventuallyAlone());
  held_.AnswerOne();
  EXPECT_EQ(server_->stats().under_way, 0u);
}

// The handler of "long" steps aside and waits for the test.
class LongHandler {
 public:
  Server::Handler Handler() {
    return [this](const CallPtr& call, auto message) {
      const std::string asked = Text(message);
      if (asked == "long") {
        stepped_aside_.set_value(call->StepAside());
        go_on_.get_future().wait();
      }
      call->Respond(asked);
    };
  }
  bool AwaitSteppedAside() { return stepped_aside_.get_future().get(); }
  void GoOn() { go_on_.set_value(); }

 private:
  std::promise<bool> stepped_aside_;
  std::promise<void> go_on_;
};

TEST_F(ServerTest, AHandlerThatStepsAsideHoldsUpNothingBehindIt) {
  LongHandler handler;
  Start(handler.Handler(), {.threads = 2});
  const auto connection = Open();
  std::thread caller([&] { EXPECT_EQ(Ask(*connection, "long")->message, "long"); });
  EXPECT_TRUE(handler.AwaitSteppedAside());
  for (int i = 0; i < 50; ++i) EXPECT_EQ(Ask(*connection, "short")->message, "short");
  handler.GoOn();
  caller.join();
}

TEST_F(ServerTest, NobodyStepsAsideBeforeRequestsThatCameAlong) {
  LongHandler handler;
  Start(handler.Handler());
  RawFrameClient client(address());
  client.Greet();
  client.Send(Request(1, "long") + Request(2, "short"));
  EXPECT_FALSE(handler.AwaitSteppedAside());
  handler.GoOn();
  EXPECT_EQ(client.Receive()->header.request_id, 1u);
  EXPECT_EQ(client.Receive()->header.request_id, 2u);
}

TEST_F(ServerTest, WhatWasAnsweredBeforeAHandlerStepsAsideIsSent) {
  LongHandler handler;
  Start(handler.Handler());
  RawFrameClient client(address());
  client.Greet();
  client.Send(Request(1, "short") + Request(2, "long"));
  EXPECT_TRUE(handler.AwaitSteppedAside());
  EXPECT_EQ(client.Receive()->header.request_id, 1u);
  handler.GoOn();
  EXPECT_EQ(client.Receive()->header.request_id, 2u);
}

TEST_F(ServerTest, StoppingWaitsForWhoStepsAside) {
  LongHandler handler;
  Start(handler.Handler());
  const auto connection = Open();
  std::thread caller([&] { EXPECT_EQ(Ask(*connection, "long")->message, "long"); });
  EXPECT_TRUE(handler.AwaitSteppedAside());
  std::thread stopper([&] { server_.reset(); });
  handler.GoOn();
  stopper.join();
  caller.join();
}

TEST_F(ServerTest, StoppingWaitsForTheAnswersToWhatIsBegun) {
  StartHolding();
  const auto connection = Open();
  auto reply = std::async(std::launch::async, [&] { return Ask(*connection, "begun"); });
  ASSERT_TRUE(Eventually([&] { return held_.size() == 1; }));
  auto stopped = std::async(std::launch::async, [this] { server_.reset(); });
  EXPECT_EQ(stopped.wait_for(milliseconds(20)), std::future_status::timeout);
  held_.AnswerOne();
  stopped.get();
  const auto answer = reply.get();
  ASSERT_TRUE(answer.ok()) << answer.status().ToString();
  EXPECT_EQ(answer->message, "begun");
  EXPECT_EQ(Ask(*connection, "late").status().code(), Code::kUnavailable);
}

}  // namespace
}  // namespace sheaf::transport
