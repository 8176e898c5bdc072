#include "common/transport/server.h"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

#include "common/log.h"
#include "common/transport/dead_peer.h"
#include "common/transport/frame_parser.h"
#include "common/transport/send_queue.h"

namespace sheaf::transport {
namespace {

constexpr size_t kMaxParts = 64;
constexpr int kMaxEvents = 1;  // the others take the next
constexpr std::chrono::milliseconds kSweep{1000};
constexpr std::chrono::milliseconds kLastSend{1000};  // of all connections when the server stops
constexpr uint64_t kStopId = 0;                       // in the epoll set: the eventfd that ends it
constexpr uint64_t kFirstConnectionId = 1 << 16;      // below: listeners

void PrepareTcp(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  DetectDeadPeer(fd);
}

}  // namespace

// One connection. Its reading side belongs to the thread that set `reading`.
class ServerConnection : public std::enable_shared_from_this<ServerConnection> {
 public:
  ServerConnection(Server::Impl& server, UniqueFd fd, uint64_t id);

  void OnEvents(uint32_t events);
  void CheckTimeLimits(Clock::Instant now);
  // Stops reading; what is begun may still be answered.
  void StopReading();
  // Waits for what is unsent to go, no longer than `until`, then closes.
  void SendLast(Clock::Instant until);
  void Answer(const FrameHeader& header, std::string_view message);
  void AnswerError(uint64_t request_id, const Status& status);
  // Gives up the reading side. REQUIRES: within the handler
  bool StepAside();

  uint64_t id() const { return id_; }
  int fd() const { return fd_.get(); }
  static uint32_t FirstInterest() { return EPOLLIN | EPOLLONESHOT; }

 private:
  using Lock = std::unique_lock<std::mutex>;

  void Read();
  bool ReadMore();   // false: nothing to parse for now, or closed
  bool ParseAll();   // false: closed, held back, stopping or stepped aside
  bool OnMessage();  // false: closed or stepped aside
  void Begin(const FrameHeader& header);
  bool IsHeldBack() const;  // REQUIRES: mutex_ held
  void EndOne();            // REQUIRES: mutex_ held
  void Flush();             // REQUIRES: mutex_ held
  ssize_t SendOnce();       // REQUIRES: mutex_ held
  void Rearm();             // REQUIRES: mutex_ held
  void Close(const std::string& why);
  void CloseLocked(const std::string& why);

  Server::Impl& server_;
  const UniqueFd fd_;
  const uint64_t id_;

  // The reader's.
  FrameParser parser_{kHelloLimits};

  std::mutex mutex_;
  SendQueue out_;
  bool greeted_ = false;
  bool reading_ = false;
  bool held_back_ = false;  // the reader left off with frames unparsed
  bool blocked_ = false;    // the socket was full
  bool stopping_ = false;
  bool closed_ = false;
  uint32_t under_way_ = 0;
  const Clock::Instant opened_ = Clock::System().Now();
  Clock::Instant blocked_since_{};
  Clock::Instant frame_began_{};  // 0: between frames
};

struct Server::Impl {
  ~Impl();
  Status Listen();
  void Run(bool sweeps);
  void Accept(size_t listener);
  void Add(UniqueFd fd, bool tcp);
  void Sweep(Clock::Instant now);
  void ArmListener(size_t listener, int operation) const;
  std::shared_ptr<ServerConnection> Find(uint64_t id);
  std::vector<std::shared_ptr<ServerConnection>> All();
  void Forget(uint64_t id);
  void Stop();
  void BeginRequest();
  void EndRequest();

  Options options;
  Handler handler;
  UniqueFd epoll;
  UniqueFd stop;  // eventfd, readable for ever once the threads are to end
  std::vector<UniqueFd> listeners;
  std::vector<Address> addresses;
  std::vector<std::thread> threads;
  std::atomic<bool> stopping = false;
  std::atomic<uint64_t> refused = 0;

