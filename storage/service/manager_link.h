#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/metrics.h"
#include "common/status.h"
#include "proto/cluster.pb.h"
#include "storage/replica/replica_set.h"
#include "storage/replica/stall_watch.h"

namespace sheaf::storage {

// The node's tie to the cluster manager: registers, renews the lease, follows the cluster map, and
// writes lease and map into the ReplicaSet.
//
// Two threads, so that the lease depends on nothing but its own small call:
//   heartbeat  own channel; registers first, then renews every heartbeat_ms
//   map        own channel; holds the map stream open and applies what comes
//
// Invariants:
// 1. A lease is counted from before its heartbeat was sent, on the clock given (CLOCK_BOOTTIME).
// 2. Nothing is served before registration; a manager that no longer knows the node takes its lease
//    away at once, and the node registers again.
// 3. A manager that is gone needs nothing from us: the lease runs out, both threads keep trying
//    with back-off, service resumes with the next answer.
// 4. All that is sent names the same process, from the first registration to the end: by another
//    one the manager knows that what was in memory is lost.
// 5. The last heartbeat, when the link goes, says that the node stops, so that its chains need not
//    wait for its lease: sent once that was given up for good.
class ManagerLink {
 public:
  struct Options {
    std::string manager;  // "host:port"
    std::string node_uuid;
    std::string cluster_uuid;  // empty on a fresh node
    std::string failure_domain;
    proto::NodeAddresses addresses;
    std::chrono::milliseconds call_timeout{1000};
    std::chrono::milliseconds stop_timeout{500};  // for the last heartbeat
    std::chrono::milliseconds retry_min{100};
    std::chrono::milliseconds retry_max{2000};
    Metrics* metrics = nullptr;  // may be null
    // Called with each new map before it is applied; may be empty.
    std::function<void(const proto::ClusterMap&)> map_comes;
    // Nodes that do not answer this one, told with each heartbeat; may be empty.
    std::function<std::vector<NodeId>()> out_of_reach;
    // Called once the first registration is answered, before anything is served: makes the
    // cluster's uuid durable where it is not, on a new disk as well. An error keeps the node from
    // serving.
    std::function<Status(const std::string& cluster_uuid)> remember_cluster;
  };

  // Starts the threads. `replicas` outlives the link.
  ManagerLink(ReplicaSet& replicas, const Options& options, const Clock& clock);
  ~ManagerLink();

  // Whether the node has been registered. Thread-safe.
  bool registered() const;

 private:
  struct Stubs;
  class Reporter;  // logs the first failure of a series, then one in a while

  void HeartbeatMain();
  void MapMain();
  Status Register();
  // kStale: the manager does not know us; register again.
  Status Heartbeat();
  proto::HeartbeatRequest HeartbeatRequest();
  bool IsStalled(size_t local_target);
  void SayStopping();
  void CountHeartbeat(const Status& status, Clock::Instant took);
  Status FollowMap();
  void CheckMapProgress(uint64_t newest_version);
  std::chrono::milliseconds BeatEvery() const;
  void CancelStream();
  proto::RegisterNodeRequest RegistrationRequest() const;
  proto::TargetReport ReportOf(size_t local_target) const;

  // False when the link is stopping.
  bool Wait(std::chrono::milliseconds time);
  std::chrono::milliseconds Backoff(uint32_t failures) const;

  ReplicaSet& replicas_;
  Options options_;
  const Clock& clock_;
  std::unique_ptr<Stubs> stubs_;
  const std::string process_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;    // under mutex_
  bool registered_ = false;  // under mutex_
  // Written by the heartbeat thread alone.
  uint32_t node_id_ = 0;
  std::vector<uint32_t> target_ids_;
  std::vector<StallWatch> stalls_;  // by target
  bool remembered_ = false;  // the cluster, in every target
  std::chrono::milliseconds heartbeat_every_{500};
  bool leased_ = true;  // by the last heartbeat's answer
  // For so long heartbeats in a row have told of a newer map than we have.
  std::chrono::milliseconds behind_{0};
  Metrics::Counter* heartbeats_ = nullptr;
  Metrics::Counter* heartbeat_errors_ = nullptr;
  Metrics::Histogram* heartbeat_seconds_ = nullptr;

  std::thread heartbeat_thread_;
  std::thread map_thread_;
};

}  // namespace sheaf::storage
