#include "common/transport/link.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

namespace sheaf::transport {
namespace {

constexpr size_t kMaxParts = 64;
// A sender serves others' frames this many times before the receiving thread takes over: its own
// call has a deadline, too.
constexpr int kMaxBatches = 16;
// Of unsent frames, beyond payloads that are still borrowed; more is answered busy.
constexpr size_t kMaxUnsentBytes = 64 << 20;
constexpr std::chrono::milliseconds kIdleWake{1000};

// Whose receiver this thread is (or, of a receiving thread, will be again).
thread_local const Link* receiving_here = nullptr;

uint32_t MillisecondsLeft(Clock::Instant deadline) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::System().Now()).count();
  return static_cast<uint32_t>(std::clamp<int64_t>(left, 1, UINT32_MAX));
}

}  // namespace

Link::Link(UniqueFd socket, Doorbells doorbells, const Address& peer, const ServerTerms& terms,
           FrameLimits limits, FrameParser parser)
    : socket_(std::move(socket)),
      doorbells_(std::move(doorbells)),
      peer_(peer.ToString()),
      limits_(limits),
      max_payload_(std::min(terms.max_payload, limits.max_payload)),
      server_max_payload_(terms.max_payload),
      parser_(std::move(parser)),
      calls_(terms) {}

bool Link::IsReceiver() const { return receiving_here == this; }

size_t Link::under_way() const {
  std::lock_guard lock(mutex_);
  return calls_.size();
}

Status Link::Check(const Call& call) const {
  const auto too_big = [&](const char* what, size_t size, size_t limit) {
    return Status(Code::kTooBig, "call " + peer_ + ": " + what + " over the limit (" +
                                     std::to_string(size) + " bytes of " + std::to_string(limit) +
                                     ")");
  };
  if (call.message.size() > limits_.max_message) {
    return too_big("message", call.message.size(), limits_.max_message);
  }
  if (call.payload.size() > server_max_payload_) {
    return too_big("payload", call.payload.size(), server_max_payload_);
  }
  if (call.deadline <= Clock::System().Now()) {
    return Status(Code::kDeadline, "call " + peer_ + ": the deadline had passed before it began");
  }
  return Status::Ok();
}

uint64_t Link::Begin(Call call, Done done, bool here) {
  const Clock::Instant deadline = call.deadline;
  Status refused = Check(call);
  uint64_t lent = 0;
  bool send = false;
  bool rouse = false;
  bool wake = false;
  if (refused.ok()) {
    std::lock_guard lock(mutex_);
    if (!failure_.ok()) {
      refused = failure_;
    } else if (calls_.IsFull() || queue_.owned_bytes() > kMaxUnsentBytes) {
      refused = Status(Code::kBusy, "call " + peer_ + ": too many calls under way (" +
                                        std::to_string(calls_.size()) + ")");
    } else {
      const uint64_t id = calls_.Insert(std::move(call), std::move(done)).id;
      AdmitWaiting();
      send = !IsReceiver() && ClaimSending();
      if (here && Lend()) lent = id;
      rouse = Rouse();
      wake = deadline < wakes_at_;
    }
  }
  if (!refused.ok()) {
    done(std::move(refused));
    return 0;
  }
  if (send) SendQueued();
  if (rouse) Ring(doorbells_.thread);
  if (wake) Ring(doorbells_.receiver);
  return lent;
}

// Makes this thread the receiver, if the receiving thread can do without: it is not at work and has
// nothing else to wait for.
bool Link::Lend() {
  if (lent_ || stop_.load(std::memory_order_acquire)) return false;
  const bool at_work = !rests_ && (calls_.size() > 1 || wakes_at_ == Clock::Instant::min());
  if (at_work) return false;
  rests_ = true;
  lent_ = true;
  wakes_at_ = Clock::Instant::min();
  return true;
}

// Where nobody is the receiver the receiving thread becomes it; answers whether that is to be
// woken.
bool Link::Rouse() {
  if (!rests_ || lent_) return false;
  rests_ = false;
  wakes_at_ = Clock::Instant::min();
  return true;
}

