#include "storage/service/server_connection.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/log.h"
#include "common/transport/hello.h"

namespace sheaf::storage {
namespace {

using transport::FrameHeader;
using transport::FrameParser;
using transport::FrameType;

constexpr size_t kMaxParts = 256;           // iovecs a send; the kernel takes 1024
constexpr size_t kMaxSendBytes = 4 << 20;   // gathered into one send
constexpr size_t kWholeReceive = 64 << 10;  // payload rests from here on are received in one go

std::string EncodeFrame(const FrameHeader& header, const std::string& message) {
  const auto bytes = transport::EncodeHeader(header);
  std::string frame;
  frame.reserve(bytes.size() + message.size());
  frame.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  frame.append(message);
  return frame;
}

}  // namespace

// ---- one request ----

// Linked into its connection until it is answered, so that a Cancel frame finds it.
class ServerConnection::Request : public FramedCall {
 public:
  Request(std::shared_ptr<ServerConnection> connection, const FrameHeader& header)
      : connection_(std::move(connection)),
        header_(header),
        began_(connection_->host_.now()),
        deadline_(header.deadline_ms == 0
                      ? Clock::Instant::max()
                      : began_ + std::chrono::milliseconds(header.deadline_ms)) {
    next_ = connection_->first_request_;
    if (next_ != nullptr) next_->previous_ = this;
    connection_->first_request_ = this;
  }

  ~Request() override {
    if (!answered_) Finish({{Code::kIo, "answer request: dropped by its handler"}, {}, {}, {}});
    connection_->host_.EndRequest();
  }

  void Finish(Answer answer) override {
    CHECK(!answered_, "request answered twice");
    answered_ = true;
    Unlink();
    connection_->FinishRequest(*this, std::move(answer));
  }

  Status StillWanted() const override {
    if (cancelled_ || connection_->closed_)
      return {Code::kCancelled, "request: its caller no longer waits"};
    if (connection_->host_.now() >= deadline_)
      return {Code::kDeadline, "request: its deadline passed before it began"};
    return Status::Ok();
  }

  const FrameHeader& header() const { return header_; }
  Clock::Instant began() const { return began_; }
  Request* next() const { return next_; }
  void Cancel() { cancelled_ = true; }

 private:
  void Unlink() {
    (previous_ ? previous_->next_ : connection_->first_request_) = next_;
    if (next_ != nullptr) next_->previous_ = previous_;
    next_ = previous_ = nullptr;
  }

  const std::shared_ptr<ServerConnection> connection_;
  const FrameHeader header_;
  const Clock::Instant began_;
  const Clock::Instant deadline_;
  bool cancelled_ = false;
  bool answered_ = false;
  Request* next_ = nullptr;
  Request* previous_ = nullptr;
};

// ---- ring operations ----

class ServerConnection::ReceiveOp : public Op {
 public:
  explicit ReceiveOp(ServerConnection& connection) : connection_(connection) {}

  // Of a payload at most `limit` bytes.
  void Start(std::span<const iovec> parts, size_t limit) {
    const iovec& first = parts.front();
    if (parts.size() == 1 || first.iov_len >= kWholeReceive) {
      // The rest of a large payload in one completion instead of one a segment.
      connection_.host_.ring().Receive(*this, connection_.shared_from_this(), connection_.fd_.get(),
                                       {static_cast<uint8_t*>(first.iov_base),
                                        std::min(first.iov_len, limit)},
                                       /*all=*/parts.size() > 1);
      return;
    }
    message_.msg_iov = const_cast<iovec*>(parts.data());
    message_.msg_iovlen = parts.size();
    connection_.host_.ring().ReceiveMessage(*this, connection_.shared_from_this(),
                                            connection_.fd_.get(), message_);
  }

 private:
  void Complete(int32_t result, bool) override { connection_.OnReceived(result); }
  ServerConnection& connection_;
  msghdr message_{};
};

class ServerConnection::SendOp : public Op {
 public:
  explicit SendOp(ServerConnection& connection) : connection_(connection) {
    parts_.reserve(kMaxParts);
  }