  mutable std::mutex mutex;  // after a connection's
  std::condition_variable idle;
  size_t under_way = 0;  // requests
  uint64_t next_id = kFirstConnectionId;
  std::unordered_map<uint64_t, std::shared_ptr<ServerConnection>> connections;
};

namespace {

// The connection whose frames this thread is handing over: answers to them leave together.
thread_local const ServerConnection* reading_here = nullptr;

class Call final : public ServerCall {
 public:
  Call(std::shared_ptr<ServerConnection> connection, const FrameHeader& header)
      : connection_(std::move(connection)),
        header_(header),
        deadline_(header.deadline_ms == 0
                      ? Clock::Instant::max()
                      : Clock::System().Now() + std::chrono::milliseconds(header.deadline_ms)) {}
  ~Call() override {
    if (!answered_) Refuse({Code::kIo, "answer request: dropped by its handler"});
  }

  Method method() const override { return header_.method; }
  Clock::Instant deadline() const override { return deadline_; }

  void Respond(std::string message) override {
    if (message.size() > kMaxMessage) {
      return Refuse({Code::kTooBig, "answer request: " + std::to_string(message.size()) +
                                        " bytes, at most " + std::to_string(kMaxMessage) +
                                        "; ask for less at a time"});
    }
    MarkAnswered();
    connection_->Answer({.type = FrameType::kResponse,
                         .request_id = header_.request_id,
                         .message_length = static_cast<uint32_t>(message.size())},
                        message);
  }
  void Refuse(const Status& status) override {
    MarkAnswered();
    connection_->AnswerError(header_.request_id, status);
  }
  bool StepAside() override { return connection_->StepAside(); }

 private:
  void MarkAnswered() {
    CHECK(!answered_, "request answered twice");
    answered_ = true;
  }

