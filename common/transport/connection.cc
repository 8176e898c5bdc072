#include "common/transport/connection.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

#include "common/transport/dead_peer.h"
#include "common/transport/frame_parser.h"
#include "common/transport/hello.h"
#include "common/transport/link.h"

namespace sheaf::transport {

using std::chrono::milliseconds;

class FramedConnection final : public Connection {
 public:
  explicit FramedConnection(std::shared_ptr<Link> link) : link_(std::move(link)) {
    receiver_ = std::thread([shared = link_] {
      pthread_setname_np(pthread_self(), "sheaf-receive");
      shared->Receive();
    });
  }

  // May be the last act of a `done`, on the receiving thread itself or a caller that receives.
  ~FramedConnection() override {
    link_->Stop();
    if (link_->IsReceiver()) {
      receiver_.detach();
    } else {
      receiver_.join();
    }
  }

  void Start(Call call, Done done) override;
  void Cancel(uint64_t tag) override { link_->Cancel(tag); }
  Result<Reply> Run(Call call) override;
  bool IsBroken() const override { return link_->IsBroken(); }
  uint32_t max_payload() const override { return link_->max_payload(); }
  size_t under_way() const override { return link_->under_way(); }

 private:
  const std::shared_ptr<Link> link_;
  std::thread receiver_;
};

namespace {

// One waiting thread. Shared with `done`, which still notifies when the waiter may be gone.
struct Latch {
  std::atomic<uint32_t> set = 0;
  std::optional<Result<Reply>> result;
};

// The innermost that is to be used up.
thread_local ReceivesHere* receives_here = nullptr;

}  // namespace

void FramedConnection::Start(Call call, Done done) {
  ReceivesHere* const scope = std::exchange(receives_here, nullptr);
  if (scope == nullptr || link_->IsReceiver()) {
    link_->Start(std::move(call), std::move(done));
    return;
  }
  scope->call_ = link_->StartHere(std::move(call), std::move(done));
  if (scope->call_ != 0) scope->link_ = link_;
}

Result<Reply> FramedConnection::Run(Call call) {
  CHECK(!link_->IsReceiver(), "a blocking call on the thread that receives its answer");
  auto latch = std::make_shared<Latch>();
  const std::shared_ptr<Link> link = link_;  // a `done` run here may drop the connection
  const uint64_t id = link->StartHere(std::move(call), [latch](Result<Reply> result) {
    latch->result.emplace(std::move(result));
    latch->set.store(1, std::memory_order_release);
    latch->set.notify_one();
  });
  if (id != 0) link->ReceiveHere(id);
  // Bounded by the call's deadline, which the receiver keeps.
  latch->set.wait(0, std::memory_order_acquire);
  return std::move(*latch->result);
}

namespace {

// Receives what is there, waiting until `deadline` for the first of it.
Status ReceiveSome(int fd, FrameParser* parser, Clock::Instant deadline) {
  const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::System().Now()).count();
  pollfd poller{fd, POLLIN, 0};
  const int ready = poll(&poller, 1, left > 0 ? static_cast<int>(left) : 0);
  if (ready < 0 && errno == EINTR) return Status::Ok();
  if (ready == 0) return Status(Code::kUnavailable, "no hello within the connect timeout");
  const iovec space = parser->Space().front();
  const ssize_t got = recv(fd, space.iov_base, space.iov_len, MSG_DONTWAIT);
  parser->Received(got > 0 ? static_cast<size_t>(got) : 0);
  if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR))) return Status::Ok();
  return Status(Code::kUnavailable, got == 0 ? "closed before its hello" : std::strerror(errno));
}

Result<Agreement> ExchangeHellos(int fd, FrameParser* parser, Clock::Instant deadline) {
  // A fresh socket has room for it.
  const std::string hello = EncodeHello(MakeClientHello());
  const ssize_t sent = send(fd, hello.data(), hello.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent != static_cast<ssize_t>(hello.size())) {
    return Status(Code::kUnavailable, "cannot send a hello");
  }
  for (;;) {
    switch (parser->Next()) {
      case FrameParser::Event::kMessage:
        return AcceptServerHello(parser->header(), parser->message());
      case FrameParser::Event::kError:
        return parser->status();
      default:
        RETURN_IF_ERROR(ReceiveSome(fd, parser, deadline));
    }
  }
}

Status CheckProcess(int fd, int64_t wanted) {
  if (wanted == 0) return Status::Ok();
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
    return Status::FromErrno(errno, "ask who listens");
  if (credentials.pid == wanted) return Status::Ok();
  return {Code::kUnavailable, "process " + std::to_string(credentials.pid) +
                                  " listens there, and not " + std::to_string(wanted)};
}

}  // namespace

ReceivesHere::ReceivesHere() : outer_(std::exchange(receives_here, this)) {}

ReceivesHere::~ReceivesHere() { Wait(); }

void ReceivesHere::Forgo() { receives_here = nullptr; }

void ReceivesHere::Wait() {
  if (!over_) receives_here = outer_;
  over_ = true;
  if (const auto link = std::exchange(link_, nullptr)) link->ReceiveHere(call_);
}

Result<std::shared_ptr<Connection>> Connection::Open(const Address& address,
                                                     const Options& options) {
  const Clock::Instant deadline = Clock::System().Now() + milliseconds(options.connect_timeout_ms);
  ASSIGN_OR_RETURN(UniqueFd fd, Connect(address, options.connect_timeout_ms));
  if (address.IsUnix()) {
    RETURN_IF_ERROR(CheckProcess(fd.get(), options.unix_pid).With("connect to " + address.ToString()));
  } else {
    DetectDeadPeer(fd.get(), options.dead_after_ms);
  }
  FrameParser parser(kHelloLimits);
  const auto agreement = ExchangeHellos(fd.get(), &parser, deadline);
  if (!agreement.ok()) return agreement.status().With("connect to " + address.ToString());
  parser.set_limits(options.limits);

  Link::Doorbells doorbells{UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
                            UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))};
  if (!doorbells.receiver.IsOpen() || !doorbells.thread.IsOpen()) {
    return Status::FromErrno(errno, "connect to " + address.ToString());
  }
  auto link = std::make_shared<Link>(std::move(fd), std::move(doorbells), address, agreement->terms,
                                     options.limits, std::move(parser));
  return std::shared_ptr<Connection>(std::make_shared<FramedConnection>(std::move(link)));
}

}  // namespace sheaf::transport
