#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "common/clock.h"
#include "common/status.h"
#include "common/transport/frame.h"
#include "storage/disk/io_context.h"
#include "storage/replica/stage_forward.h"

namespace sheaf::storage {

// What a handler has of the reactor that runs it. On the reactor's thread only.
class ServiceContext {
 public:
  virtual ~ServiceContext() = default;
  virtual IoContext& io() = 0;
  // Of the buffers each hop may fill more than the one before it.
  virtual bool HasRoom(size_t bytes, uint32_t hop = 0) const = 0;
  // The same for what can be done without: not while anything that came by a chain waits for room.
  virtual bool HasSpareRoom(size_t bytes, uint32_t hop) const { return HasRoom(bytes, hop); }
  // Runs `go`, later and on this thread, with ok once a buffer of `bytes` may be had; with kBusy
  // when none came free in the stated time or too many wait already.
  virtual void WhenRoom(size_t bytes, std::function<void(Status)> go, uint32_t hop = 0) = 0;
};

// An answer: an error, or a message and perhaps a payload that lies in `buffer`.
struct Answer {
  Status status;
  std::string message;
  BufferRef buffer;
  std::span<const uint8_t> payload;
};

// One request of a framed connection, answered exactly once, on the reactor's thread. One that is
// let go without an answer is answered kIo.
class FramedCall {
 public:
  virtual ~FramedCall() = default;
  virtual void Finish(Answer answer) = 0;
  // Not ok when nobody waits any more (cancelled, deadline passed, connection gone): asked before
  // work begins.
  virtual Status StillWanted() const = 0;
};

// What a handler keeps for one connection, and what goes with it. On the reactor's thread.
class ConnectionState {
 public:
  virtual ~ConnectionState() = default;
  // Gives back every buffer that can be done without.
  virtual void GiveWay() = 0;
  virtual void CheckTimeLimits(Clock::Instant now) = 0;
};

struct FramedRequest {
  transport::Method method = transport::Method::kNone;
  std::span<const uint8_t> message;  // valid during Handle only
  BufferRef buffer;                  // holds the payload, from its first byte unless it was placed
  std::span<const uint8_t> payload;
  ConnectionState* state = nullptr;       // the connection's; valid during Handle only
  std::shared_ptr<StageForward> forward;  // what looked on
};

// A request whose payload is about to be received.
struct PayloadAhead {
  transport::Method method = transport::Method::kNone;
  std::span<const uint8_t> message;  // valid during the call only
  uint32_t length = 0;
  uint32_t hop = 0;
  Clock::Instant now{};
  ConnectionState* state = nullptr;
};

// Serves the framed plane. Handle runs on any reactor's thread and must not block.
class FramedHandler {
 public:
  virtual ~FramedHandler() = default;
  virtual void Handle(ServiceContext& context, FramedRequest request,
                      std::shared_ptr<FramedCall> call) = 0;

  // May be null.
  virtual std::unique_ptr<ConnectionState> NewConnection() { return nullptr; }
  // Where that payload is to be put, if not into a buffer of its own. An error answers the request.
  using PlaceOfPayload = std::optional<Result<StageShelf::Place>>;
  virtual PlaceOfPayload PlaceOf(ServiceContext&, const PayloadAhead&) { return std::nullopt; }
  // Who is to be told while that payload lands in `buffer`, and goes with its request; may be null.
  virtual std::shared_ptr<StageForward> Watch(const PayloadAhead&, const BufferRef& /*buffer*/) {
    return nullptr;
  }
};

}  // namespace sheaf::storage
