#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/fd.h"
#include "common/transport/frame_parser.h"
#include "storage/disk/uring.h"
#include "storage/service/limits.h"
#include "storage/service/request.h"
#include "storage/service/service_metrics.h"

namespace sheaf::storage {

class ServerConnection;

// What a connection needs of its reactor; all on the reactor's thread.
class ConnectionHost {
 public:
  virtual ~ConnectionHost() = default;
  virtual Uring& ring() = 0;
  virtual ServiceContext& context() = 0;
  virtual FramedHandler& handler() = 0;
  virtual const ServiceLimits& limits() const = 0;
  virtual ServiceMetrics* metrics() = 0;   // null: not counted
  virtual Clock::Instant now() const = 0;  // of this loop turn
  // `connection` has something to send: Flush it once at the end of this turn.
  virtual void FlushLater(std::shared_ptr<ServerConnection> connection) = 0;
  virtual void Forget(ServerConnection& connection) = 0;
  // Somebody waits for a buffer: each connection gives back what it can do without.
  virtual void GiveWay() = 0;
  // A request begins; false when as many as may are under way in the process. What a neighbour in a
  // chain asks is let in all the same: others wait for it to end.
  virtual bool BeginRequest(bool of_peer) = 0;
  virtual void EndRequest() = 0;
};

// The server end of one framed connection, driven by its reactor's ring.
//
// Receiving: a FrameParser says where bytes go, so a large payload lands in a pooled, aligned
// buffer without a copy, or where the handler has a place for it; who passes it on meanwhile is told
// each time as much of it is there as it wants. Sending: answers gather in `out_` and go out in one sendmsg a loop turn.
//
// Invariants:
// 1. At most one receive and one send are in flight; both pin the object.
// 2. While request or byte credits are used up, or a payload waits for a buffer, nothing is parsed:
//    the peer is held back by TCP.
// 3. After Close nothing is parsed, sent or handed to the handler; answers are dropped.
// 4. A request holds its credit until its answer has been handed to the kernel, so a peer that does
//    not read cannot make us queue more than its credits.
//
// Thread safety: none; the reactor's thread.
class ServerConnection : public std::enable_shared_from_this<ServerConnection> {
 public:
  ServerConnection(UniqueFd fd, ConnectionHost& host);
  ~ServerConnection();

  void Start();
  void Flush();
  // Closes it when one of the peer's time limits has passed.
  void CheckTimeLimits();
  void GiveWay();
  void Close(const std::string& why);

 private:
  class ReceiveOp;
  class SendOp;
  class Request;

  // An answer on its way out. The head is the frame's header and message.
  struct OutFrame {
    std::string head;
    BufferRef buffer;
    std::span<const uint8_t> payload;
    bool holds_credit = false;
    size_t charged_bytes = 0;
    size_t size() const { return head.size() + payload.size(); }
  };

  void StartReceive();
  void OnReceived(int32_t result);
  void Parse();
  bool CreditsUsedUp() const;
  void OnMessage();
  void OnHello();
  void OnRequest();
  PayloadAhead Ahead() const;
  void ChooseDestination();
  bool HasRoom();
  bool TakeBuffer();
  void Refuse(const Status& status);
  void OnRoom(const Status& status);
  void TellForward();
  void OnPayload();
  void Begin(const transport::FrameHeader& header, std::span<const uint8_t> message,
             FramedRequest request);
  void Cancel(uint64_t request_id);

  void FinishRequest(Request& request, Answer answer);
  void Queue(OutFrame frame);
  void QueueError(uint64_t request_id, const Status& status, bool holds_credit, size_t charged);
  void StartSend();
  void OnSent(int32_t result);
  void PopSent(size_t bytes);

  const UniqueFd fd_;
  ConnectionHost& host_;
  bool closed_ = false;
  bool greeted_ = false;

  transport::FrameParser parser_;
  std::unique_ptr<ReceiveOp> receive_op_;
  bool parsing_ = false;  // Parse is on the stack
  bool waits_for_room_ = false;
  transport::FrameHeader pending_header_;  // of the frame whose payload is being received
  std::string pending_message_;
  BufferRef pending_buffer_;
  std::span<uint8_t> pending_payload_;     // where it is received, in that buffer
  std::shared_ptr<StageForward> forward_;  // is told while it is
  std::unique_ptr<ConnectionState> state_;

  std::unique_ptr<SendOp> send_op_;
  std::deque<OutFrame> out_;
  size_t sent_of_front_ = 0;
  bool flush_asked_ = false;

  uint32_t requests_ = 0;             // hold a credit
  uint64_t bytes_ = 0;                // payloads of those, both ways
  Request* first_request_ = nullptr;  // those not answered yet, for Cancel

  Clock::Instant started_;
  Clock::Instant last_frame_;     // when the last frame was complete or the last answer sent
  Clock::Instant frame_began_{};  // 0: between frames
  Clock::Instant send_began_{};
};

}  // namespace sheaf::storage
