#include "storage/service/reactor.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <future>
#include <mutex>
#include <random>

#include "proto/data.pb.h"
#include "storage/service/echo_handler.h"
#include "storage/service/reactor_set.h"
#include "tests/support/raw_frame_client.h"
#include "tests/support/temp_dir.h"

namespace sheaf::storage {
namespace {

using sheaf::testing::RawFrame;
using sheaf::testing::RawFrameClient;
using std::chrono::milliseconds;
using transport::FrameType;
using transport::Method;

// Echo answers `length` bytes; kWrite answers the payload's CRC-free length as its message; kRead
// keeps the call, and its payload, until Release.
class TestHandler : public FramedHandler {
 public:
  void Handle(ServiceContext& context, FramedRequest request,
              std::shared_ptr<FramedCall> call) override {
    if (request.method == Method::kEcho) return echo_.Handle(context, std::move(request), call);
    if (request.method == Method::kRead) {
      std::lock_guard lock(mutex_);
      held_.push_back({std::move(call), std::move(request.buffer)});
      return;
    }
    if (request.method == Method::kList) return;  // dropped without an answer
    Answer answer;
    answer.message.assign(reinterpret_cast<const char*>(request.message.data()),
                          request.message.size());
    answer.buffer = request.buffer;
    answer.payload = request.payload;
    call->Finish(std::move(answer));
  }

  size_t held() {
    std::lock_guard lock(mutex_);
    return held_.size();
  }
  // On the reactor's thread.
  void Release() {
    std::vector<Held> calls;
    {
      std::lock_guard lock(mutex_);
      calls.swap(held_);
    }
    for (Held& held : calls) held.call->Finish({held.call->StillWanted(), "released", {}, {}});
  }

 private:
  struct Held {
    std::shared_ptr<FramedCall> call;
    BufferRef buffer;
  };
  EchoHandler echo_{transport::kDefaultMaxPayload};
  std::mutex mutex_;
  std::vector<Held> held_;
};

class ReactorTest : public ::testing::Test {
 protected:
  ReactorTest() {
    options_.buffer_bytes = 32 << 20;
    options_.metrics = &metrics_;
    options_.limits.tick = milliseconds(5);
  }

  ~ReactorTest() override {
    if (!set_) return;
    Release();
    EXPECT_TRUE(set_->StopServing(std::chrono::seconds(10)).ok());
    EXPECT_EQ(set_->counts().connections, 0u);
  }

  void Start() {
    auto set = ReactorSet::Start(options_);
    CHECK(set.ok(), set.status().ToString());
    set_ = std::move(*set);
    Address any;
    any.host = "127.0.0.1";
    Address local;
    local.unix_path = dir_ / "socket";
    std::vector<UniqueFd> listeners;
    for (const Address& address : {any, local}) {
      auto socket = Listen(address, 64);
      CHECK(socket.ok(), socket.status().ToString());
      addresses_.push_back(*BoundAddress(socket->get(), address));
      listeners.push_back(std::move(*socket));
    }
    set_->Serve(handler_, std::move(listeners));
  }

  RawFrameClient Connected() {
    RawFrameClient client(addresses_[0]);
    client.Greet();
    return client;
  }

  // Answers every call held, then waits until the reactor has done so.
  void Release() {
    std::promise<void> done;
    set_->first().Post([&] {
      handler_.Release();
      done.set_value();
    });
    done.get_future().wait();
  }
  void WaitHeld(size_t count) {
    while (handler_.held() < count) std::this_thread::yield();
  }

  static std::string Echo(uint64_t id, uint32_t length) {
    proto::ReadChunkRequest request;
    request.set_length(length);
    return RawFrameClient::Request(id, Method::kEcho, request.SerializeAsString());
  }

