#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "common/clock.h"
#include "common/status.h"
#include "common/transport/frame.h"
#include "storage/disk/io_context.h"

namespace sheaf::storage {

// What a handler has of the reactor that runs it. On the reactor's thread only.
class ServiceContext {
 public:
  virtual ~ServiceContext() = default;
  virtual IoContext& io() = 0;
  // Of the buffers each hop may fill more than the one before it.
  virtual bool HasRoom(size_t bytes, uint32_t hop = 0) const = 0;
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

struct FramedRequest {
  transport::Method method = transport::Method::kNone;
  std::span<const uint8_t> message;  // valid during Handle only
  BufferRef buffer;                  // holds the payload, from its first byte
  std::span<const uint8_t> payload;
};

// Serves the framed plane. Handle runs on any reactor's thread and must not block.
class FramedHandler {
 public:
  virtual ~FramedHandler() = default;
  virtual void Handle(ServiceContext& context, FramedRequest request,
                      std::shared_ptr<FramedCall> call) = 0;
};

}  // namespace sheaf::storage
