#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/address.h"
#include "common/clock.h"
#include "common/status.h"
#include "common/transport/frame.h"
#include "common/transport/hello.h"

namespace sheaf::transport {

// A request that a Server has received. It is answered once, from any thread; one that is dropped
// unanswered is answered kIo.
class ServerCall {
 public:
  virtual ~ServerCall() = default;
  virtual Method method() const = 0;
  // max() when the caller stated none; on Clock::System().
  virtual Clock::Instant deadline() const = 0;
  // An answer longer than kMaxMessage becomes kTooBig.
  virtual void Respond(std::string message) = 0;
  virtual void Refuse(const Status& status) = 0;
  // From the handler, which is about to take longer over this call: another thread goes on with its
  // connection meanwhile, and answers leave at once. False when more requests came together with
  // it: nobody else can begin those. REQUIRES: the handler is done with `message`.
  virtual bool StepAside() { return false; }
};

// The server end of framed connections for a service whose requests are small, without payloads,
// and either short enough to be answered on the thread that received them or handed on to another.
// (Storage has a server of its own, driven by the rings of its disks.)
//
// A few threads share one epoll set. A connection is read by one thread at a time; requests that
// came together are handed to the handler one after the other, and their answers leave together.
//
// Invariants:
// 1. A connection has at most request_credits unanswered requests and, unsent, kMaxUnsent bytes
//    plus the answers to those: beyond, it is not read, and TCP holds the peer back.
// 2. Every request begun is answered before the destructor returns, unless its connection broke.
// 3. Nothing is parsed of, sent on or handed over from a connection once it is closed.
// 4. A thread that has stepped aside touches nothing of the connection's reading side: another may
//    have it.
//
// Thread-safe.
class Server {
 public:
  static constexpr size_t kMaxUnsent = size_t{1} << 20;  // bytes

  // Called on a thread of the server, from several at once; `message` is valid during the call.
  using Handler =
      std::function<void(std::shared_ptr<ServerCall> call, std::span<const uint8_t> message)>;

  struct Options {
    std::vector<Address> listen;  // TCP port 0 chooses a free one
    int threads = 4;
    uint32_t request_credits = 256;  // of one connection
    size_t max_connections = 4096;   // a further one is closed at once
    std::chrono::milliseconds hello_wait{10'000};
    std::chrono::milliseconds stall_wait{30'000};  // within a frame, or with answers not read
  };
  struct Stats {
    size_t connections = 0;
    size_t under_way = 0;  // requests
    uint64_t refused_connections = 0;
  };

  // kExists names an address in use.
  static Result<std::unique_ptr<Server>> Start(const Options& options, Handler handler);
  // Reads no further request, waits for the answers to those begun, closes.
  ~Server();

  // As asked for, with the ports really bound.
  const std::vector<Address>& addresses() const;
  Stats stats() const;

 private:
  friend class ServerConnection;
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sheaf::transport