  const std::shared_ptr<ServerConnection> connection_;
  const FrameHeader header_;
  const Clock::Instant deadline_;
  bool answered_ = false;
};

}  // namespace

// ---- one connection ----

ServerConnection::ServerConnection(Server::Impl& server, UniqueFd fd, uint64_t id)
    : server_(server), fd_(std::move(fd)), id_(id) {}

void ServerConnection::OnEvents(uint32_t events) {
  bool read = (events & ~static_cast<uint32_t>(EPOLLOUT)) != 0;
  {
    Lock lock(mutex_);
    if (closed_) return;
    if ((events & EPOLLOUT) != 0) Flush();
    if (held_back_ && !IsHeldBack()) read = true;
    if (closed_ || reading_ || !read) return Rearm();
    reading_ = true;
    held_back_ = false;
  }
  Read();
}

void ServerConnection::Read() {
  reading_here = this;
  while (ParseAll() && ReadMore()) {
  }
  if (std::exchange(reading_here, nullptr) == nullptr) return;  // stepped aside
  Lock lock(mutex_);
  Flush();
  reading_ = false;
  Rearm();
}

bool ServerConnection::StepAside() {
  if (reading_here != this || !parser_.AtFrameBoundary()) return false;
  Lock lock(mutex_);
  Flush();
  reading_here = nullptr;
  reading_ = false;
  Rearm();
  return true;
}

bool ServerConnection::ParseAll() {
  for (;;) {
    {
      Lock lock(mutex_);
      if (closed_ || stopping_) return false;
      if (IsHeldBack()) {
        held_back_ = true;
        return false;
      }
    }
    switch (parser_.Next()) {
      case FrameParser::Event::kNeedBytes: {
        Lock lock(mutex_);
        if (parser_.AtFrameBoundary()) {
          frame_began_ = {};
        } else if (frame_began_.count() == 0) {
          frame_began_ = Clock::System().Now();
        }
        Flush();
        return !closed_;
      }
      case FrameParser::Event::kMessage:
        if (!OnMessage()) return false;
        break;
      case FrameParser::Event::kPayload:  // its limit is 0
      case FrameParser::Event::kError:
        Close(parser_.status().message());
        return false;
    }
  }
}

bool ServerConnection::ReadMore() {
  const auto space = parser_.Space();
  ssize_t got = 0;
  do {
    got = recv(fd_.get(), space.front().iov_base, space.front().iov_len, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  parser_.Received(got > 0 ? static_cast<size_t>(got) : 0);
  if (got > 0) return true;
  if (got < 0 && errno == EAGAIN) return false;
  Close(got == 0 ? "closed by the peer" : std::strerror(errno));
  return false;
}

bool ServerConnection::OnMessage() {
  const FrameHeader& header = parser_.header();
  {
    Lock lock(mutex_);
    frame_began_ = {};  // whatever has come of the next one began after it
  }
  if (greeted_) {
    if (header.type == FrameType::kRequest) {
      Begin(header);
      return reading_here == this;
    }
    if (header.type == FrameType::kCancel) return true;  // what is begun is soon answered
    Close("a frame that only servers send");
    return false;
  }
  const Result<Agreement> agreed = AcceptClientHello(header, parser_.message());
  if (!agreed.ok()) {
    LogWarn("connection refused: {}", agreed.status().message());
    Close(agreed.status().message());
    return false;
  }
  parser_.set_limits({.max_message = kMaxMessage, .max_payload = 0});
  const ServerTerms terms{.request_credits = server_.options.request_credits, .max_payload = 0};
  const proto::Hello hello = MakeServerHello(terms);
  const std::string message = hello.SerializeAsString();
  Lock lock(mutex_);
  greeted_ = true;
  out_.Append({.type = FrameType::kHello, .message_length = static_cast<uint32_t>(message.size())},
              message, {});
  return true;
}

void ServerConnection::Begin(const FrameHeader& header) {
  {
    Lock lock(mutex_);
    ++under_way_;
  }
  server_.BeginRequest();
  server_.handler(std::make_shared<Call>(shared_from_this(), header), parser_.message());
}

bool ServerConnection::IsHeldBack() const {
  return under_way_ >= server_.options.request_credits || out_.owned_bytes() > Server::kMaxUnsent;
}

void ServerConnection::Answer(const FrameHeader& header, std::string_view message) {
  {
    Lock lock(mutex_);
    if (!closed_) out_.Append(header, message, {});
    EndOne();
  }
  server_.EndRequest();
}

void ServerConnection::AnswerError(uint64_t request_id, const Status& status) {
  proto::ErrorAnswer error;
  error.set_code(static_cast<uint32_t>(status.code()));
  error.set_message(status.message());
  const std::string message = error.SerializeAsString();
  Answer({.type = FrameType::kError,
          .request_id = request_id,
          .message_length = static_cast<uint32_t>(message.size())},
         message);
}

void ServerConnection::EndOne() {
  --under_way_;
  if (closed_ || reading_here == this) return;  // the reader sends what it has brought about
  Flush();
  if (held_back_ && !IsHeldBack()) Rearm();
}

void ServerConnection::Flush() {
  while (!closed_ && !out_.empty()) {
    const ssize_t sent = SendOnce();
    if (sent >= 0) {
      std::vector<uint64_t> released;  // nothing is borrowed
      out_.Advance(static_cast<size_t>(sent), &released);
      continue;
    }
    if (errno != EAGAIN) return CloseLocked(std::strerror(errno));
    if (!blocked_) blocked_since_ = Clock::System().Now();
    blocked_ = true;
    return Rearm();
  }
  blocked_ = false;
}

ssize_t ServerConnection::SendOnce() {
  std::array<iovec, kMaxParts> parts;
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = out_.Gather(parts);
  for (;;) {
    const ssize_t sent = sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0 || errno != EINTR) return sent;
  }
}

// With nothing to wait for it stays disarmed: an armed one would report a broken peer for ever. A
// reader that was held back goes on by an event, too: its socket is writable.
void ServerConnection::Rearm() {
  if (closed_) return;
  epoll_event event{};
  if (!reading_ && !held_back_ && !stopping_) event.events |= EPOLLIN;
  if (blocked_ || (held_back_ && !reading_ && !IsHeldBack())) event.events |= EPOLLOUT;
  if (event.events == 0) return;
  event.events |= EPOLLONESHOT;
  event.data.u64 = id_;
  epoll_ctl(server_.epoll.get(), EPOLL_CTL_MOD, fd_.get(), &event);
}

void ServerConnection::CheckTimeLimits(Clock::Instant now) {
  Lock lock(mutex_);
  const Server::Options& options = server_.options;
  if (!greeted_ && now - opened_ > options.hello_wait) return CloseLocked("no hello in time");
  if (frame_began_.count() != 0 && !held_back_ && now - frame_began_ > options.stall_wait) {
    return CloseLocked("stalled within a frame");
  }
  if (blocked_ && now - blocked_since_ > options.stall_wait)
    CloseLocked("does not read its answers");
}

void ServerConnection::StopReading() {
  Lock lock(mutex_);
  stopping_ = true;
}

void ServerConnection::SendLast(Clock::Instant until) {
  Lock lock(mutex_);
  Flush();
  while (!closed_ && blocked_ && Clock::System().Now() < until) {
    pollfd writable{fd_.get(), POLLOUT, 0};
    poll(&writable, 1, 100);
    Flush();
  }
  CloseLocked("the server stops");
}

void ServerConnection::Close(const std::string& why) {
  Lock lock(mutex_);
  CloseLocked(why);
}

void ServerConnection::CloseLocked(const std::string& why) {
  if (closed_) return;
  closed_ = true;
  LogDebug("framed connection {}: closed: {}", id_, why);
  epoll_ctl(server_.epoll.get(), EPOLL_CTL_DEL, fd_.get(), nullptr);
  shutdown(fd_.get(), SHUT_RDWR);
  out_ = {};
  server_.Forget(id_);
}

// ---- the server ----

Status Server::Impl::Listen() {
  epoll = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
  stop = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll.IsOpen() || !stop.IsOpen()) return Status::FromErrno(errno, "make an epoll set");
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kStopId}};
  epoll_ctl(epoll.get(), EPOLL_CTL_ADD, stop.get(), &event);
  for (const Address& address : options.listen) {
    ASSIGN_OR_RETURN(UniqueFd listener, sheaf::Listen(address, SOMAXCONN));
    ASSIGN_OR_RETURN(Address bound, BoundAddress(listener.get(), address));
    listeners.push_back(std::move(listener));
    addresses.push_back(std::move(bound));
    ArmListener(listeners.size() - 1, EPOLL_CTL_ADD);
  }
  return Status::Ok();
}

