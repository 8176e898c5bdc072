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
// connection, its receiving thread and callers that receive, which may outlive it by a moment.
//
// Sending: whoever queues a frame while nobody sends becomes the sender and sends everything
// queued, its own and others', with one system call a batch; calls begun by the receiver are sent
// together once the answers at hand are dispatched. Nobody waits for a full socket: the rest is
// left to the receiver, which also keeps deadlines.
//
// Receiving: the receiver's role is one thread's at a time. It is the receiving thread's, until a
// caller comes that waits for its answer (StartHere) while nothing else is under way: then it is
// that caller's until its call has ended, so that one thread is woken by the answer and not two.
// Whatever else arrives or expires meanwhile it deals with as the receiving thread would. From then
// on the receiving thread rests, and looks only whether the peer hangs up; a call begun by one that
// does not wait here, or one left under way by a caller, has it receive again.
//
// Invariants:
//  1. Calls end on the receiver alone, so a call that it found stays until it takes it.
//  2. A call ends only when no queue points into its payload and the kernel does not write to
//  `into`:
//     a borrowed payload is detached under send_mutex_, and receiving is done by the same thread.
//  3. Exactly one thread sends while sending_ is set; while blocked_ is set only the receiver may
//     set it.
//  4. While a call is under way or the socket is full, somebody is the receiver: the receiving
//     thread unless rests_ is set, else the caller while lent_ is set. Both change, and the role
//     with what belongs to it is handed on, under mutex_.
class Link {
 public:
  // Both eventfds.
  struct Doorbells {
    UniqueFd receiver;  // something for the receiver to look at
    UniqueFd thread;    // for the receiving thread, also while it rests
  };
  // A parser that has taken the server's hello and may hold bytes that followed it.
  Link(UniqueFd socket, Doorbells doorbells, const Address& peer, const ServerTerms& terms,
       FrameLimits limits, FrameParser parser);

  // Any thread.
  void Start(Call call, Done done) { (void)Begin(std::move(call), std::move(done), false); }
  // The same by a thread that can receive: if the answer is not 0, it is now the receiver and calls
  // ReceiveHere with that answer, with nothing in between that might block.
  uint64_t StartHere(Call call, Done done) { return Begin(std::move(call), std::move(done), true); }
  // Receives until the call has ended, its `done` included.
  void ReceiveHere(uint64_t call);
  void Cancel(uint64_t tag);
  void Stop();
  bool IsBroken() const { return broken_.load(std::memory_order_acquire); }
  bool IsReceiver() const;  // this thread
  size_t under_way() const;
  uint32_t max_payload() const { return max_payload_; }

  // The receiving thread's body; returns when the connection is broken or stopped.
  void Receive();

 private:
  enum class Progress : uint8_t { kSome, kNone, kBroken };

  Status Check(const Call& call) const;
  uint64_t Begin(Call call, Done done, bool here);
  bool Lend();   // REQUIRES: mutex_ held
  bool Rouse();  // REQUIRES: mutex_ held
  void GiveBack();
  bool AwaitRole();
  bool HasEnded(uint64_t call) const;
  void AdmitWaiting();  // REQUIRES: mutex_ held
  bool ClaimSending();  // REQUIRES: mutex_ held
  void SendQueued();
  bool SendBatch();
  ssize_t SendOnce();
  void StopSending(bool blocked);
  static void Ring(const UniqueFd& doorbell);
  static void Silence(const UniqueFd& doorbell);

  bool Work(Progress* progress);
  Progress ReceiveOnce();
  bool Dispatch();
  bool OnMessage();
  void OnPayload();
  void EndWithAnswer(PendingCall& call);
  PendingCall Take(PendingCall& call);
  void ExpireCalls(Clock::Instant now);
  void Expire(uint64_t id);
  void SendDeferred();
  void Poll(bool is_thread);
  void Fail(const std::string& cause);

  const UniqueFd socket_;
  const Doorbells doorbells_;
  const std::string peer_;
  const FrameLimits limits_;
  const uint32_t max_payload_;
  const uint32_t server_max_payload_;
  std::atomic<bool> stop_ = false;
  std::atomic<bool> broken_ = false;

  // The receiver's own.
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
  bool blocked_ = false;  // the socket was full, or a sender handed over to the receiver
  Status failure_;
  bool rests_ = false;       // the receiving thread, until it is roused
  bool lent_ = false;        // a caller is the receiver
  bool wants_role_ = false;  // the receiving thread has seen the end of the connection
  // When the receiver next looks by itself; min() while it is awake.
  Clock::Instant wakes_at_ = Clock::Instant::min();
};

}  // namespace sheaf::transport
