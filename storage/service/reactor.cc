#include "storage/service/reactor.h"

#include <pthread.h>

#include <algorithm>
#include <future>
#include <numeric>
#include <utility>

#include "common/log.h"

namespace sheaf::storage {

Reactor::Reactor(const Options& options)
    : options_(options),
      rooms_(transport::kMaxHop + 1,
             RoomQueue(options.limits.waiting_for_room, options.limits.room_wait)),
      now_(options.clock->Now()),
      last_tick_(now_) {}

Result<std::unique_ptr<Reactor>> Reactor::Start(const Options& options) {
  std::unique_ptr<Reactor> reactor(new Reactor(options));
  std::promise<Status> started;
  std::future<Status> ready = started.get_future();
  reactor->thread_ = std::thread([self = reactor.get(), &started] {
    self->Main([&started](Status status) { started.set_value(std::move(status)); });
  });
  RETURN_IF_ERROR(ready.get());
  return reactor;
}

Reactor::~Reactor() {
  if (disk_ != nullptr) Post([this] { stop_ = true; });
  if (thread_.joinable()) thread_.join();
}

void Reactor::Main(std::function<void(Status)> started) {
  ::pthread_setname_np(::pthread_self(), "reactor");
  auto disk = DiskContext::Create(options_.disk);
  if (!disk.ok()) return started(disk.status());
  disk_ = std::move(disk).value();
  pool_ = disk_->pool().shared_from_this();
  registered_bytes_ = disk_->registered_bytes();
  ring_mode_ = disk_->ring().mode();
  started(Status::Ok());
  while (!stop_) Turn();
  CloseConnections();
  for (RoomQueue& queue : rooms_) queue.Clear();
  dirty_.clear();
  // Not reset(): what the ring still completes while it drains uses disk_.
  disk_->Drain();
}

void Reactor::Turn() {
  disk_->Wait(options_.limits.tick);
  now_ = options_.clock->Now();  // one reading serves every request of the turn
  disk_->Dispatch();
  if (waiting_ > 0) {
    for (uint32_t hop = transport::kMaxHop + 1; hop-- > 0;)
      rooms_[hop].Advance(now_, [this, hop](size_t bytes) { return MayTake(bytes, hop); });
    waiting_ = static_cast<uint32_t>(Waiting());
  }
  FlushDirty();
  if (now_ - last_tick_ < options_.limits.tick) return;
  last_tick_ = now_;
  std::vector<std::shared_ptr<ServerConnection>> all;
  for (auto& [raw, connection] : connections_) all.push_back(connection);
  for (auto& connection : all) connection->CheckTimeLimits();
}

void Reactor::FlushDirty() {
  for (auto& connection : std::exchange(dirty_, {})) connection->Flush();
}

void Reactor::AddConnection(UniqueFd socket) {
  if (handler_ == nullptr) {
    --options_.counts->connections;
    return;
  }
  auto connection = std::make_shared<ServerConnection>(std::move(socket), *this);
  connections_.emplace(connection.get(), connection);
  connection->Start();
}

void Reactor::Forget(ServerConnection& connection) {
  if (connections_.erase(&connection) > 0) --options_.counts->connections;
}

void Reactor::GiveWay() {
  for (auto& [raw, connection] : connections_) connection->GiveWay();
}

void Reactor::CloseConnections() {
  while (!connections_.empty()) {
    std::shared_ptr<ServerConnection> connection = connections_.begin()->second;
    connection->Close("server stops");
  }
}

// Half of the buffers for what comes from clients, and for each hop of a chain a sixteenth more: a
// change that is passed on finds room even where the clients of the next server have taken all of
// theirs, so chains that cross never wait for each other.
bool Reactor::MayTake(size_t bytes, uint32_t hop) const {
  const uint64_t total = pool_->region().size();
  return disk_->HasRoom(bytes) && pool_->used_bytes() + bytes <= total / 2 + total / 16 * hop;
}

bool Reactor::HasSpareRoom(size_t bytes, uint32_t hop) const {
  const bool none_waits = std::all_of(rooms_.begin() + 1, rooms_.end(),
                                      [](const RoomQueue& queue) { return queue.empty(); });
  return none_waits && HasRoom(bytes, hop);
}

size_t Reactor::Waiting() const {
  return std::accumulate(rooms_.begin(), rooms_.end(), size_t{0},
                         [](size_t sum, const RoomQueue& queue) { return sum + queue.size(); });
}

void Reactor::WhenRoom(size_t bytes, std::function<void(Status)> go, uint32_t hop) {
  if (rooms_[hop].Add(bytes, now_, go)) {
    waiting_ = static_cast<uint32_t>(Waiting());
    return;
  }
  ++options_.counts->requests_refused;
  Post([go = std::move(go)] {
    go({Code::kBusy, "buffers: all in use and too many requests wait for one"});
  });
}

void Reactor::FlushLater(std::shared_ptr<ServerConnection> connection) {
  dirty_.push_back(std::move(connection));
}

bool Reactor::BeginRequest(bool of_peer) {
  const bool may = ++options_.counts->requests <= options_.limits.requests_under_way;
  if (may || of_peer) return true;
  --options_.counts->requests;
  ++options_.counts->requests_refused;
  return false;
}

void Reactor::EndRequest() { --options_.counts->requests; }

}  // namespace sheaf::storage
