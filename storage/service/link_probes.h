#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/ids.h"
#include "common/metrics.h"
#include "proto/cluster.pb.h"
#include "storage/replica/link_watch.h"
#include "storage/replica/peers.h"

namespace sheaf::storage {

// Asks the node's neighbours for a sign of life, every kRound, and keeps book of who gives none
// (LinkWatch): what the manager hears with the heartbeats. The signs come the way that a chain's
// tokens do.
//
// Thread-safe. `peers` outlives it; answers may come later.
class LinkProbes {
 public:
  static constexpr std::chrono::milliseconds kRound{500};

  // `targets`: the uuids of the node's own. `metrics` may be null.
  LinkProbes(Peers& peers, std::vector<std::string> targets, const Clock& clock, Metrics* metrics);

  // Who the neighbours are by now: those on nodes that are up.
  void Update(const proto::ClusterMap& map);
  // To be called often; begins a round when one is due.
  void Tick();
  std::vector<NodeId> OutOfReach() const;

 private:
  struct State {
    std::mutex mutex;
    LinkWatch watch;                       // all under mutex
    std::map<NodeId, TargetId> target_on;  // of the neighbours: one
    std::vector<NodeId> out_of_reach;
    Clock::Instant next_round{};
  };
  void Ask(NodeId node, TargetId target);

  Peers& peers_;
  const std::vector<std::string> targets_;
  const Clock& clock_;
  Metrics::Gauge* count_ = nullptr;
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace sheaf::storage
