#include "common/transport/connection.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <map>
#include <mutex>
#include <thread>
#include <tuple>
#include <vector>

#include "proto/data.pb.h"
#include "tests/common/transport/connection_fixture.h"

namespace sheaf::transport {
namespace {

TEST(ConnectionTest, BringsMessageAndPayloadThere) {
  auto server = Serve(testing::EchoScript());
  auto connection = Open(*server);
  EXPECT_EQ(connection->max_payload(), kDefaultMaxPayload);
  for (const size_t size : {size_t{0}, size_t{1}, size_t{4096}, size_t{1} << 20}) {
    std::vector<uint8_t> into(size);
    const auto reply = connection->Run(EchoCall(into));
    ASSERT_TRUE(reply.ok()) << reply.status().ToString();
    EXPECT_EQ(reply->payload_size, size);
    EXPECT_TRUE(IsEcho(into));
  }
}

TEST(ConnectionTest, SendsPayloadsOfEverySize) {
  auto server = Serve(testing::EchoScript());
  auto connection = Open(*server);
  for (const size_t size : {size_t{1}, size_t{4096}, size_t{4097}, size_t{3} << 20}) {
    std::vector<uint8_t> payload(size);
    for (size_t i = 0; i < size; ++i) payload[i] = EchoByte(i);
    std::vector<uint8_t> into(size);
    Call call = EchoCall(into);
    call.message = "m";
    call.payload = payload;
    const auto reply = connection->Run(std::move(call));
    ASSERT_TRUE(reply.ok()) << reply.status().ToString();
    EXPECT_EQ(reply->message, "m");
    EXPECT_EQ(into, payload);
  }
}

TEST(ConnectionTest, ManyThreadsShareOneConnection) {
  auto server = Serve(testing::EchoScript());
  auto connection = Open(*server);
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (size_t t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      std::vector<uint8_t> into(1 + t * 3000);
      std::vector<uint8_t> payload(into.size());
      for (size_t i = 0; i < payload.size(); ++i) payload[i] = EchoByte(i);
      for (int i = 0; i < 200; ++i) {
        into.assign(into.size(), 0);
        Call call = EchoCall(into);
        if (i % 2 == 0) call.payload = payload;
        if (connection->Run(std::move(call)).ok() && IsEcho(into)) ++good;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 8 * 200);
  EXPECT_EQ(server->accepted(), 1);
}

// Two-way traffic of more than both sockets hold, with requests begun from both kinds of thread.
TEST(ConnectionTest, FullSocketsBothWaysMakeProgress) {
  auto server = Serve(testing::EchoScript());
  auto connection = Open(*server);
  const std::vector<uint8_t> payload(1 << 20, 9);
  std::vector<std::vector<uint8_t>> into(32, std::vector<uint8_t>(payload.size()));
  std::atomic<int> left = 64;
  std::promise<void> all;
  std::function<void(size_t, bool)> begin = [&](size_t slot, bool again) {
    Call call = EchoCall(into[slot]);
    call.payload = payload;
    connection->Start(std::move(call), [&, slot, again](Result<Reply> result) {
      EXPECT_TRUE(result.ok()) << result.status().ToString();
      EXPECT_EQ(into[slot], payload);
      if (again) begin(slot, false);
      if (--left == 0) all.set_value();
    });
  };
  for (size_t slot = 0; slot < into.size(); ++slot) begin(slot, true);
  all.get_future().wait();
}

TEST(ConnectionTest, AnswersMayComeInAnyOrder) {
  Inbox inbox;
  auto server = Serve(inbox.Script());
  auto connection = Open(*server);
  std::vector<std::future<Result<Reply>>> futures;
  for (int i = 0; i < 20; ++i) {
    Call call = EchoCall({});
    call.message = std::to_string(i);
    futures.push_back(Start(*connection, std::move(call)));
  }
  std::vector<FrameServer::Request> requests;
  PeerRef peer;
  for (int i = 0; i < 20; ++i) {
    auto [from, request] = inbox.Next();
    peer = from;
    requests.push_back(std::move(request));
  }
  for (auto it = requests.rbegin(); it != requests.rend(); ++it) {
    peer->Respond(it->header.request_id, "re " + it->message);
  }
  for (int i = 0; i < 20; ++i) EXPECT_EQ(futures[i].get()->message, "re " + std::to_string(i));
}

TEST(ConnectionTest, CarriesTheMethodAndWhatIsLeftOfTheDeadline) {
  Inbox inbox;
  auto server = Serve(inbox.Script());
  auto connection = Open(*server);
  auto future = Start(*connection, EchoCall({}, seconds(20)));
  auto [peer, request] = inbox.Next();
  EXPECT_EQ(request.header.method, Method::kEcho);
  EXPECT_GT(request.header.deadline_ms, 0u);
  EXPECT_LE(request.header.deadline_ms, 20'000u);
  peer->Respond(request.header.request_id, {});
  EXPECT_TRUE(future.get().ok());
}

TEST(ConnectionTest, AnErrorAnswerIsItsStatus) {
  auto server = Serve([](const PeerRef& peer, FrameServer::Request request) {
    peer->Refuse(request.header.request_id, Status(Code::kWrongChain, "read chunk 1.2: moved"));
  });
  auto connection = Open(*server);
  const auto reply = connection->Run(EchoCall({}));
  EXPECT_EQ(reply.status().code(), Code::kWrongChain);
  EXPECT_EQ(reply.status().message(), "read chunk 1.2: moved");
  EXPECT_FALSE(connection->IsBroken());
}

TEST(ConnectionTest, APayloadLongerThanItsPlaceEndsThatCallAlone) {
  auto server = Serve([](const PeerRef& peer, FrameServer::Request request) {
    const std::vector<uint8_t> payload(request.message == "long" ? 300000 : 10, 5);
    peer->Respond(request.header.request_id, "m", payload);
  });
  auto connection = Open(*server);
  std::vector<uint8_t> into(10);
  Call call = EchoCall(into);
  call.message = "long";
  EXPECT_EQ(connection->Run(std::move(call)).status().code(), Code::kProtocol);
  EXPECT_TRUE(connection->Run(EchoCall(into)).ok());
}

TEST(ConnectionTest, CreditsHoldCallsBack) {
  Inbox inbox;
  FrameServer::Options options;
  options.terms.request_credits = 2;
  auto server = Serve(inbox.Script(), options);
  auto connection = Open(*server);
  std::vector<std::future<Result<Reply>>> futures;
  for (int i = 0; i < 6; ++i) futures.push_back(Start(*connection, EchoCall({})));
  auto [peer, held] = inbox.Next();
  for (int i = 1; i < 6; ++i) {
    // The first call holds one credit all along, so the others go one by one on the second.
    auto [same, request] = inbox.Next();
    EXPECT_EQ(inbox.untaken(), 0u) << "a third request went out on two credits";
    peer->Respond(request.header.request_id, {});
    EXPECT_TRUE(futures[i].get().ok());
  }
  peer->Respond(held.header.request_id, {});
  EXPECT_TRUE(futures[0].get().ok());
}

TEST(ConnectionTest, WaitingForCreditsCountsAgainstTheDeadline) {
  Inbox inbox;
  FrameServer::Options options;
  options.terms.byte_credits = 1000;
  auto server = Serve(inbox.Script(), options);
  auto connection = Open(*server);
  std::vector<uint8_t> into(600);
  auto first = Start(*connection, EchoCall(into));
  std::vector<uint8_t> other(600);
  const Status status = connection->Run(EchoCall(other, milliseconds(30))).status();
  EXPECT_EQ(status.code(), Code::kDeadline);
  auto [peer, request] = inbox.Next();
  peer->Respond(request.header.request_id, {});
  EXPECT_TRUE(first.get().ok());
  EXPECT_EQ(inbox.untaken(), 0u) << "a call that never went out is not cancelled";
}

TEST(ConnectionTest, ADeadlineEndsTheCallAndTellsTheServer) {
  Inbox inbox;
  auto server = Serve(inbox.Script());
  auto connection = Open(*server);
  std::vector<uint8_t> into(100000, 1);
  // On a machine that is busy a short deadline may pass before the call is sent: then a longer one.
  // The frame that is sent after it shows whether it was.
  PeerRef peer;
  FrameServer::Request request;
  std::future<Result<Reply>> mark;
  for (milliseconds wait{20};; wait *= 2) {
    ASSERT_LT(wait, seconds(60));
    EXPECT_EQ(connection->Run(EchoCall(into, wait)).status().code(), Code::kDeadline);
    Call call = EchoCall({});
    call.message = "mark";
    mark = Start(*connection, std::move(call));
    std::tie(peer, request) = inbox.Next();
    if (request.message != "mark") break;
    peer->Respond(request.header.request_id, "");
    EXPECT_TRUE(mark.get().ok());
  }
  auto [same, cancel] = inbox.Next();
  EXPECT_EQ(cancel.header.type, FrameType::kCancel);
  EXPECT_EQ(cancel.header.request_id, request.header.request_id);

  // The late answer goes nowhere, and the connection lives on.
  peer->Respond(request.header.request_id, "late", std::vector<uint8_t>(100000, 2));
  auto [again, next] = inbox.Next();
  EXPECT_EQ(next.message, "mark");
  peer->Respond(next.header.request_id, "good");
  EXPECT_EQ(mark.get()->message, "good");
  EXPECT_EQ(into, std::vector<uint8_t>(100000, 1));
}

TEST(ConnectionTest, ADeadlineWithinThePayloadGivesTheBufferBack) {
  Inbox inbox;
  auto server = Serve(inbox.Script());
  auto connection = Open(*server);
  std::vector<uint8_t> into(200000, 1);
  auto future = Start(*connection, EchoCall(into, milliseconds(1500)));
  auto [peer, request] = inbox.Next();
  const auto header = EncodeHeader({.type = FrameType::kResponse,
                                    .request_id = request.header.request_id,
                                    .payload_length = 200000});
  peer->SendRaw(std::string(header.begin(), header.end()) + std::string(100000, '\2'));
  EXPECT_EQ(future.get().status().code(), Code::kDeadline);
  into.assign(into.size(), 3);
  auto [same, cancel] = inbox.Next();
  EXPECT_EQ(cancel.header.type, FrameType::kCancel);

  peer->SendRaw(std::string(100000, '\2'));
  auto next = Start(*connection, EchoCall({}));
  peer->Respond(inbox.Next().second.header.request_id, "good");
  EXPECT_EQ(next.get()->message, "good");
  EXPECT_EQ(into, std::vector<uint8_t>(200000, 3));
}

// Long before its deadline, and in the middle of the payload: nothing is written to `into` later.
TEST(ConnectionTest, CancellingACallGivesTheBufferBackAtOnce) {
  Inbox inbox;
  auto server = Serve(inbox.Script());
  auto connection = Open(*server);
  std::vector<uint8_t> into(200000, 1);
  Call call = EchoCall(into, seconds(3600));
  call.tag = 5;
  auto future = Start(*connection, std::move(call));
  auto [peer, request] = inbox.Next();
  const auto header = EncodeHeader({.type = FrameType::kResponse,
                                    .request_id = request.header.request_id,
                                    .payload_length = 200000});
  peer->SendRaw(std::string(header.begin(), header.end()) + std::string(100000, '\2'));
  connection->Cancel(6);  // another's name
  connection->Cancel(5);
  EXPECT_EQ(future.get().status().code(), Code::kCancelled);
  into.assign(into.size(), 3);
  auto [same, cancel] = inbox.Next();
  EXPECT_EQ(cancel.header.type, FrameType::kCancel);
  connection->Cancel(5);  // has ended

  peer->SendRaw(std::string(100000, '\2'));
  auto next = Start(*connection, EchoCall({}));
  peer->Respond(inbox.Next().second.header.request_id, "good");
  EXPECT_EQ(next.get()->message, "good");
  EXPECT_EQ(into, std::vector<uint8_t>(200000, 3));
}

// The server reads nothing, so the payload is caught in the socket; its owner gets it back in time.
TEST(ConnectionTest, APeerThatReadsNothingDoesNotHoldCallersPastTheirDeadline) {
  std::promise<void> entered;
  std::promise<void> go;
  auto let = go.get_future().share();
  FrameServer::Options options;
  options.terms.max_payload = 64 << 20;
  options.terms.byte_credits = 1 << 30;
  std::atomic<int> whole = 0;
  auto server = Serve(
      [&](const PeerRef&, FrameServer::Request request) {
        if (request.message == "stop") {
          entered.set_value();
          let.wait();
        } else if (request.header.type == FrameType::kRequest) {
          whole += request.payload == std::vector<uint8_t>(32 << 20, 7);
        }
      },
      options);
  auto connection = Open(*server);
  Call stop = EchoCall({});
  stop.message = "stop";
  auto stopped = Start(*connection, std::move(stop));
  entered.get_future().wait();
  std::vector<uint8_t> payload(32 << 20, 7);
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      Call call = EchoCall({}, milliseconds(50));
      call.payload = payload;
      EXPECT_EQ(connection->Run(std::move(call)).status().code(), Code::kDeadline);
    });
  }
  for (auto& thread : threads) thread.join();
  payload.assign(payload.size(), 0);  // its owner's again
  go.set_value();
  connection.reset();
  EXPECT_EQ(stopped.get().status().code(), Code::kUnavailable);
  server.reset();
}

TEST(ConnectionTest, ADeadlineInThePastIsNotSent) {
  Inbox inbox;
  auto server = Serve(inbox.Script());
  auto connection = Open(*server);
  EXPECT_EQ(connection->Run(EchoCall({}, seconds(-1))).status().code(), Code::kDeadline);
  EXPECT_EQ(inbox.untaken(), 0u);
}

TEST(ConnectionTest, RefusesWhatTheServerWouldNotTake) {
  FrameServer::Options options;
  options.terms.max_payload = 1000;
  auto server = Serve(testing::EchoScript(), options);
  auto connection = Open(*server);
  EXPECT_EQ(connection->max_payload(), 1000u);
  const std::vector<uint8_t> payload(1001);
  Call call = EchoCall({});
  call.payload = payload;
  EXPECT_EQ(connection->Run(std::move(call)).status().code(), Code::kTooBig);
  Call wordy = EchoCall({});
  wordy.message.resize(kMaxMessage + 1);
  EXPECT_EQ(connection->Run(std::move(wordy)).status().code(), Code::kTooBig);
}

// What a bad peer may do to a call under way, and the word that tells of it.
struct Misdeed {
  const char* name;
  std::function<void(const PeerRef&, uint64_t)> act;
  const char* word;
};

class BadPeerTest : public ::testing::TestWithParam<Misdeed> {};

std::string Header(const FrameHeader& header) {
  const auto bytes = EncodeHeader(header);
  return {bytes.begin(), bytes.end()};
}

TEST_P(BadPeerTest, EndsEveryCallWithUnavailableAndBreaksTheConnection) {
  const Misdeed& misdeed = GetParam();
  Inbox inbox;
  auto server = Serve(inbox.Script());
  auto connection = Open(*server);
  std::vector<uint8_t> into(1000);
  auto first = Start(*connection, EchoCall(into));
  auto second = Start(*connection, EchoCall({}));
  auto [peer, request] = inbox.Next();
  misdeed.act(peer, request.header.request_id);
  const Status status = first.get().status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_NE(status.message().find(misdeed.word), std::string::npos) << status.message();
  EXPECT_EQ(second.get().status().code(), Code::kUnavailable);
  EXPECT_TRUE(connection->IsBroken());
  EXPECT_EQ(connection->Run(EchoCall({})).status().code(), Code::kUnavailable);
}

INSTANTIATE_TEST_SUITE_P(
    All, BadPeerTest,
    ::testing::Values(
        Misdeed{"Closes", [](const PeerRef& peer, uint64_t) { peer->Close(); }, "closed"},
        Misdeed{"ClosesWithinAHeader",
                [](const PeerRef& peer, uint64_t) {
                  peer->SendRaw("SHF1");
                  peer->Close();
                },
                "within a frame"},
        Misdeed{
            "ClosesWithinAPayload",
            [](const PeerRef& peer, uint64_t id) {
              peer->SendRaw(
                  Header({.type = FrameType::kResponse, .request_id = id, .payload_length = 1000}) +
                  "abc");
              peer->Close();
            },
            "within a frame"},
        Misdeed{"SendsRubbish",
                [](const PeerRef& peer, uint64_t) { peer->SendRaw(std::string(200, 'x')); },
                "magic"},
        Misdeed{"AnnouncesAHugePayload",
                [](const PeerRef& peer, uint64_t id) {
                  peer->SendRaw(Header({.type = FrameType::kResponse,
                                        .request_id = id,
                                        .payload_length = 0xffffffff}));
                },
                "payload over its limit"},
        Misdeed{"AnnouncesAHugeMessage",
                [](const PeerRef& peer, uint64_t id) {
                  peer->SendRaw(Header({.type = FrameType::kResponse,
                                        .request_id = id,
                                        .message_length = 0xffffffff}));
                },
                "message over its limit"},
        Misdeed{"AnswersWhatWasNotAsked",
                [](const PeerRef& peer, uint64_t) { peer->Respond(1'000'000, {}); },
                "answer to no request"},
        Misdeed{"SendsARequest",
                [](const PeerRef& peer, uint64_t) {
                  peer->SendRaw(Header({.type = FrameType::kRequest, .request_id = 1}));
                },
                "frame of type 2"},
        Misdeed{"RefusesTheConnection",
                [](const PeerRef& peer, uint64_t) {
                  peer->Refuse(0, Status(Code::kFenced, "stale token"));
                },
                "stale token"}),
    [](const auto& misdeed) { return misdeed.param.name; });

TEST(ConnectionTest, CallsEndWhenTheConnectionIsLetGo) {
  Inbox inbox;
  auto server = Serve(inbox.Script());
  auto connection = Open(*server);
  auto future = Start(*connection, EchoCall({}));
  connection.reset();
  EXPECT_EQ(future.get().status().code(), Code::kUnavailable);
}

TEST(ConnectionTest, TheLastReferenceMayGoInACallback) {
  auto server = Serve(testing::EchoScript());
  auto connection = Open(*server);
  std::promise<void> done;
  Connection* raw = connection.get();
  raw->Start(EchoCall({}), [&done, mine = std::move(connection)](Result<Reply> result) mutable {
    EXPECT_TRUE(result.ok());
    mine.reset();
    done.set_value();
  });
  done.get_future().wait();
}

TEST(ConnectionOpenTest, NamesTheAddressNobodyListensOn) {
  auto listener = Listen({.host = "127.0.0.1"}, 1);
  const Address address = *BoundAddress(listener->get(), {.host = "127.0.0.1"});
  listener->Reset();
  const Status status = Connection::Open(address, {}).status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_NE(status.message().find(address.ToString()), std::string::npos);
}

TEST(ConnectionOpenTest, WaitsForAHelloNoLongerThanToldTo) {
  auto listener = Listen({.host = "127.0.0.1"}, 1);
  const Address address = *BoundAddress(listener->get(), {.host = "127.0.0.1"});
  Connection::Options options;
  options.connect_timeout_ms = 30;
  EXPECT_EQ(Connection::Open(address, options).status().code(), Code::kUnavailable);
}

TEST(ConnectionOpenTest, RefusesServersItCannotTalkTo) {
  proto::Hello newer = MakeServerHello({});
  newer.set_protocol_min(kProtocolMax + 1);
  newer.set_protocol_max(kProtocolMax + 1);
  const std::string hellos[] = {
      "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" + std::string(64, ' '),
      EncodeHello(newer), Header({.type = FrameType::kResponse}),
      Header({.type = FrameType::kHello, .message_length = 1 << 20})};
  for (const std::string& hello : hellos) {
    FrameServer::Options options;
    options.hello = hello;
    auto server = Serve(testing::EchoScript(), options);
    const Status status = Connection::Open(server->address(), {}).status();
    EXPECT_EQ(status.code(), Code::kProtocol) << status.ToString();
    EXPECT_NE(status.message().find(server->address().ToString()), std::string::npos);
  }
}

TEST(ConnectionOpenTest, SpeaksOverAUnixSocket) {
  char directory[] = "/tmp/sheaf-transport-XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  FrameServer::Options options;
  options.address = {.unix_path = std::string(directory) + "/socket"};
  {
    auto server = Serve(testing::EchoScript(), options);
    auto connection = Open(*server);
    std::vector<uint8_t> into(1 << 20);
    ASSERT_TRUE(connection->Run(EchoCall(into)).ok());
    EXPECT_TRUE(IsEcho(into));
  }
  rmdir(directory);
}

}  // namespace
}  // namespace sheaf::transport