void Server::Impl::ArmListener(size_t listener, int operation) const {
  epoll_event event{.events = EPOLLIN | EPOLLONESHOT, .data = {.u64 = listener + 1}};
  epoll_ctl(epoll.get(), operation, listeners[listener].get(), &event);
}

void Server::Impl::Run(bool sweeps) {
  pthread_setname_np(pthread_self(), "sheaf-frames");
  std::array<epoll_event, kMaxEvents> events;
  Clock::Instant next_sweep = Clock::System().Now() + kSweep;
  for (;;) {
    const int wait_ms = sweeps ? static_cast<int>(kSweep.count()) : -1;
    const int ready = epoll_wait(epoll.get(), events.data(), kMaxEvents, wait_ms);
    for (int i = 0; i < ready; ++i) {
      const uint64_t id = events[i].data.u64;
      if (id == kStopId) return;
      if (id < kFirstConnectionId) {
        Accept(id - 1);
      } else if (const auto connection = Find(id)) {
        connection->OnEvents(events[i].events);
      }
    }
    if (!sweeps) continue;
    const Clock::Instant now = Clock::System().Now();
    if (now < next_sweep) continue;
    next_sweep = now + kSweep;
    Sweep(now);
  }
}

// A listener that cannot accept for want of descriptors is armed again by the next sweep.
void Server::Impl::Accept(size_t listener) {
  if (stopping) return;
  for (;;) {
    UniqueFd fd(accept4(listeners[listener].get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd.IsOpen()) {
      Add(std::move(fd), !addresses[listener].IsUnix());
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN) return ArmListener(listener, EPOLL_CTL_MOD);
    LogWarn("accept on {}: {}", addresses[listener].ToString(), std::strerror(errno));
    return;
  }
}

void Server::Impl::Add(UniqueFd fd, bool tcp) {
  if (tcp) PrepareTcp(fd.get());
  std::shared_ptr<ServerConnection> connection;
  {
    std::lock_guard lock(mutex);
    if (connections.size() >= options.max_connections) {
      refused.fetch_add(1);
      return;
    }
    connection = std::make_shared<ServerConnection>(*this, std::move(fd), next_id++);
    connections.emplace(connection->id(), connection);
  }
  epoll_event event{.events = ServerConnection::FirstInterest(), .data = {.u64 = connection->id()}};
  if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, connection->fd(), &event) != 0) {
    LogWarn("framed connection: {}", std::strerror(errno));
    Forget(connection->id());
  }
}

