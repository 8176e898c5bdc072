#include "storage/service/peer_links.h"

#include <pthread.h>

#include <atomic>
#include <utility>
#include <vector>

#include "common/log.h"

namespace sheaf::storage {
namespace {

constexpr int kConnectTimeoutMs = 1000;
// Once a broken link works again it is the next connection that notices: the one before would send
// again ever more rarely.
constexpr int kDeadAfterMs = 15'000;
constexpr std::chrono::milliseconds kConnectPause{20};

}  // namespace

PeerLinks::PeerLinks(Options options)
    : options_(std::move(options)),
      connect_thread_([this] { ConnectMain(); }),
      tick_thread_([this] { TickMain(); }) {}

PeerLinks::~PeerLinks() { Stop(); }

void PeerLinks::EndCalls() {
  std::map<uint32_t, Node> ended;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    ended.swap(nodes_);
  }
  changed_.notify_all();
  if (connect_thread_.joinable()) connect_thread_.join();
  ended.clear();  // with the connections their calls end
}

void PeerLinks::Stop() {
  EndCalls();
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
  if (tick_thread_.joinable()) tick_thread_.join();
}

void PeerLinks::StartTicking() {
  {
    std::lock_guard lock(mutex_);
    ticking_ = true;
  }
  changed_.notify_all();
}

void PeerLinks::Update(const proto::ClusterMap& map) {
  std::vector<Node> replaced;  // go after the lock: that ends their calls
  std::lock_guard lock(mutex_);
  if (stopping_) return;
  node_of_.clear();
  for (const proto::Target& target : map.targets()) node_of_[target.id()] = target.node_id();
  for (const proto::Node& row : map.nodes()) {
    const auto address = Address::Parse(row.addresses().framed());
    if (!address.ok()) continue;
    Node& node = nodes_[row.id()];
    if (node.way.address.ToString() != address->ToString()) node = {.way = {.address = *address}};
    node.takes_stages =
        options_.boot_id.empty() || row.addresses().boot_id() != options_.boot_id;
    if (node.way.pid != 0 && node.way.pid != row.pid()) {
      replaced.push_back(node);  // another process: what leads to it now may not be the best way
      node.connections = {};
    }
    node.way.pid = row.pid();
    node.way.here.reset();
    const bool has_socket = !row.addresses().unix_path().empty() && row.pid() != options_.own_pid;
    if (!node.takes_stages && has_socket)
      node.way.here = Address{.unix_path = row.addresses().unix_path()};
  }
}

void PeerLinks::Fail(transport::Done done, Status status) {
  failed_.push_back({std::move(done), std::move(status)});
  changed_.notify_all();
}

bool PeerLinks::TakesStages(TargetId to) {
  std::lock_guard lock(mutex_);
  const auto target = node_of_.find(to.value());
  const auto node = target == node_of_.end() ? nodes_.end() : nodes_.find(target->second);
  return node != nodes_.end() && node->second.takes_stages;
}

uint32_t PeerLinks::LaneOf(const transport::Call& call) {
  if (call.method == transport::Method::kEcho) return kLanes - 1;
  const bool of_change =
      call.method == transport::Method::kReplicate || call.method == transport::Method::kStage;
  return 2 * call.hop + (of_change ? 0 : 1);
}

void PeerLinks::Call(TargetId to, transport::Call call, transport::Done done) {
  std::shared_ptr<transport::Connection> connection;
  {
    std::lock_guard lock(mutex_);
    const auto target = node_of_.find(to.value());
    const auto node = target == node_of_.end() ? nodes_.end() : nodes_.find(target->second);
    if (stopping_ || node == nodes_.end()) {
      return Fail(std::move(done), {Code::kUnavailable, "call target " + ToString(to) +
                                                            ": it is not in the cluster map"});
    }
    const uint32_t lane = LaneOf(call);
    connection = node->second.connections[lane];
    if (connection == nullptr || connection->IsBroken()) {
      wanted_.insert({node->first, lane});
      return Fail(std::move(done), {Code::kUnavailable, "call target " + ToString(to) +
                                                            ": not connected to " +
                                                            node->second.way.address.ToString()});
    }
  }
  // A connection that has just broken ends the call on this thread, which may hold what `done`
  // wants.
  const std::thread::id here = std::this_thread::get_id();
  auto begun = std::make_shared<std::atomic<bool>>(false);
  connection->Start(std::move(call), [this, here, begun, done = std::move(done)](
                                         Result<transport::Reply> reply) mutable {
    if (*begun || std::this_thread::get_id() != here) return done(std::move(reply));
    std::lock_guard lock(mutex_);
    Fail(std::move(done), reply.status());
  });
  *begun = true;
}

void PeerLinks::ConnectMain() {
  ::pthread_setname_np(::pthread_self(), "peer-connect");
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !wanted_.empty(); });
    if (stopping_) return;
    for (const Wanted& wanted : std::exchange(wanted_, {})) {
      const auto node = nodes_.find(wanted.first);
      if (node == nodes_.end() || stopping_) continue;
      // It may have been asked for again while it was made.
      const auto& present = node->second.connections[wanted.second];
      if (present != nullptr && !present->IsBroken()) continue;
      const Way way = node->second.way;
      lock.unlock();
      ConnectOnce(wanted, way);
      lock.lock();
    }
    // What cannot be reached is not tried without a pause.
    changed_.wait_for(lock, kConnectPause, [this] { return stopping_; });
  }
}

Result<std::shared_ptr<transport::Connection>> PeerLinks::Connect(const Way& way) {
  const transport::Connection::Options options{.connect_timeout_ms = kConnectTimeoutMs,
                                               .dead_after_ms = kDeadAfterMs,
                                               .unix_pid = way.pid};
  if (way.here.has_value() && way.pid != 0) {
    auto connection = transport::Connection::Open(*way.here, options);
    if (connection.ok()) return connection;
    LogDebug("{}; by {} instead", connection.status().ToString(), way.address.ToString());
  }
  return transport::Connection::Open(way.address, options);
}

void PeerLinks::ConnectOnce(const Wanted& wanted, const Way& way) {
  auto connection = Connect(way);
  if (!connection.ok()) {
    LogDebug("connect to node {}: {}", wanted.first, connection.status().ToString());
    return;
  }
  std::shared_ptr<transport::Connection> broken;  // goes after the lock: that ends its calls
  std::unique_lock lock(mutex_);
  const auto node = nodes_.find(wanted.first);
  if (node == nodes_.end() || stopping_ || node->second.way.address.ToString() != way.address.ToString())
    return;
  broken = std::exchange(node->second.connections[wanted.second], std::move(*connection));
}

void PeerLinks::TickMain() {
  ::pthread_setname_np(::pthread_self(), "peer-tick");
  auto next = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait_until(lock, next, [this] { return stopped_ || !failed_.empty(); });
    std::deque<Failed> failed = std::exchange(failed_, {});
    const bool stopping = stopping_;
    const bool tick = ticking_ && std::chrono::steady_clock::now() >= next;
    lock.unlock();
    for (Failed& call : failed) call.done(std::move(call.status));
    if (tick && !stopping) options_.on_tick();
    if (std::chrono::steady_clock::now() >= next)
      next = std::chrono::steady_clock::now() + options_.tick;
    lock.lock();
    if (stopped_ && failed_.empty()) return;
  }
}

}  // namespace sheaf::storage