  void Start(const std::deque<OutFrame>& frames, size_t skip) {
    parts_.clear();
    size_t bytes = 0;
    for (const OutFrame& frame : frames) {
      if (parts_.size() + 2 > kMaxParts || bytes >= kMaxSendBytes) break;
      bytes += Add(frame.head.data(), frame.head.size(), skip);
      bytes += Add(frame.payload.data(), frame.payload.size(), skip);
    }
    message_.msg_iov = parts_.data();
    message_.msg_iovlen = parts_.size();
    connection_.host_.ring().Send(*this, connection_.shared_from_this(), connection_.fd_.get(),
                                  message_);
  }

 private:
  size_t Add(const void* data, size_t size, size_t& skip) {
    const size_t skipped = std::min(skip, size);
    skip -= skipped;
    if (skipped == size) return 0;
    parts_.push_back({const_cast<char*>(static_cast<const char*>(data)) + skipped, size - skipped});
    return size - skipped;
  }

  void Complete(int32_t result, bool) override { connection_.OnSent(result); }
  ServerConnection& connection_;
  msghdr message_{};
  std::vector<iovec> parts_;
};

// ---- life ----

ServerConnection::ServerConnection(UniqueFd fd, ConnectionHost& host)
    : fd_(std::move(fd)),
      host_(host),
      parser_(transport::kHelloLimits),
      receive_op_(std::make_unique<ReceiveOp>(*this)),
      state_(host.handler().NewConnection()),
      send_op_(std::make_unique<SendOp>(*this)),
      started_(host.now()),
      last_frame_(host.now()) {}

ServerConnection::~ServerConnection() = default;

void ServerConnection::Start() { StartReceive(); }

void ServerConnection::Close(const std::string& why) {
  if (closed_) return;
  closed_ = true;
  LogDebug("connection {}: closed: {}", fd_.get(), why);
  ::shutdown(fd_.get(), SHUT_RDWR);
  if (receive_op_->in_flight() || send_op_->in_flight()) host_.ring().CancelAll(fd_.get());
  if (!send_op_->in_flight()) out_.clear();  // else its memory is still the kernel's
  forward_.reset();  // what it has begun will not come
  state_.reset();
  host_.Forget(*this);
}

void ServerConnection::CheckTimeLimits() {
  const Clock::Instant now = host_.now();
  const ServiceLimits& limits = host_.limits();
  if (!greeted_ && now - started_ > limits.hello_wait) return Close("no hello in time");
  if (frame_began_.count() != 0 && !waits_for_room_ && receive_op_->in_flight() &&
      now - frame_began_ > limits.frame_wait)
    return Close("stalled within a frame");
  if (send_op_->in_flight() && now - send_began_ > limits.send_wait)
    return Close("does not read its answers");
  if (requests_ == 0 && now - last_frame_ > limits.idle_wait) return Close("idle");
  if (state_) state_->CheckTimeLimits(now);
}

void ServerConnection::GiveWay() {
  if (state_) state_->GiveWay();
}

// ---- receiving ----

void ServerConnection::StartReceive() {
  if (closed_ || receive_op_->in_flight()) return;
  const size_t left = parser_.PayloadLeft();
  const size_t landed = pending_payload_.size() - left;
  const size_t limit = forward_ != nullptr && left > 0 ? forward_->WantsAt() - landed : SIZE_MAX;
  receive_op_->Start(parser_.Space(), limit);
}

void ServerConnection::OnReceived(int32_t result) {
  if (closed_) return;
  if (result == -EINTR || result == -EAGAIN) return StartReceive();
  if (result == 0) return Close("peer closed");
  if (result < 0) return Close(std::string("receive: ") + std::strerror(-result));
  parser_.Received(static_cast<size_t>(result));
  TellForward();
  Parse();
}

bool ServerConnection::CreditsUsedUp() const {
  const transport::ServerTerms& terms = host_.limits().terms;
  return requests_ >= terms.request_credits || bytes_ >= terms.byte_credits;
}

void ServerConnection::Parse() {
  if (parsing_ || receive_op_->in_flight()) return;  // the one on the stack goes on
  parsing_ = true;
  while (!closed_ && !waits_for_room_ && !CreditsUsedUp()) {
    switch (parser_.Next()) {
      case FrameParser::Event::kNeedBytes:
        if (parser_.AtFrameBoundary())
          frame_began_ = {};
        else if (frame_began_.count() == 0)
          frame_began_ = host_.now();
        StartReceive();
        parsing_ = false;
        return;
      case FrameParser::Event::kError:
        Close(parser_.status().message());
        break;
      case FrameParser::Event::kMessage:
        OnMessage();
        break;
      case FrameParser::Event::kPayload:
        OnPayload();
        break;
    }
  }
  parsing_ = false;
}

void ServerConnection::OnMessage() {
  last_frame_ = host_.now();
  if (parser_.header().payload_length == 0) frame_began_ = {};
  if (!greeted_) return OnHello();
  switch (parser_.header().type) {
    case FrameType::kRequest:
      return OnRequest();
    case FrameType::kCancel:
      return Cancel(parser_.header().request_id);
    default:
      return Close("a frame that only servers send");
  }
}

void ServerConnection::OnHello() {
  auto agreed = transport::AcceptClientHello(parser_.header(), parser_.message());
  if (!agreed.ok()) {
    LogWarn("connection refused: {}", agreed.status().message());
    return Close(agreed.status().message());
  }
  greeted_ = true;
  const ServiceLimits& limits = host_.limits();
  parser_.set_limits({transport::kMaxMessage, limits.terms.max_payload});
  OutFrame hello;
  hello.head = transport::EncodeHello(transport::MakeServerHello(limits.terms));
  Queue(std::move(hello));
}

void ServerConnection::OnRequest() {
  const FrameHeader& header = parser_.header();
  if (header.payload_length == 0) return Begin(header, parser_.message(), {});
  pending_header_ = header;
  const std::span<const uint8_t> message = parser_.message();
  pending_message_.assign(reinterpret_cast<const char*>(message.data()), message.size());
  ChooseDestination();
}

PayloadAhead ServerConnection::Ahead() const {
  return {.method = pending_header_.method,
          .message = {reinterpret_cast<const uint8_t*>(pending_message_.data()),
                      pending_message_.size()},
          .length = pending_header_.payload_length,
          .hop = pending_header_.hop(),
          .now = host_.now(),
          .state = state_.get()};
}

void ServerConnection::ChooseDestination() {
  if (auto place = host_.handler().PlaceOf(host_.context(), Ahead())) {
    if (!place->ok()) return Refuse(place->status());
    pending_buffer_ = std::move((*place)->buffer);
    pending_payload_ = (*place)->into;
    return parser_.ReceivePayload(pending_payload_);
  }
  if (HasRoom() && TakeBuffer()) return;
  waits_for_room_ = true;
  host_.context().WhenRoom(
      pending_header_.payload_length,
      [self = shared_from_this()](const Status& status) { self->OnRoom(status); },
      pending_header_.hop());
}

// What came by a chain waits for nothing that can be done without.
bool ServerConnection::HasRoom() {
  const uint32_t hop = pending_header_.hop();
  if (host_.context().HasRoom(pending_header_.payload_length, hop)) return true;
  if (hop == 0) return false;
  host_.GiveWay();
  return host_.context().HasRoom(pending_header_.payload_length, hop);
}

bool ServerConnection::TakeBuffer() {
  pending_buffer_ = host_.context().io().Allocate(pending_header_.payload_length);
  if (!pending_buffer_) return false;
  pending_payload_ = pending_buffer_->span().first(pending_header_.payload_length);
  forward_ = host_.handler().Watch(Ahead(), pending_buffer_);
  parser_.ReceivePayload(pending_payload_);
  return true;
}

void ServerConnection::OnRoom(const Status& status) {
  waits_for_room_ = false;
  if (closed_) return;
  // If it is ok the queue let it go: nobody before it waits.
  if (!status.ok()) {
    Refuse(status);
  } else if (!TakeBuffer()) {
    Refuse({Code::kBusy, "buffers: all in use"});
  }
  frame_began_ = host_.now();  // the wait was ours, not the peer's
  Parse();
}

// The payload is read and dropped, so that the connection goes on.
void ServerConnection::Refuse(const Status& status) {
  parser_.DiscardPayload();
  ++requests_;
  QueueError(pending_header_.request_id, status, /*holds_credit=*/true, 0);
}

void ServerConnection::TellForward() {
  if (forward_ != nullptr) forward_->Landed(pending_payload_.size() - parser_.PayloadLeft());
}

void ServerConnection::OnPayload() {
  frame_began_ = {};
  last_frame_ = host_.now();
  TellForward();
  const std::string message = std::exchange(pending_message_, {});
  FramedRequest request;
  request.buffer = std::exchange(pending_buffer_, nullptr);
  request.payload = std::exchange(pending_payload_, {});
  request.forward = std::exchange(forward_, nullptr);
  Begin(pending_header_, {reinterpret_cast<const uint8_t*>(message.data()), message.size()},
        std::move(request));
}

void ServerConnection::Begin(const FrameHeader& header, std::span<const uint8_t> message,
                             FramedRequest request) {
  ++requests_;
  bytes_ += header.payload_length;
  const bool of_peer = header.method >= transport::Method::kReplicate &&
                       header.method <= transport::Method::kStage;
  if (!host_.BeginRequest(of_peer))
    return QueueError(header.request_id, {Code::kBusy, "request: too many under way"},
                      /*holds_credit=*/true, header.payload_length);
  request.method = header.method;
  request.message = message;
  request.state = state_.get();
  host_.handler().Handle(host_.context(), std::move(request),
                         std::make_shared<Request>(shared_from_this(), header));
}

void ServerConnection::Cancel(uint64_t request_id) {
  for (Request* request = first_request_; request != nullptr; request = request->next())
    if (request->header().request_id == request_id) request->Cancel();
}

// ---- sending ----

void ServerConnection::FinishRequest(Request& request, Answer answer) {
  const FrameHeader& asked = request.header();
  if (ServiceMetrics* metrics = host_.metrics())
    metrics->Count(asked.method, answer.status.ok(), host_.now() - request.began(),
                   asked.payload_length, answer.payload.size());
  if (closed_) return;
  if (!answer.status.ok())
    return QueueError(asked.request_id, answer.status, /*holds_credit=*/true, asked.payload_length);
  FrameHeader header;
  header.type = FrameType::kResponse;
  header.request_id = asked.request_id;
  header.message_length = static_cast<uint32_t>(answer.message.size());
  header.payload_length = static_cast<uint32_t>(answer.payload.size());
  bytes_ += answer.payload.size();
  Queue({EncodeFrame(header, answer.message), std::move(answer.buffer), answer.payload,
         /*holds_credit=*/true, asked.payload_length + answer.payload.size()});
}

void ServerConnection::QueueError(uint64_t request_id, const Status& status, bool holds_credit,
                                  size_t charged) {
  OutFrame frame;
  frame.head = transport::EncodeError(request_id, status);
  frame.holds_credit = holds_credit;
  frame.charged_bytes = charged;
  Queue(std::move(frame));
}

void ServerConnection::Queue(OutFrame frame) {
  out_.push_back(std::move(frame));
  if (std::exchange(flush_asked_, true)) return;
  host_.FlushLater(shared_from_this());
}

void ServerConnection::Flush() {
  flush_asked_ = false;
  if (!closed_ && !send_op_->in_flight()) StartSend();
}

void ServerConnection::StartSend() {
  if (out_.empty()) return;
  send_began_ = host_.now();
  send_op_->Start(out_, sent_of_front_);
}

void ServerConnection::OnSent(int32_t result) {
  if (closed_) return out_.clear();
  if (result < 0 && result != -EINTR && result != -EAGAIN)
    return Close(std::string("send: ") + std::strerror(-result));
  if (result > 0) PopSent(static_cast<size_t>(result));
  last_frame_ = host_.now();
  StartSend();
  Parse();  // credits may be back
}

void ServerConnection::PopSent(size_t bytes) {
  sent_of_front_ += bytes;
  while (!out_.empty() && sent_of_front_ >= out_.front().size()) {
    OutFrame& front = out_.front();
    sent_of_front_ -= front.size();
    if (front.holds_credit) --requests_;
    bytes_ -= front.charged_bytes;
    out_.pop_front();
  }
}

}  // namespace sheaf::storage