  sheaf::testing::TempDir dir_;
  Metrics metrics_;
  ReactorSet::Options options_;
  TestHandler handler_;
  std::unique_ptr<ReactorSet> set_;
  std::vector<Address> addresses_;
};

TEST_F(ReactorTest, AnnouncesItsTerms) {
  Start();
  RawFrameClient client(addresses_[0]);
  const proto::Hello hello = client.Greet();
  EXPECT_EQ(hello.request_credits(), options_.limits.terms.request_credits);
  EXPECT_EQ(hello.byte_credits(), options_.limits.terms.byte_credits);
  EXPECT_EQ(hello.max_payload(), options_.limits.terms.max_payload);
}

TEST_F(ReactorTest, AnswersOverTcpAndUnixSockets) {
  Start();
  for (const Address& address : addresses_) {
    RawFrameClient client(address);
    client.Greet();
    ASSERT_TRUE(client.Send(Echo(17, 4096)));
    auto answer = client.Receive();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->header.type, FrameType::kResponse);
    EXPECT_EQ(answer->header.request_id, 17u);
    EXPECT_EQ(answer->payload.size(), 4096u);
  }
}

TEST_F(ReactorTest, PayloadsOfEverySizeComeBackWhole) {
  Start();
  RawFrameClient client = Connected();
  std::mt19937 random(1);
  for (size_t size : {1u, 100u, 4096u, 65'535u, 65'536u, 70'001u, 1u << 20, 4u << 20}) {
    std::string payload(size, '\0');
    for (char& c : payload) c = static_cast<char>(random());
    ASSERT_TRUE(client.Send(RawFrameClient::Request(size, Method::kWrite, "msg", payload)));
    auto answer = client.Receive();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->message, "msg");
    ASSERT_EQ(answer->payload.size(), size);
    EXPECT_EQ(std::memcmp(answer->payload.data(), payload.data(), size), 0);
  }
}

TEST_F(ReactorTest, FramesMayArriveInAnyPieces) {
  Start();
  const char* given = std::getenv("SHEAF_SEED");
  const uint32_t seed = given ? std::strtoul(given, nullptr, 10) : std::random_device{}();
  SCOPED_TRACE("SHEAF_SEED=" + std::to_string(seed));
  std::mt19937 random(seed);
  RawFrameClient client = Connected();
  std::string stream;
  std::vector<std::string> payloads;
  for (int i = 0; i < 60; ++i) {
    payloads.emplace_back(random() % 9000, static_cast<char>(i));
    stream += RawFrameClient::Request(i, Method::kWrite, std::string(random() % 300, 'm'),
                                      payloads.back());
  }
  for (std::string_view rest = stream; !rest.empty();) {
    const size_t piece = std::min<size_t>(rest.size(), 1 + random() % 5000);
    ASSERT_TRUE(client.Send(rest.substr(0, piece)));
    rest.remove_prefix(piece);
  }
  for (int i = 0; i < 60; ++i) {
    auto answer = client.Receive();
    ASSERT_TRUE(answer);
    const std::string& sent = payloads.at(answer->header.request_id);
    ASSERT_EQ(answer->payload.size(), sent.size());
    EXPECT_TRUE(std::equal(sent.begin(), sent.end(), answer->payload.begin(),
                           [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; }));
  }
}

TEST_F(ReactorTest, AnswersOutOfOrder) {
  Start();
  RawFrameClient client = Connected();
  ASSERT_TRUE(client.Send(RawFrameClient::Request(1, Method::kRead, "") + Echo(2, 10)));
  auto first = client.Receive();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->header.request_id, 2u);
  WaitHeld(1);
  Release();
  auto second = client.Receive();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->header.request_id, 1u);
}

TEST_F(ReactorTest, ClosesAPeerThatSpeaksSomethingElse) {
  Start();
  for (const std::string& rubbish :
       {std::string(200, 'x'),
        std::string("GET / HTTP/1.1\r\nHost: a\r\n\r\n") + std::string(64, ' '), Echo(1, 1)}) {
    RawFrameClient client(addresses_[0]);
    client.Send(rubbish);
    EXPECT_FALSE(client.Receive().has_value());
  }
  RawFrameClient late = Connected();
  late.Send(std::string(64, '\xff'));
  EXPECT_FALSE(late.Receive().has_value());
  RawFrameClient other = Connected();
  ASSERT_TRUE(other.Send(Echo(1, 10)));
  EXPECT_TRUE(other.Receive().has_value()) << "others are not disturbed";
}