void Server::Impl::Sweep(Clock::Instant now) {
  for (const auto& connection : All()) connection->CheckTimeLimits(now);
  if (stopping) return;
  for (size_t i = 0; i < listeners.size(); ++i) ArmListener(i, EPOLL_CTL_MOD);
}

std::shared_ptr<ServerConnection> Server::Impl::Find(uint64_t id) {
  std::lock_guard lock(mutex);
  const auto found = connections.find(id);
  return found == connections.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<ServerConnection>> Server::Impl::All() {
  std::vector<std::shared_ptr<ServerConnection>> all;
  std::lock_guard lock(mutex);
  all.reserve(connections.size());
  for (const auto& [id, connection] : connections) all.push_back(connection);
  return all;
}

void Server::Impl::Forget(uint64_t id) {
  std::lock_guard lock(mutex);
  connections.erase(id);
}

void Server::Impl::BeginRequest() {
  std::lock_guard lock(mutex);
  ++under_way;
}

void Server::Impl::EndRequest() {
  std::lock_guard lock(mutex);
  if (--under_way == 0) idle.notify_all();
}

// A connection that is being read may begin one more request after StopReading(): the threads are
// joined before the count is believed.
void Server::Impl::Stop() {
  stopping = true;
  for (const auto& connection : All()) connection->StopReading();
  if (stop.IsOpen()) eventfd_write(stop.get(), 1);
  for (std::thread& thread : threads) thread.join();
  {
    std::unique_lock lock(mutex);
    idle.wait(lock, [this] { return under_way == 0; });
  }
  const Clock::Instant until = Clock::System().Now() + kLastSend;
  for (const auto& connection : All()) connection->SendLast(until);
}

Server::Impl::~Impl() {
  for (const Address& address : addresses) {
    if (address.IsUnix()) unlink(address.unix_path.c_str());
  }
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Server>> Server::Start(const Options& options, Handler handler) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->handler = std::move(handler);
  RETURN_IF_ERROR(impl->Listen());
  for (int i = 0; i < options.threads; ++i) {
    impl->threads.emplace_back([raw = impl.get(), sweeps = i == 0] { raw->Run(sweeps); });
  }
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::~Server() { impl_->Stop(); }

const std::vector<Address>& Server::addresses() const { return impl_->addresses; }

Server::Stats Server::stats() const {
  std::lock_guard lock(impl_->mutex);
  return {.connections = impl_->connections.size(),
          .under_way = impl_->under_way,
          .refused_connections = impl_->refused};
}

}  // namespace sheaf::transport