void Link::GiveBack() {
  bool rouse = false;
  {
    std::lock_guard lock(mutex_);
    lent_ = false;
    const bool something_left = calls_.size() > 0 || blocked_ || wants_role_ || !failure_.ok() ||
                                stop_.load(std::memory_order_acquire);
    rouse = something_left && Rouse();
  }
  if (rouse) Ring(doorbells_.thread);
}

bool Link::HasEnded(uint64_t call) const {
  std::lock_guard lock(mutex_);
  return calls_.Find(call) == nullptr;
}

void Link::ReceiveHere(uint64_t call) {
  const Link* const before = std::exchange(receiving_here, this);
  Progress progress = Progress::kNone;
  do {
    Poll(/*is_thread=*/false);
  } while (Work(&progress) && !HasEnded(call));
  receiving_here = before;
  GiveBack();
}

void Link::Cancel(uint64_t tag) {
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    wake = calls_.Cancel(tag) && wakes_at_ != Clock::Instant::min();
  }
  if (wake) Ring(doorbells_.receiver);
}

void Link::AdmitWaiting() {
  while (PendingCall* call = calls_.AdmitNext()) {
    const FrameHeader header{
        .type = FrameType::kRequest,
        .method = call->call.method,
        .request_id = call->id,
        .message_length = static_cast<uint32_t>(call->call.message.size()),
        .payload_length = static_cast<uint32_t>(call->call.payload.size()),
        .deadline_ms = MillisecondsLeft(call->call.deadline),
        .flags = std::min(call->call.hop, kMaxHop),
    };
    call->payload_borrowed = queue_.Append(header, call->call.message, call->call.payload);
    call->call.message = {};
  }
}

bool Link::ClaimSending() {
  if (sending_ || blocked_ || queue_.empty()) return false;
  sending_ = true;
  return true;
}

// REQUIRES: this thread set sending_.
void Link::SendQueued() {
  for (int batch = 0; batch < kMaxBatches; ++batch) {
    if (!SendBatch()) return;
  }
  StopSending(true);
}

// False when this thread no longer sends.
bool Link::SendBatch() {
  std::lock_guard send_lock(send_mutex_);
  {
    std::lock_guard lock(mutex_);
    if (sending_queue_.empty()) std::swap(sending_queue_, queue_);
    if (sending_queue_.empty() || !failure_.ok()) {
      sending_ = false;
      return false;
    }
  }
  const ssize_t sent = SendOnce();
  if (sent < 0) {
    // A broken socket is noticed by the receiver, too, once it is shut down.
    if (errno != EAGAIN) shutdown(socket_.get(), SHUT_RDWR);
    StopSending(true);
    return false;
  }
  released_.clear();
  sending_queue_.Advance(static_cast<size_t>(sent), &released_);
  if (released_.empty()) return true;
  std::lock_guard lock(mutex_);
  for (const uint64_t id : released_) {
    if (PendingCall* call = calls_.Find(id)) call->payload_borrowed = false;
  }
  return true;
}

ssize_t Link::SendOnce() {
  std::array<iovec, kMaxParts> parts;
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = sending_queue_.Gather(parts);
  for (;;) {
    const ssize_t sent = sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0 || errno != EINTR) return sent;
  }
}

void Link::StopSending(bool blocked) {
  bool rouse = false;
  {
    std::lock_guard lock(mutex_);
    sending_ = false;
    blocked_ = blocked;
    rouse = blocked && Rouse();
  }
  if (rouse) return Ring(doorbells_.thread);
  if (blocked && !IsReceiver()) Ring(doorbells_.receiver);
}

void Link::Stop() {
  stop_.store(true, std::memory_order_release);
  Ring(doorbells_.receiver);
  Ring(doorbells_.thread);
}

void Link::Ring(const UniqueFd& doorbell) {
  const int error = eventfd_write(doorbell.get(), 1);
  CHECK(error == 0, "write to an eventfd");
}

void Link::Silence(const UniqueFd& doorbell) {
  eventfd_t count = 0;
  (void)eventfd_read(doorbell.get(), &count);
}

void Link::Receive() {
  receiving_here = this;
  // The hello may have brought answers' bytes along; there are none to expect, and Next() says so.
  bool alive = Dispatch();
  while (alive && AwaitRole()) {
    Progress progress = Progress::kNone;
    alive = Work(&progress);
    if (alive && progress == Progress::kNone) Poll(/*is_thread=*/true);
  }
  receiving_here = nullptr;
}