TEST_F(ReactorTest, RefusesALengthOverTheLimitBeforeItTakesMemory) {
  Start();
  RawFrameClient client = Connected();
  transport::FrameHeader header;
  header.type = FrameType::kRequest;
  header.method = Method::kWrite;
  header.payload_length = UINT32_MAX;
  const auto bytes = transport::EncodeHeader(header);
  client.Send({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  EXPECT_FALSE(client.Receive().has_value());
}

TEST_F(ReactorTest, FramesThatOnlyServersSendCloseTheConnection) {
  Start();
  RawFrameClient client = Connected();
  transport::FrameHeader header;
  header.type = FrameType::kResponse;
  client.Send(RawFrameClient::Encode(header, "", ""));
  EXPECT_FALSE(client.Receive().has_value());
}

TEST_F(ReactorTest, MoreRequestsThanCreditsAreHeldBackUntilAnswersHaveGone) {
  options_.limits.terms.request_credits = 4;
  Start();
  RawFrameClient client = Connected();
  std::string stream;
  for (int i = 0; i < 20; ++i) stream += RawFrameClient::Request(i, Method::kRead, "");
  ASSERT_TRUE(client.Send(stream));
  for (int round = 0; round < 5; ++round) {
    WaitHeld(4);
    EXPECT_EQ(handler_.held(), 4u);
    Release();
    for (int i = 0; i < 4; ++i) {
      auto answer = client.Receive();
      ASSERT_TRUE(answer);
      EXPECT_EQ(answer->header.request_id / 4, static_cast<uint64_t>(round));
    }
  }
}

TEST_F(ReactorTest, ClosesAPeerThatSendsNoHello) {
  options_.limits.hello_wait = milliseconds(20);
  Start();
  RawFrameClient client(addresses_[0]);
  EXPECT_FALSE(client.Receive().has_value());
}

TEST_F(ReactorTest, ClosesAPeerThatStallsWithinAFrame) {
  options_.limits.frame_wait = milliseconds(20);
  Start();
  for (size_t cut : {10u, 66u, 200u}) {
    RawFrameClient client = Connected();
    const std::string frame =
        RawFrameClient::Request(1, Method::kWrite, "hello", std::string(100'000, 'p'));
    ASSERT_TRUE(client.Send(frame.substr(0, cut)));
    EXPECT_FALSE(client.Receive().has_value());
  }
}

TEST_F(ReactorTest, ClosesAnIdlePeerButNotOneThatWaitsForItsAnswer) {
  options_.limits.idle_wait = milliseconds(20);
  Start();
  // In one piece with the hello, so that it is never idle before it waits.
  RawFrameClient waiting(addresses_[0]);
  ASSERT_TRUE(waiting.Send(transport::EncodeHello(transport::MakeClientHello()) +
                           RawFrameClient::Request(1, Method::kRead, "")));
  ASSERT_TRUE(waiting.Receive());  // its hello
  WaitHeld(1);
  RawFrameClient idle = Connected();
  EXPECT_FALSE(idle.Receive().has_value());
  Release();
  EXPECT_TRUE(waiting.Receive().has_value());
}

TEST_F(ReactorTest, ClosesAPeerThatDoesNotReadItsAnswersAndFreesItsBuffers) {
  options_.limits.send_wait = milliseconds(20);
  Start();
  RawFrameClient client = Connected();
  std::string stream;
  for (int i = 0; i < 16; ++i) stream += Echo(i, 1 << 20);
  ASSERT_TRUE(client.Send(stream));
  while (set_->counts().connections > 0) std::this_thread::yield();
  while (set_->first().buffer_bytes_used() > 0) std::this_thread::yield();
}

TEST_F(ReactorTest, AnswersBusyWhenNoBufferComesFreeAndGoesOn) {
  options_.buffer_bytes = 1 << 20;
  options_.limits.room_wait = milliseconds(10);
  Start();
  RawFrameClient client = Connected();
  const std::string large(4 << 20, 'x');
  ASSERT_TRUE(client.Send(RawFrameClient::Request(1, Method::kWrite, "", large) + Echo(2, 2 << 20) +
                          Echo(3, 4096)));
  for (uint64_t id : {1u, 2u}) {
    auto answer = client.Receive();
    ASSERT_TRUE(answer);
    if (answer->header.request_id == 3) {
      answer = client.Receive();
      ASSERT_TRUE(answer);
    }
    EXPECT_EQ(answer->header.type, FrameType::kError) << id;
    EXPECT_EQ(transport::DecodeError({reinterpret_cast<const uint8_t*>(answer->message.data()),
                                      answer->message.size()})
                  .code(),
              Code::kBusy);
  }
}

TEST_F(ReactorTest, RequestsWaitForABufferInsteadOfFailing) {
  options_.buffer_bytes = 2 << 20;
  options_.limits.room_wait = std::chrono::seconds(10);
  Start();
  RawFrameClient client = Connected();
  std::string stream;
  for (int i = 0; i < 32; ++i) stream += Echo(i, 1 << 20);
  ASSERT_TRUE(client.Send(stream));
  for (int i = 0; i < 32; ++i) {
    auto answer = client.Receive();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->header.type, FrameType::kResponse);
    EXPECT_EQ(answer->payload.size(), 1u << 20);
  }
}

// Otherwise two servers that are heads to one another could each wait for the other's buffers.
TEST_F(ReactorTest, WhatHasPassedAServerFindsRoomWhereClientsHaveTakenAllOfTheirs) {
  options_.limits.room_wait = milliseconds(10);
  Start();
  const std::string payload(4 << 20, 'x');
  RawFrameClient clients = Connected();
  for (uint64_t id = 1; id <= 4; ++id)
    ASSERT_TRUE(clients.Send(RawFrameClient::Request(id, Method::kRead, "", payload)));
  WaitHeld(4);
  RawFrameClient another = Connected();
  ASSERT_TRUE(another.Send(RawFrameClient::Request(1, Method::kWrite, "m", payload)));
  EXPECT_EQ(another.Receive()->header.type, FrameType::kError);
  RawFrameClient neighbour = Connected();
  transport::FrameHeader header;
  header.type = FrameType::kRequest;
  header.method = Method::kWrite;
  header.request_id = 1;
  header.flags = 2;
  ASSERT_TRUE(neighbour.Send(RawFrameClient::Encode(header, "m", payload)));
  EXPECT_EQ(neighbour.Receive()->header.type, FrameType::kResponse);
}

TEST_F(ReactorTest, ACancelledRequestIsKnownAsNotWanted) {
  Start();
  RawFrameClient client = Connected();
  ASSERT_TRUE(client.Send(RawFrameClient::Request(5, Method::kRead, "")));
  transport::FrameHeader cancel;
  cancel.type = FrameType::kCancel;
  cancel.request_id = 5;
  ASSERT_TRUE(client.Send(RawFrameClient::Encode(cancel, "", "") + Echo(6, 1)));
  ASSERT_TRUE(client.Receive());  // the echo: the cancel has been seen
  Release();
  auto answer = client.Receive();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->header.request_id, 5u);
  EXPECT_EQ(answer->header.type, FrameType::kError);
}

TEST_F(ReactorTest, ARequestWhoseDeadlinePassedIsKnownAsNotWanted) {
  Start();
  RawFrameClient client = Connected();
  ASSERT_TRUE(client.Send(RawFrameClient::Request(5, Method::kRead, "", "", /*deadline_ms=*/1)));
  WaitHeld(1);
  const Clock::Instant begin = Clock::System().Now();
  while (Clock::System().Now() - begin < milliseconds(3)) std::this_thread::yield();
  ASSERT_TRUE(client.Send(Echo(6, 1)));  // a later turn of the loop
  ASSERT_TRUE(client.Receive());
  Release();
  auto answer = client.Receive();
  ASSERT_TRUE(answer);
  EXPECT_EQ(transport::DecodeError(
                {reinterpret_cast<const uint8_t*>(answer->message.data()), answer->message.size()})
                .code(),
            Code::kDeadline);
}

TEST_F(ReactorTest, ARequestThatItsHandlerDropsIsAnswered) {
  Start();
  RawFrameClient client = Connected();
  ASSERT_TRUE(client.Send(RawFrameClient::Request(9, Method::kList, "")));
  auto answer = client.Receive();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->header.request_id, 9u);
  EXPECT_EQ(answer->header.type, FrameType::kError);
}

TEST_F(ReactorTest, TooManyRequestsInAllAreAnsweredBusy) {
  options_.limits.requests_under_way = 2;
  Start();
  RawFrameClient client = Connected();
  std::string stream;
  for (int i = 0; i < 3; ++i) stream += RawFrameClient::Request(i, Method::kRead, "");
  ASSERT_TRUE(client.Send(stream));
  auto answer = client.Receive();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->header.request_id, 2u);
  EXPECT_EQ(answer->header.type, FrameType::kError);
}

