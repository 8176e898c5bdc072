#include "meta/cluster/cluster_manager.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "common/log.h"

namespace sheaf::meta {
namespace {

constexpr std::chrono::milliseconds kFirstRetry{20};
constexpr std::chrono::milliseconds kLongestRetry{1000};

Status Stopping(const char* what) {
  return {Code::kUnavailable, std::string(what) + ": the cluster manager is stopping"};
}

Status QueueFull(const char* what) {
  return {Code::kBusy, std::string(what) + ": the cluster manager's queue is full"};
}

}  // namespace

Result<std::unique_ptr<ClusterManager>> ClusterManager::Open(ClusterStore& store,
                                                             const Clock& clock,
                                                             const ClusterManagerOptions& options) {
  ASSIGN_OR_RETURN(proto::ClusterMap map, store.Load());
  if (map.cluster_uuid().empty()) {
    map.set_version(1);
    map.set_cluster_uuid(options.cluster_uuid);
    RETURN_IF_ERROR(store.Write(map));
  }
  std::unique_ptr<ClusterManager> manager(
      new ClusterManager(store, clock, options, std::move(map)));
  manager->thread_ = std::thread([raw = manager.get()] { raw->Loop(); });
  return manager;
}

ClusterManager::ClusterManager(ClusterStore& store, const Clock& clock,
                               const ClusterManagerOptions& options, proto::ClusterMap recovered)
    : store_(store),
      clock_(clock),
      options_(options),
      state_(options.leases, std::move(recovered), clock.Now()),
      map_(std::make_shared<const proto::ClusterMap>(state_.Map())) {}

ClusterManager::~ClusterManager() {
  {
    std::lock_guard lock(queue_mutex_);
    stopping_ = true;
  }
  queue_changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

bool ClusterManager::Enqueue(Task task) {
  {
    std::lock_guard lock(queue_mutex_);
    if (stopping_ || queue_.size() + held_.size() >= options_.max_queue) return false;
    queue_.push_back(std::move(task));
  }
  queue_changed_.notify_all();
  return true;
}

void ClusterManager::RegisterNode(proto::RegisterNodeRequest request, RegisterDone done) {
  Registration registration{std::move(request), done,
                            clock_.Now() + options_.leases.surely_over() + options_.leases.lease};
  auto task = [this, registration = std::move(registration)](bool stopping) {
    TryRegister(registration, stopping);
  };
  if (!Enqueue(std::move(task))) done(QueueFull("register node"));
}

void ClusterManager::CreateChains(const proto::CreateChainsRequest& request, CreateDone done) {
  auto task = [this, request, done](bool stopping) {
    done(stopping ? Stopping("create chains") : DoCreateChains(request));
  };
  if (!Enqueue(std::move(task))) done(QueueFull("create chains"));
}

void ClusterManager::ReplaceTarget(const proto::ReplaceTargetRequest& request,
                                   std::function<void(Result<proto::ReplaceTargetResponse>)> done) {
  auto plan = [this, request](Clock::Instant now) {
    return state_.PlanReplaceTarget(request, now);
  };
  Change("replace target", plan, [request, done](Result<std::optional<proto::ClusterMap>> change) {
    if (!change.ok()) return done(change.status());
    proto::ReplaceTargetResponse response;
    if (change->has_value()) response.set_chains((*change)->chains_size());
    LogInfo("target {} takes the place of {} in {} chains", request.new_id(), request.old_id(),
            response.chains());
    done(response);
  });
}

void ClusterManager::DrainNode(const proto::DrainNodeRequest& request,
                               std::function<void(Result<proto::DrainNodeResponse>)> done) {
  auto plan = [this, request](Clock::Instant now) { return state_.PlanDrain(request, now); };
  Change("drain node", plan,
         [this, request, done](Result<std::optional<proto::ClusterMap>> change) {
           if (!change.ok()) return done(change.status());
           proto::DrainNodeResponse response;
           {
             std::lock_guard lock(state_mutex_);
             response.set_chains_left(state_.ChainsOn(NodeId(request.node_id())));
           }
           LogInfo("node {} {}: a member of {} chains", request.node_id(),
                   request.undo() ? "is drained no longer" : "is drained", response.chains_left());
           done(response);
         });
}

void ClusterManager::ResetChain(const proto::ResetChainRequest& request,
                                std::function<void(Result<proto::ResetChainResponse>)> done) {
  auto plan = [this, request](Clock::Instant now) { return state_.PlanResetChain(request, now); };
  Change("reset chain", plan, [request, done](Result<std::optional<proto::ClusterMap>> change) {
    if (!change.ok()) return done(change.status());
    LogWarn("chain {} goes on with what target {} holds; all else that was written to it is lost",
            request.chain_id(), request.target_id());
    done(proto::ResetChainResponse());
  });
}

void ClusterManager::Change(const char* what, Plan plan, Changed done) {
  auto task = [this, what, plan = std::move(plan), done](bool stopping) {
    done(stopping ? Stopping(what) : DoChange(plan));
  };
  if (!Enqueue(std::move(task))) done(QueueFull(what));
}

ManagerState::Change ClusterManager::DoChange(const Plan& plan) {
  std::optional<proto::ClusterMap> change;
  {
    std::lock_guard lock(state_mutex_);
    ASSIGN_OR_RETURN(change, plan(clock_.Now()));
  }
  if (change.has_value()) RETURN_IF_ERROR(Commit(*change));
  return change;
}

Result<proto::HeartbeatResponse> ClusterManager::Heartbeat(const proto::HeartbeatRequest& request) {
  std::lock_guard lock(state_mutex_);
  return state_.Heartbeat(request, clock_.Now());
}

ClusterManager::MapPtr ClusterManager::Map() const {
  std::lock_guard lock(state_mutex_);
  return map_;
}

proto::ClusterMap ClusterManager::MapWithSpace() const {
  std::lock_guard lock(state_mutex_);
  return state_.Map();
}

ManagerState::Space ClusterManager::TotalSpace() const {
  std::lock_guard lock(state_mutex_);
  return state_.TotalSpace();
}

proto::Resync ClusterManager::Resync() const {
  std::lock_guard lock(state_mutex_);
  return state_.Resync(clock_.Now());
}

uint64_t ClusterManager::Watch(Watcher watcher) {
  std::lock_guard lock(watch_mutex_);
  if (watchers_.size() >= options_.max_watchers) return 0;
  watchers_.emplace(next_watcher_, std::move(watcher));
  return next_watcher_++;
}

void ClusterManager::Unwatch(uint64_t id) {
  std::lock_guard lock(watch_mutex_);
  watchers_.erase(id);
}

size_t ClusterManager::Watchers() const {
  std::lock_guard lock(watch_mutex_);
  return watchers_.size();
}

size_t ClusterManager::Queued() const {
  std::lock_guard lock(queue_mutex_);
  return queue_.size() + held_.size();
}

void ClusterManager::Loop() {
  for (bool stopping = false; !stopping;) {
    std::deque<Task> tasks;
    {
      std::unique_lock lock(queue_mutex_);
      queue_changed_.wait_for(lock, options_.tick, [&] { return stopping_ || !queue_.empty(); });
      tasks.swap(held_);
      std::move(queue_.begin(), queue_.end(), std::back_inserter(tasks));
      queue_.clear();
      stopping = stopping_;
    }
    for (Task& task : tasks) task(stopping);
    if (stopping) continue;
    SettleTransitions();
    SettleFences();
  }
}

void ClusterManager::TryRegister(Registration registration, bool stopping) {
  if (stopping) return registration.done(Stopping("register node"));
  const Clock::Instant now = clock_.Now();
  bool may = false;
  {
    std::lock_guard lock(state_mutex_);
    may = !state_.CheckRegister(registration.request).ok() ||
          state_.MayRegister(registration.request, now);
  }
  if (may) return registration.done(DoRegister(registration.request, now));
  if (now >= registration.until) {
    return registration.done(Status(
        Code::kUnavailable,
        "register node " + registration.request.uuid() +
            ": it, or a target of it, is still in service elsewhere; stop that server first, "
            "or remove NODE from targets that are to be a node of their own"));
  }
  std::lock_guard lock(queue_mutex_);
  held_.emplace_back([this, registration = std::move(registration)](bool is_stopping) {
    TryRegister(registration, is_stopping);
  });
}

Result<proto::RegisterNodeResponse> ClusterManager::DoRegister(
    const proto::RegisterNodeRequest& request, Clock::Instant now) {
  ManagerState::IdsNeeded needed;
  {
    std::lock_guard lock(state_mutex_);
    ASSIGN_OR_RETURN(needed, state_.CheckRegister(request));
  }
  // Numbers lost to a crash between here and the commit are not given out again; that is all.
  NodeId node;
  std::vector<TargetId> targets;
  if (needed.node) {
    ASSIGN_OR_RETURN(const uint64_t id, store_.Allocate(Sequence::kNode, 1));
    node = NodeId(static_cast<uint32_t>(id));
  }
  if (needed.targets > 0) {
    ASSIGN_OR_RETURN(const uint64_t first, store_.Allocate(Sequence::kTarget, needed.targets));
    for (uint32_t i = 0; i < needed.targets; ++i) {
      targets.emplace_back(static_cast<uint32_t>(first + i));
    }
  }
  std::optional<proto::ClusterMap> change;
  {
    std::lock_guard lock(state_mutex_);
    change = state_.PlanRegister(request, node, targets, now);
  }
  if (change.has_value()) RETURN_IF_ERROR(Commit(*change));
  std::lock_guard lock(state_mutex_);
  proto::RegisterNodeResponse response = state_.Registered(request, clock_.Now());
  LogInfo("node {} registered: {} with {} targets", response.node_id(),
          request.addresses().framed(), request.targets_size());
  return response;
}

Result<proto::CreateChainsResponse> ClusterManager::DoCreateChains(
    const proto::CreateChainsRequest& request) {
  std::vector<std::vector<TargetId>> members;
  {
    std::lock_guard lock(state_mutex_);
    ASSIGN_OR_RETURN(std::optional<proto::CreateChainsResponse> present,
                     state_.FindChains(request));
    if (present.has_value()) return *present;
    ASSIGN_OR_RETURN(members, state_.PlaceNewChains(request, clock_.Now()));
  }
  ASSIGN_OR_RETURN(const uint64_t first, store_.Allocate(Sequence::kChain, members.size()));
  proto::ClusterMap change;
  {
    std::lock_guard lock(state_mutex_);
    change = state_.PlanCreateChains(members, ChainId(static_cast<uint32_t>(first)));
  }
  RETURN_IF_ERROR(Commit(change));
  LogInfo("chain table {} made: {} chains", change.tables(0).version(), change.chains_size());
  proto::CreateChainsResponse response;
  response.set_table_version(change.tables(0).version());
  response.set_chains(change.chains_size());
  return response;
}

void ClusterManager::SettleTransitions() {
  for (;;) {
    std::optional<proto::ClusterMap> change;
    {
      std::lock_guard lock(state_mutex_);
      change = state_.PlanTransitions(clock_.Now());
    }
    if (!change.has_value() || !Commit(*change).ok()) return;
    for (const proto::Node& node : change->nodes()) {
      LogInfo("node {} is {}", node.id(), node.state() == proto::NODE_UP ? "up" : "down");
    }
  }
}

void ClusterManager::FenceEnded() {
  fence_asked_ = true;  // within a tick; the session's end can wait that long
}

bool ClusterManager::FencedEverywhere(Incarnation session) const {
  std::lock_guard lock(state_mutex_);
  return state_.FencedEverywhere(session);
}

void ClusterManager::SettleFences() {
  Result<std::optional<proto::ClusterMap>> change = PlanFence();
  if (!change.ok()) {
    LogWarn("ended sessions could not be read, trying again: {}", change.status().ToString());
  } else if (change->has_value() && Commit(**change).ok()) {
    LogInfo("cluster map {} fences ended sessions ({} ranges)", (*change)->version(),
            (*change)->fenced_size());
  }
}

// What is asked for while a fence is under way is planned when that is over. It is taken as such
// first: where sessions end all the time, no fence would ever count otherwise.
Result<std::optional<proto::ClusterMap>> ClusterManager::PlanFence() {
  {
    std::lock_guard lock(state_mutex_);
    const Clock::Instant now = clock_.Now();
    state_.SettleFence(now);
    if (!state_.FenceOver(now)) return std::optional<proto::ClusterMap>();
  }
  if (!fence_asked_.exchange(false)) return std::optional<proto::ClusterMap>();
  Result<FencedRanges> ended = store_.EndedSessions();
  if (!ended.ok()) {
    fence_asked_ = true;
    return ended.status();
  }
  std::lock_guard lock(state_mutex_);
  return state_.PlanFence(*ended);
}

// Order: durable, then true in memory, then told. A change whose write failed may be durable all
// the same, so nothing else is planned until it has been written.
Status ClusterManager::Commit(const proto::ClusterMap& change) {
  std::chrono::milliseconds delay = kFirstRetry;
  for (;;) {
    Status written = store_.Write(change);
    if (written.ok()) break;
    LogError("cluster map {} could not be written, trying again: {}", change.version(),
             written.ToString());
    if (!WaitToRetry(delay)) return Stopping("write cluster map");
    delay = std::min(delay * 2, kLongestRetry);
  }
  {
    std::lock_guard lock(state_mutex_);
    state_.Apply(change);
    map_ = std::make_shared<const proto::ClusterMap>(state_.Map());
  }
  Tell();
  return Status::Ok();
}

// False: the manager is stopping.
bool ClusterManager::WaitToRetry(std::chrono::milliseconds delay) {
  std::unique_lock lock(queue_mutex_);
  return !queue_changed_.wait_for(lock, delay, [&] { return stopping_; });
}

void ClusterManager::Tell() {
  const MapPtr map = Map();
  std::lock_guard lock(watch_mutex_);
  for (auto& [id, watcher] : watchers_) watcher(map);
}

}  // namespace sheaf::meta
