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

class Link;

// One call. Memory behind `payload` and `into` stays valid until the call is done.
struct Call {
  Method method = Method::kNone;
  std::string message;               // serialised request
  std::span<const uint8_t> payload;  // sent after the message
  std::span<uint8_t> into;           // receives the answer's payload; a longer one is kProtocol
  Clock::Instant deadline{};         // on Clock::System()
  uint32_t hop = 0;                  // at most kMaxHop
  uint64_t tag = 0;                  // the caller's name for it, for Cancel; 0: none
};

struct Reply {
  std::string message;  // serialised response
  size_t payload_size = 0;
};

using Done = std::function<void(Result<Reply>)>;

// The client end of one framed connection. Calls are multiplexed and pipelined, answered out of
// order, and held back while the server's credits are used up (the wait counts against the
// deadline). Thread-safe; one thread of its own receives, or a caller that waits for its answer.
//
// A connection fails once: calls under way end with kUnavailable (the request may or may not have
// been executed), later ones at once. It is then replaced by its pool.
class Connection {
 public:
  struct Options {
    int connect_timeout_ms = 2000;
    int dead_after_ms = 30'000;  // over TCP: a peer that acknowledges no byte for so long is gone
    // Over a Unix socket: the process that is to be there; 0: whichever. Two containers on one machine
    // may mean different sockets by one path.
    int64_t unix_pid = 0;
    FrameLimits limits;
  };

  // Connects and exchanges hellos. kUnavailable or kProtocol name the address.
  static Result<std::shared_ptr<Connection>> Open(const Address& address, const Options& options);
  virtual ~Connection() = default;

  // `done` runs exactly once, on whichever thread receives or, on failure, on the caller's: it must
  // not block. Deadlines are kept to within 10 ms.
  virtual void Start(Call call, Done done) = 0;
  // Ends the call begun with this tag, if it is still under way, with kCancelled: soon, whatever
  // the server does. The server is told; it may have executed the request.
  virtual void Cancel(uint64_t /*tag*/) {}
  // Start and wait. Where nothing else is under way this thread receives the answer itself, and
  // runs the `done` of whatever else ends meanwhile.
  virtual Result<Reply> Run(Call call) = 0;

  virtual bool IsBroken() const = 0;
  // Largest payload that the server takes in one frame, bytes.
  virtual uint32_t max_payload() const = 0;
  // Calls begun and not done: what the pool chooses by.
  virtual size_t under_way() const { return 0; }
};

// Says of the thread that makes it that the next call it begins with Connection::Start is one that
// it waits for at once: so its answer may be received here, as that of Run. Between the two the
// thread must not block.
//
//   ReceivesHere here;
//   client.Read(place, into, waiter.Done());
//   here.Wait();    // may return at once
//   waiter.Wait();  // for what the call was part of
class ReceivesHere {
 public:
  ReceivesHere();
  ~ReceivesHere();  // waits, too
  ReceivesHere(const ReceivesHere&) = delete;
  ReceivesHere& operator=(const ReceivesHere&) = delete;

  // Takes it back: this thread has more to begin than one call, or something else to do first.
  static void Forgo();
  // Until that call has ended, if it is received here.
  void Wait();

 private:
  friend class FramedConnection;
  ReceivesHere* const outer_;
  std::shared_ptr<Link> link_;
  uint64_t call_ = 0;
  bool over_ = false;
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
