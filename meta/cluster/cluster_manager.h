#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "common/clock.h"
#include "common/status.h"
#include "meta/cluster/cluster_store.h"
#include "meta/cluster/manager_state.h"
#include "meta/cluster/storage_fence.h"
#include "proto/cluster.pb.h"

namespace sheaf::meta {

struct ClusterManagerOptions {
  LeaseOptions leases;
  // Used when the store is empty; otherwise what is stored counts.
  std::string cluster_uuid;
  std::chrono::milliseconds tick{50};  // between looks at the leases
  size_t max_queue = 1024;             // registrations and operators' changes waiting
  size_t max_watchers = 65536;
};

// The cluster manager around ManagerState: one thread plans, persists, applies, then tells.
//
// Heartbeats touch memory only: they are answered on the caller's thread under a mutex that is
// never held during I/O. Everything that must be durable first goes through the one thread, in
// order; a store that does not answer holds up changes of the map and nothing else.
//
// Thread safety: all calls, from any thread.
// Teardown: the destructor answers what is queued with kUnavailable and joins.
class ClusterManager final : public StorageFence {
 public:
  using MapPtr = std::shared_ptr<const proto::ClusterMap>;
  using Watcher = std::function<void(const MapPtr&)>;
  using RegisterDone = std::function<void(Result<proto::RegisterNodeResponse>)>;
  using CreateDone = std::function<void(Result<proto::CreateChainsResponse>)>;

  // Loads the map, and gives a new cluster its identity. `store` and `clock` outlive the manager.
  static Result<std::unique_ptr<ClusterManager>> Open(ClusterStore& store, const Clock& clock,
                                                      const ClusterManagerOptions& options);
  ~ClusterManager() override;

  // `done` runs on the manager's thread, or on this one with kBusy; it must not block. The answer
  // to a server that was restarted waits until it is out of its chains.
  void RegisterNode(proto::RegisterNodeRequest request, RegisterDone done);
  void CreateChains(const proto::CreateChainsRequest& request, CreateDone done);
  Result<proto::HeartbeatResponse> Heartbeat(const proto::HeartbeatRequest& request);

  // Operators' changes of who holds which chain; answered as CreateChains, once durable.
  void ReplaceTarget(const proto::ReplaceTargetRequest& request,
                     std::function<void(Result<proto::ReplaceTargetResponse>)> done);
  void DrainNode(const proto::DrainNodeRequest& request,
                 std::function<void(Result<proto::DrainNodeResponse>)> done);
  void ResetChain(const proto::ResetChainRequest& request,
                  std::function<void(Result<proto::ResetChainResponse>)> done);

  // StorageFence. Several sessions that end within a tick are fenced by one change of the map.
  void FenceEnded() override;
  bool FencedEverywhere(Incarnation session) const override;

  // The map as last told.
  MapPtr Map() const;
  // The same map with the space that targets reported last.
  proto::ClusterMap MapWithSpace() const;
  ManagerState::Space TotalSpace() const;
  proto::Resync Resync() const;

  // Calls `watcher` with each new map, on the manager's thread; it must not block. 0: too many
  // watchers. Once Unwatch has returned, the watcher does not run and will not.
  uint64_t Watch(Watcher watcher);
  void Unwatch(uint64_t id);
  size_t Watchers() const;
  // Registrations and operators' changes that wait.
  size_t Queued() const;

 private:
  using Task = std::function<void(bool stopping)>;
  struct Registration {
    proto::RegisterNodeRequest request;
    RegisterDone done;
    Clock::Instant until{};  // it is held that long at most
  };

  ClusterManager(ClusterStore& store, const Clock& clock, const ClusterManagerOptions& options,
                 proto::ClusterMap recovered);
  void Loop();
  bool Enqueue(Task task);
  void TryRegister(Registration registration, bool stopping);
  Result<proto::RegisterNodeResponse> DoRegister(const proto::RegisterNodeRequest& request,
                                                 Clock::Instant now);
  Result<proto::CreateChainsResponse> DoCreateChains(const proto::CreateChainsRequest& request);
  using Plan = std::function<ManagerState::Change(Clock::Instant now)>;
  using Changed = std::function<void(Result<std::optional<proto::ClusterMap>>)>;
  void Change(const char* what, Plan plan, Changed done);
  ManagerState::Change DoChange(const Plan& plan);
  void SettleTransitions();
  void SettleFences();
  Result<std::optional<proto::ClusterMap>> PlanFence();
  Status Commit(const proto::ClusterMap& change);
  bool WaitToRetry(std::chrono::milliseconds delay);
  void Tell();

  ClusterStore& store_;
  const Clock& clock_;
  const ClusterManagerOptions options_;

  // Lock order: watch_mutex_ is taken with no other held, and held while watchers run;
  // state_mutex_ and queue_mutex_ are leaves.
  mutable std::mutex state_mutex_;
  ManagerState state_;  // planned and applied by the manager's thread alone
  MapPtr map_;

  mutable std::mutex queue_mutex_;
  std::condition_variable queue_changed_;
  std::deque<Task> queue_;
  std::deque<Task> held_;  // to be tried again at the next tick, before what is queued
  bool stopping_ = false;
  std::atomic<bool> fence_asked_{true};  // at first: what ended before the start

  mutable std::mutex watch_mutex_;
  std::map<uint64_t, Watcher> watchers_;
  uint64_t next_watcher_ = 1;

  std::thread thread_;  // last: uses all of the above
};

}  // namespace sheaf::meta