// The receiving thread's rest. Data for others does not wake it, the end of the connection does.
// False when that has been dealt with.
bool Link::AwaitRole() {
  bool hung_up = false;
  for (;;) {
    {
      std::lock_guard lock(mutex_);
      if (!failure_.ok()) return false;
      if (hung_up || stop_.load(std::memory_order_acquire)) {
        wants_role_ = true;
        (void)Rouse();
      }
      if (!rests_) return true;
    }
    // A caller that receives sees the end, too.
    std::array<pollfd, 2> polled{
        {{hung_up ? -1 : socket_.get(), POLLRDHUP, 0}, {doorbells_.thread.get(), POLLIN, 0}}};
    poll(polled.data(), polled.size(), static_cast<int>(kIdleWake.count()));
    if (polled[1].revents != 0) Silence(doorbells_.thread);
    hung_up |= polled[0].revents != 0;
  }
}

// What the receiver does between two waits; false when the connection has failed.
bool Link::Work(Progress* progress) {
  if (stop_.load(std::memory_order_acquire)) {
    Fail("closed by this side");
    return false;
  }
  *progress = ReceiveOnce();
  if (*progress == Progress::kBroken || (*progress == Progress::kSome && !Dispatch())) return false;
  ExpireCalls(Clock::System().Now());
  SendDeferred();
  return true;
}

