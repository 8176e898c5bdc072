#include "storage/service/reactor_set.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <future>
#include <utility>

#include "common/log.h"

namespace sheaf::storage {
namespace {

constexpr std::chrono::milliseconds kStopPoll{5};

// Runs `task` on the reactor and waits for it.
void RunOn(Reactor& reactor, std::function<void()> task) {
  std::promise<void> done;
  reactor.Post([&] {
    task();
    done.set_value();
  });
  done.get_future().wait();
}

}  // namespace

// A listening socket on the first reactor's ring.
class ReactorSet::Acceptor : public Op {
 public:
  Acceptor(ReactorSet& set, Reactor& reactor, UniqueFd socket)
      : set_(set), reactor_(reactor), socket_(std::move(socket)) {}

  void Start() {
    if (!stopping_ && !in_flight()) reactor_.ring().Accept(*this, nullptr, socket_.get());
  }
  void Stop() {
    stopping_ = true;
    if (in_flight()) reactor_.ring().CancelAll(socket_.get());
  }

 private:
  void Complete(int32_t result, bool more) override {
    if (result >= 0) {
      failures_ = 0;
      set_.OnAccepted(UniqueFd(result));
    } else if (!stopping_) {
      // Out of descriptors, most likely. The peer waits in the backlog; we try again a turn later.
      if (failures_++ % 1000 == 0) LogWarn("accept: {}", std::strerror(-result));
    }
    if (!more && !stopping_) reactor_.Post([this] { Start(); });
  }

  ReactorSet& set_;
  Reactor& reactor_;
  const UniqueFd socket_;
  bool stopping_ = false;
  uint64_t failures_ = 0;
};

Result<std::unique_ptr<ReactorSet>> ReactorSet::Start(const Options& options) {
  std::unique_ptr<ReactorSet> set(new ReactorSet);
  set->limits_ = options.limits;
  if (options.metrics) {
    set->metrics_ = std::make_unique<ServiceMetrics>(*options.metrics, "framed");
    set->disk_metrics_ = std::make_unique<DiskMetrics>(*options.metrics);
  }
  Reactor::Options reactor;
  reactor.disk.buffer_bytes = options.buffer_bytes / options.reactors;
  reactor.disk.files = options.files;
  reactor.disk.metrics = set->disk_metrics_.get();
  reactor.limits = options.limits;
  reactor.clock = options.clock;
  reactor.metrics = set->metrics_.get();
  reactor.counts = &set->counts_;
  for (uint32_t i = 0; i < options.reactors; ++i) {
    ASSIGN_OR_RETURN(auto started, Reactor::Start(reactor));
    set->reactors_.push_back(std::move(started));
  }
  if (options.metrics) set->AddMetrics(*options.metrics);
  return set;
}

ReactorSet::~ReactorSet() {
  const Status stopped = StopServing(std::chrono::seconds(5));
  if (!stopped.ok()) LogError("stop serving: {}", stopped.message());
}

void ReactorSet::AddMetrics(Metrics& metrics) {
  metrics.AddCallback("sheaf_storage_connections", "Framed connections open", {},
                      [this] { return static_cast<double>(counts_.connections.load()); });
  metrics.AddCallback("sheaf_storage_requests_under_way", "Framed requests begun, not finished", {},
                      [this] { return static_cast<double>(counts_.requests.load()); });
  metrics.AddCallback("sheaf_storage_connections_refused_total",
                      "Framed connections closed as too many", {},
                      [this] { return static_cast<double>(counts_.connections_refused.load()); });
  metrics.AddCallback(
      "sheaf_storage_requests_refused_total",
      "Requests answered busy: too many under way, or too many waiting for a buffer", {},
      [this] { return static_cast<double>(counts_.requests_refused.load()); });
  for (size_t i = 0; i < reactors_.size(); ++i) {
    Reactor* reactor = reactors_[i].get();
    const Metrics::Labels labels = {{"reactor", std::to_string(i)}};
    metrics.AddCallback("sheaf_storage_buffer_used_bytes", "Buffer pool bytes in use", labels,
                        [reactor] { return static_cast<double>(reactor->buffer_bytes_used()); });
    metrics.AddCallback("sheaf_storage_buffer_total_bytes", "Buffer pool bytes", labels,
                        [reactor] { return static_cast<double>(reactor->buffer_bytes_total()); });
    metrics.AddCallback("sheaf_storage_disk_transfers_in_flight", "Disk transfers begun, not ended",
                        labels,
                        [reactor] { return static_cast<double>(reactor->transfers_in_flight()); });
    metrics.AddCallback("sheaf_storage_buffer_queue_length", "Requests that wait for a buffer",
                        labels,
                        [reactor] { return static_cast<double>(reactor->waiting_for_room()); });
  }
}

void ReactorSet::Serve(FramedHandler& handler, std::vector<UniqueFd> listeners) {
  for (auto& reactor : reactors_) RunOn(*reactor, [&] { reactor->SetHandler(&handler); });
  serving_ = true;
  for (UniqueFd& listener : listeners)
    acceptors_.push_back(std::make_unique<Acceptor>(*this, first(), std::move(listener)));
  RunOn(first(), [this] {
    for (auto& acceptor : acceptors_) acceptor->Start();
  });
}

void ReactorSet::OnAccepted(UniqueFd socket) {
  if (++counts_.connections > limits_.connections) {
    --counts_.connections;
    ++counts_.connections_refused;
    LogDebug("connection refused: {} are open", limits_.connections);
    return;
  }
  const int on = 1;  // answers are gathered by us; fails, harmlessly, on a Unix socket
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  Reactor& reactor = Next();
  auto shared = std::make_shared<UniqueFd>(std::move(socket));
  reactor.Post([&reactor, shared] { reactor.AddConnection(std::move(*shared)); });
}

Reactor& ReactorSet::Next() { return *reactors_[next_++ % reactors_.size()]; }

Status ReactorSet::StopServing(std::chrono::milliseconds wait) {
  if (!std::exchange(serving_, false)) return Status::Ok();
  RunOn(first(), [this] {
    for (auto& acceptor : acceptors_) acceptor->Stop();
  });
  for (auto& reactor : reactors_)
    RunOn(*reactor, [&] {
      reactor->SetHandler(nullptr);
      reactor->CloseConnections();
    });
  const auto deadline = std::chrono::steady_clock::now() + wait;
  while (counts_.requests > 0) {
    if (std::chrono::steady_clock::now() > deadline)
      return {Code::kDeadline, "requests still under way: " + std::to_string(counts_.requests)};
    RunOn(first(), [] {});
    std::this_thread::sleep_for(kStopPoll);
  }
  return Status::Ok();
}

}  // namespace sheaf::storage
