#pragma once

#include <chrono>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/transport/connection.h"
#include "proto/data.pb.h"
#include "tests/support/frame_server.h"

// What tests of a connection ask of a server, and how they wait.

namespace sheaf::transport {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::EchoByte;
using testing::FrameServer;
using PeerRef = std::shared_ptr<FrameServer::Peer>;

inline Clock::Instant In(Clock::Instant wait) { return Clock::System().Now() + wait; }

inline std::string EchoRequest(size_t bytes) {
  proto::ReadChunkRequest request;
  request.set_length(static_cast<uint32_t>(bytes));
  return request.SerializeAsString();
}

inline Call EchoCall(std::span<uint8_t> into, Clock::Instant wait = seconds(30)) {
  Call call;
  call.method = Method::kEcho;
  call.message = EchoRequest(into.size());
  call.into = into;
  call.deadline = In(wait);
  return call;
}

inline bool IsEcho(std::span<const uint8_t> bytes) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != EchoByte(i)) return false;
  }
  return true;
}

inline std::unique_ptr<FrameServer> Serve(FrameServer::Script script,
                                          FrameServer::Options options = {}) {
  auto server = FrameServer::Start(std::move(script), options);
  CHECK(server.ok(), server.status().ToString());
  return std::move(*server);
}

inline std::shared_ptr<Connection> Open(const FrameServer& server) {
  auto connection = Connection::Open(server.address(), {});
  CHECK(connection.ok(), connection.status().ToString());
  return *connection;
}

// Results of calls begun with Start, awaited in any order.
inline std::future<Result<Reply>> Start(Connection& connection, Call call) {
  auto promise = std::make_shared<std::promise<Result<Reply>>>();
  auto future = promise->get_future();
  connection.Start(std::move(call),
                   [promise](Result<Reply> result) { promise->set_value(std::move(result)); });
  return future;
}

// Frames a script keeps for the test to look at or answer.
class Inbox {
 public:
  FrameServer::Script Script() {
    return [this](const PeerRef& peer, FrameServer::Request request) {
      std::lock_guard lock(mutex_);
      arrived_.emplace_back(peer, std::move(request));
      changed_.notify_all();
    };
  }
  std::pair<PeerRef, FrameServer::Request> Next() {
    std::unique_lock lock(mutex_);
    CHECK(changed_.wait_for(lock, seconds(60), [&] { return taken_ < arrived_.size(); }),
          "no frame arrived");
    return arrived_[taken_++];
  }
  size_t untaken() {
    std::lock_guard lock(mutex_);
    return arrived_.size() - taken_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::pair<PeerRef, FrameServer::Request>> arrived_;
  size_t taken_ = 0;
};

}  // namespace sheaf::transport