TEST_F(ReactorTest, OneConnectionTooManyIsClosed) {
  options_.limits.connections = 2;
  Start();
  RawFrameClient first = Connected();
  RawFrameClient second = Connected();
  RawFrameClient third(addresses_[0]);
  third.Send(transport::EncodeHello(transport::MakeClientHello()));
  EXPECT_FALSE(third.Receive().has_value());
  first.Hangup();
  while (set_->counts().connections > 1) std::this_thread::yield();
  Connected();
}

TEST_F(ReactorTest, ManyConnectionsOverTwoReactors) {
  options_.reactors = 2;
  Start();
  std::vector<std::unique_ptr<RawFrameClient>> clients;
  for (int i = 0; i < 100; ++i) {
    clients.push_back(std::make_unique<RawFrameClient>(addresses_[i % 2]));
    clients.back()->Greet();
  }
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(clients[i]->Send(Echo(i, 1000 + i)));
  for (int i = 0; i < 100; ++i) {
    auto answer = clients[i]->Receive();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->payload.size(), 1000u + i);
  }
}

TEST_F(ReactorTest, APeerThatHangsUpWithRequestsUnderWayLeavesNothing) {
  Start();
  RawFrameClient client = Connected();
  ASSERT_TRUE(client.Send(RawFrameClient::Request(1, Method::kRead, "")));
  WaitHeld(1);
  client.Hangup();
  while (set_->counts().connections > 0) std::this_thread::yield();
  Release();
  while (set_->counts().requests > 0) std::this_thread::yield();
}

TEST_F(ReactorTest, CountsWhatItDoes) {
  Start();
  RawFrameClient client = Connected();
  ASSERT_TRUE(client.Send(Echo(1, 4096)));
  ASSERT_TRUE(client.Receive());
  const std::string text = metrics_.Text();
  EXPECT_NE(text.find("sheaf_storage_requests_total{method=\"echo\",plane=\"framed\"} 1"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("sheaf_storage_sent_bytes_total{plane=\"framed\"} 4096"), std::string::npos);
}

}  // namespace
}  // namespace sheaf::storage