Link::Progress Link::ReceiveOnce() {
  const auto space = parser_.Space();
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(space.data());
  message.msg_iovlen = space.size();
  const ssize_t got = recvmsg(socket_.get(), &message, MSG_DONTWAIT);
  if (got > 0) {
    parser_.Received(static_cast<size_t>(got));
    return Progress::kSome;
  }
  parser_.Received(0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return Progress::kNone;
  if (got < 0) {
    Fail(std::strerror(errno));
  } else {
    Fail(parser_.AtFrameBoundary() ? "closed by the peer" : "closed by the peer within a frame");
  }
  return Progress::kBroken;
}

// False when the connection failed.
bool Link::Dispatch() {
  for (;;) {
    switch (parser_.Next()) {
      case FrameParser::Event::kNeedBytes:
        return true;
      case FrameParser::Event::kMessage:
        if (!OnMessage()) return false;
        break;
      case FrameParser::Event::kPayload:
        OnPayload();
        break;
      case FrameParser::Event::kError:
        Fail(parser_.status().message());
        return false;
    }
  }
}

bool Link::OnMessage() {
  const FrameHeader& header = parser_.header();
  if (header.type != FrameType::kResponse && header.type != FrameType::kError) {
    Fail("a server sent a frame of type " + std::to_string(static_cast<int>(header.type)));
    return false;
  }
  if (header.type == FrameType::kError && header.request_id == 0) {
    Fail("refused by the peer: " + DecodeError(parser_.message()).ToString());
    return false;
  }
  PendingCall* call = nullptr;
  bool issued = false;
  {
    std::lock_guard lock(mutex_);
    call = calls_.Find(header.request_id);
    issued = calls_.WasIssued(header.request_id);
  }
  // An answer may come late, but not before its request.
  if (!issued || (call != nullptr && !call->admitted)) {
    Fail("an answer to no request (id " + std::to_string(header.request_id) + ")");
    return false;
  }
  const bool takes_payload = call != nullptr && header.type == FrameType::kResponse &&
                             header.payload_length <= call->call.into.size();
  if (header.payload_length > 0 && takes_payload) {
    const auto message = parser_.message();
    reply_message_.assign(message.begin(), message.end());
    receiving_ = call;
    parser_.ReceivePayload(call->call.into);
    return true;
  }
  if (call != nullptr) EndWithAnswer(*call);
  if (header.payload_length > 0) parser_.DiscardPayload();
  return true;
}

void Link::OnPayload() {
  PendingCall taken = Take(*std::exchange(receiving_, nullptr));
  taken.done(Reply{std::move(reply_message_), parser_.header().payload_length});
}

// An answer without a payload, or with one that has no place.
void Link::EndWithAnswer(PendingCall& call) {
  const FrameHeader& header = parser_.header();
  const auto message = parser_.message();
  PendingCall taken = Take(call);
  if (header.type == FrameType::kError) return taken.done(DecodeError(message));
  if (header.payload_length > taken.call.into.size()) {
    return taken.done(Status(Code::kProtocol,
                             "call " + peer_ + ": the answer's payload is longer than asked for (" +
                                 std::to_string(header.payload_length) + " bytes of " +
                                 std::to_string(taken.call.into.size()) + ")"));
  }
  taken.done(Reply{std::string(message.begin(), message.end()), 0});
}

PendingCall Link::Take(PendingCall& call) {
  {
    std::lock_guard lock(mutex_);
    if (!call.payload_borrowed) {
      PendingCall taken = calls_.Take(call);
      AdmitWaiting();
      return taken;
    }
  }
  // Its payload is not all sent, or a sender is just about to note that it is.
  std::lock_guard send_lock(send_mutex_);
  std::lock_guard lock(mutex_);
  if (call.payload_borrowed) {
    sending_queue_.Detach(call.id);
    queue_.Detach(call.id);
  }
  PendingCall taken = calls_.Take(call);
  AdmitWaiting();
  return taken;
}

void Link::ExpireCalls(Clock::Instant now) {
  std::vector<uint64_t> expired;
  {
    std::lock_guard lock(mutex_);
    if (now < calls_.earliest_deadline()) return;
    expired = calls_.Expired(now);
  }
  for (const uint64_t id : expired) Expire(id);
}

void Link::Expire(uint64_t id) {
  PendingCall* call = nullptr;
  {
    std::lock_guard lock(mutex_);
    call = calls_.Find(id);
    if (call->admitted) queue_.Append({.type = FrameType::kCancel, .request_id = id}, {}, {});
  }
  if (call == receiving_) {
    parser_.DiscardPayload();
    receiving_ = nullptr;
  }
  PendingCall taken = Take(*call);
  if (taken.cancelled) return taken.done(Status(Code::kCancelled, "call " + peer_ + ": cancelled"));
  taken.done(Status(Code::kDeadline, "call " + peer_ + ": no answer within the stated wait" +
                                         (taken.admitted ? "" : " (for credits)")));
}

// What the receiver has queued, or was left to it. A socket that was full is tried again each time:
// a stream of answers must not keep requests waiting.
void Link::SendDeferred() {
  {
    std::lock_guard lock(mutex_);
    if (sending_ || (!blocked_ && queue_.empty())) return;
    blocked_ = false;
    sending_ = true;
  }
  SendQueued();
}

void Link::Poll(bool is_thread) {
  const Clock::Instant now = Clock::System().Now();
  Clock::Instant until{};
  bool blocked = false;
  {
    std::lock_guard lock(mutex_);
    until = std::min(calls_.earliest_deadline(), now + kIdleWake);
    wakes_at_ = until;
    blocked = blocked_;
  }
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(until - now).count();
  std::array<pollfd, 3> polled{{
      {socket_.get(), static_cast<short>(blocked ? POLLIN | POLLOUT : POLLIN), 0},
      {doorbells_.receiver.get(), POLLIN, 0},
      {doorbells_.thread.get(), POLLIN, 0},
  }};
  poll(polled.data(), is_thread ? 3 : 2, static_cast<int>(std::max<int64_t>(wait, 0)));
  if (polled[2].revents != 0) Silence(doorbells_.thread);
  std::lock_guard lock(mutex_);
  if (is_thread && rests_) return;  // the role was lent meanwhile, with all that belongs to it
  if (polled[1].revents != 0) Silence(doorbells_.receiver);
  wakes_at_ = Clock::Instant::min();
}

void Link::Fail(const std::string& cause) {
  std::vector<PendingCall> calls;
  Status failure(Code::kUnavailable, "connection to " + peer_ + ": " + cause);
  {
    // No sender is within a payload once this lock is held, and none begins after failure_ is set.
    std::lock_guard send_lock(send_mutex_);
    std::lock_guard lock(mutex_);
    failure_ = failure;
    broken_.store(true, std::memory_order_release);
    calls = calls_.TakeAll();
    sending_queue_ = {};
    queue_ = {};
  }
  shutdown(socket_.get(), SHUT_RDWR);
  receiving_ = nullptr;
  for (PendingCall& call : calls) call.done(failure);
}

}  // namespace sheaf::transport
