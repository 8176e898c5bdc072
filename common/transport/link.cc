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

thread_local const Link* receiving_here = nullptr;

uint32_t MillisecondsLeft(Clock::Instant deadline) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::System().Now()).count();
  return static_cast<uint32_t>(std::clamp<int64_t>(left, 1, UINT32_MAX));
}

}  // namespace

Link::Link(UniqueFd socket, UniqueFd wake, const Address& peer, const ServerTerms& terms,
           FrameLimits limits, FrameParser parser)
    : socket_(std::move(socket)),
      wake_(std::move(wake)),
      peer_(peer.ToString()),
      limits_(limits),
      max_payload_(std::min(terms.max_payload, limits.max_payload)),
      server_max_payload_(terms.max_payload),
      parser_(std::move(parser)),
      calls_(terms) {}

bool Link::IsReceivingThread() const { return receiving_here == this; }

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

void Link::Start(Call call, Done done) {
  const Clock::Instant deadline = call.deadline;
  Status refused = Check(call);
  bool send = false;
  bool wake = false;
  if (refused.ok()) {
    std::lock_guard lock(mutex_);
    if (!failure_.ok()) {
      refused = failure_;
    } else if (calls_.IsFull() || queue_.owned_bytes() > kMaxUnsentBytes) {
      refused = Status(Code::kBusy, "call " + peer_ + ": too many calls under way (" +
                                        std::to_string(calls_.size()) + ")");
    } else {
      calls_.Insert(std::move(call), std::move(done));
      AdmitWaiting();
      send = !IsReceivingThread() && ClaimSending();
      wake = deadline < wakes_at_;
    }
  }
  if (!refused.ok()) return done(std::move(refused));
  if (send) SendQueued();
  if (wake) Wake();
}

void Link::Cancel(uint64_t tag) {
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    wake = calls_.Cancel(tag) && wakes_at_ != Clock::Instant::min();
  }
  if (wake) Wake();
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
    // A broken socket is noticed by the receiving thread, too, once it is shut down.
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
  {
    std::lock_guard lock(mutex_);
    sending_ = false;
    blocked_ = blocked;
  }
  if (blocked && !IsReceivingThread()) Wake();
}

void Link::Stop() {
  stop_.store(true, std::memory_order_release);
  Wake();
}

void Link::Wake() {
  const int error = eventfd_write(wake_.get(), 1);
  CHECK(error == 0, "write to an eventfd");
}

void Link::Receive() {
  receiving_here = this;
  // The hello may have brought answers' bytes along; there are none to expect, and Next() says so.
  bool alive = Dispatch();
  while (alive) {
    if (stop_.load(std::memory_order_acquire)) {
      Fail("closed by this side");
      break;
    }
    const Progress progress = ReceiveOnce();
    if (progress == Progress::kBroken || (progress == Progress::kSome && !Dispatch())) break;
    ExpireCalls(Clock::System().Now());
    SendDeferred();
    if (progress == Progress::kNone) Poll();
  }
  receiving_here = nullptr;
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

// What was queued on this thread, or left to it. A socket that was full is tried again each time: a
// stream of answers must not keep requests waiting.
void Link::SendDeferred() {
  {
    std::lock_guard lock(mutex_);
    if (sending_ || (!blocked_ && queue_.empty())) return;
    blocked_ = false;
    sending_ = true;
  }
  SendQueued();
}

void Link::Poll() {
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
  std::array<pollfd, 2> polled{{
      {socket_.get(), static_cast<short>(blocked ? POLLIN | POLLOUT : POLLIN), 0},
      {wake_.get(), POLLIN, 0},
  }};
  poll(polled.data(), polled.size(), static_cast<int>(std::max<int64_t>(wait, 0)));
  if (polled[1].revents & POLLIN) {
    eventfd_t count = 0;
    (void)eventfd_read(wake_.get(), &count);
  }
  std::lock_guard lock(mutex_);
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
