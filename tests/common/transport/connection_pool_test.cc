#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "common/transport/connection.h"
#include "tests/support/frame_server.h"

namespace sheaf::transport {
namespace {

using std::chrono::seconds;
using testing::FrameServer;

std::unique_ptr<FrameServer> Serve(FrameServer::Script script, FrameServer::Options options = {}) {
  auto server = FrameServer::Start(std::move(script), options);
  CHECK(server.ok(), server.status().ToString());
  return std::move(*server);
}

Call PlainCall() {
  Call call;
  call.method = Method::kEcho;
  call.deadline = Clock::System().Now() + seconds(30);
  return call;
}

// Get, for as long as the pool only says that it is not yet time to try again.
Result<std::shared_ptr<Connection>> GetThroughBackOff(ConnectionPool& pool,
                                                      const Address& address) {
  const Clock::Instant end = Clock::System().Now() + seconds(60);
  for (;;) {
    auto connection = pool.Get(address);
    if (connection.ok() || Clock::System().Now() > end) return connection;
    std::this_thread::yield();
  }
}

TEST(ConnectionPoolTest, SharesOneConnectionAnAddress) {
  auto server = Serve(testing::EchoScript());
  ConnectionPool pool({});
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back(
        [&] { EXPECT_TRUE((*pool.Get(server->address()))->Run(PlainCall()).ok()); });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(server->accepted(), 1);
}

TEST(ConnectionPoolTest, BusyConnectionsAreJoinedByOthersUpToTheLimit) {
  std::promise<void> go;
  auto let = go.get_future().share();
  auto server =
      Serve([&](const std::shared_ptr<FrameServer::Peer>& peer, FrameServer::Request request) {
        let.wait();
        peer->Respond(request.header.request_id, {});
      });
  ConnectionPool pool({.connection = {}, .per_address = 2});
  std::vector<std::promise<Result<Reply>>> replies(4);
  for (auto& reply : replies) {
    (*pool.Get(server->address()))->Start(PlainCall(), [&](Result<Reply> r) {
      reply.set_value(std::move(r));
    });
  }
  EXPECT_EQ(server->accepted(), 2);
  go.set_value();
  for (auto& reply : replies) EXPECT_TRUE(reply.get_future().get().ok());
}

TEST(ConnectionPoolTest, ReplacesABrokenConnectionOnceTheServerIsBack) {
  auto server = Serve(testing::EchoScript());
  const Address address = server->address();
  ConnectionPool pool({});
  auto old = *pool.Get(address);
  ASSERT_TRUE(old->Run(PlainCall()).ok());
  server.reset();
  EXPECT_EQ(old->Run(PlainCall()).status().code(), Code::kUnavailable);
  EXPECT_TRUE(old->IsBroken());
  EXPECT_EQ(pool.Get(address).status().code(), Code::kUnavailable);

  FrameServer::Options options;
  options.address = address;
  server = Serve(testing::EchoScript(), options);
  auto next = GetThroughBackOff(pool, address);
  ASSERT_TRUE(next.ok()) << next.status().ToString();
  EXPECT_TRUE((*next)->Run(PlainCall()).ok());
}

TEST(ConnectionPoolTest, BacksOffWithoutConnecting) {
  auto listener = Listen({.host = "127.0.0.1"}, 1);
  const Address address = *BoundAddress(listener->get(), {.host = "127.0.0.1"});
  listener->Reset();
  ConnectionPool pool({});
  bool backed_off = false;
  for (int i = 0; i < 100 && !backed_off; ++i) {
    const Status status = pool.Get(address).status();
    ASSERT_EQ(status.code(), Code::kUnavailable);
    backed_off = status.message().find("backing off") != std::string::npos;
  }
  EXPECT_TRUE(backed_off);
}

}  // namespace
}  // namespace sheaf::transport
