#pragma once

#include <sys/socket.h>

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/fd.h"
#include "common/transport/call_table.h"
#include "common/transport/connection.h"
#include "common/transport/frame_parser.h"
#include "common/transport/send_queue.h"

namespace sheaf::transport {

// The working part of a client connection: its socket, its calls, what is to be sent. Shared by the
// connection and its receiving thread, which may outlive it by a moment.
//
// Sending: whoever queues a frame while nobody sends becomes the sender and sends everything
// queued, its own and others', with one system call a batch; calls begun on the receiving thread
// are sent together once the answers at hand are dispatched. Nobody waits for a full socket: the
// rest is left to the receiving thread, which also keeps deadlines.
//
// Invariants:
//  1. Calls end on the receiving thread alone, so a call that it found stays until it takes it.
//  2. A call ends only when no queue points into its payload and the kernel does not write to
//  `into`:
//     a borrowed payload is detached under send_mutex_, and receiving is done by the same thread.
//  3. Exactly one thread sends while sending_ is set; while blocked_ is set only the receiving
//     thread may set it.
class Link {
 public:
  // A parser that has taken the server's hello and may hold bytes that followed it.
  Link(UniqueFd socket, UniqueFd wake, const Address& peer, const ServerTerms& terms,
       FrameLimits limits, FrameParser parser);

  // Any thread.
  void Start(Call call, Done done);
  void Cancel(uint64_t tag);
  void Stop();
  bool IsBroken() const { return broken_.load(std::memory_order_acquire); }
  bool IsReceivingThread() const;
  size_t under_way() const;
  uint32_t max_payload() const { return max_payload_; }

  // The receiving thread's body; returns when the connection is broken or stopped.
  void Receive();

 private:
  enum class Progress : uint8_t { kSome, kNone, kBroken };

  Status Check(const Call& call) const;
  void AdmitWaiting();  // REQUIRES: mutex_ held
  bool ClaimSending();  // REQUIRES: mutex_ held
  void SendQueued();
  bool SendBatch();
  ssize_t SendOnce();
  void StopSending(bool blocked);
  void Wake();

  Progress ReceiveOnce();
  bool Dispatch();
  bool OnMessage();
  void OnPayload();
  void EndWithAnswer(PendingCall& call);
  PendingCall Take(PendingCall& call);
  void ExpireCalls(Clock::Instant now);
  void Expire(uint64_t id);
  void SendDeferred();
  void Poll();
  void Fail(const std::string& cause);

  const UniqueFd socket_;
  const UniqueFd wake_;  // eventfd: something for the receiving thread to look at
  const std::string peer_;
  const FrameLimits limits_;
  const uint32_t max_payload_;
  const uint32_t server_max_payload_;
  std::atomic<bool> stop_ = false;
  std::atomic<bool> broken_ = false;

  // The receiving thread's own.
  FrameParser parser_;
  PendingCall* receiving_ = nullptr;  // whose payload is being received
  std::string reply_message_;         // of that answer

  // Held over one sendmsg that never waits. Before mutex_.
  std::mutex send_mutex_;
  SendQueue sending_queue_;
  std::vector<uint64_t> released_;

  mutable std::mutex mutex_;
  CallTable calls_;
  SendQueue queue_;
  bool sending_ = false;
  bool blocked_ = false;  // the socket was full, or a sender handed over to the receiving thread
  Status failure_;
  // When the receiving thread next looks by itself; min() while it is awake.
  Clock::Instant wakes_at_ = Clock::Instant::min();
};

}  // namespace sheaf::transport
