#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "common/address.h"
#include "common/clock.h"
#include "common/status.h"
#include "common/transport/frame.h"

namespace sheaf::transport {

// One call. Memory behind `payload` and `into` stays valid until the call is done.
struct Call {
  Method method = Method::kNone;
  std::string message;                // serialised request
  std::span<const uint8_t> payload;   // sent after the message
  std::span<uint8_t> into;            // receives the answer's payload; a longer one is kProtocol
  Clock::Instant deadline{};          // on Clock::System()
  uint32_t hop = 0;                   // at most kMaxHop
  uint64_t tag = 0;                   // the caller's name for it, for Cancel; 0: none
};

struct Reply {
  std::string message;  // serialised response
  size_t payload_size = 0;
};

using Done = std::function<void(Result<Reply>)>;

// The client end of one framed connection. Calls are multiplexed and pipelined, answered out of
// order, and held back while the server's credits are used up (the wait counts against the
// deadline). Thread-safe; one thread of its own receives.
//
// A connection fails once: calls under way end with kUnavailable (the request may or may not have
// been executed), later ones at once. It is then replaced by its pool.
class Connection {
 public:
  struct Options {
    int connect_timeout_ms = 2000;
    FrameLimits limits;
  };

  // Connects and exchanges hellos. kUnavailable or kProtocol name the address.
  static Result<std::shared_ptr<Connection>> Open(const Address& address, const Options& options);
  virtual ~Connection() = default;

  // `done` runs exactly once, on the receiving thread or, on failure, on the caller's: it must not
  // block. Deadlines are kept to within 10 ms.
  virtual void Start(Call call, Done done) = 0;
  // Ends the call begun with this tag, if it is still under way, with kCancelled: soon, whatever
  // the server does. The server is told; it may have executed the request.
  virtual void Cancel(uint64_t /*tag*/) {}
  // Start and wait.
  virtual Result<Reply> Run(Call call) = 0;

  virtual bool IsBroken() const = 0;
  // Largest payload that the server takes in one frame, bytes.
  virtual uint32_t max_payload() const = 0;
  // Calls begun and not done: what the pool chooses by.
  virtual size_t under_way() const { return 0; }
};

// Connections by address, `per_address` each (calls take the least loaded), opened on demand and
// replaced when broken, with a short back-off between attempts. Thread-safe.
class ConnectionPool {
 public:
  struct Options {
    Connection::Options connection;
    int per_address = 1;
  };

  explicit ConnectionPool(const Options& options);
  ~ConnectionPool();

  // Connects if need be; kUnavailable at once while backing off.
  Result<std::shared_ptr<Connection>> Get(const Address& address);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sheaf::transport
