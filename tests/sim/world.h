#pragma once

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proto/cluster.pb.h"
#include "tests/sim/history.h"
#include "tests/sim/network.h"
#include "tests/sim/random.h"
#include "tests/sim/schedule.h"
#include "tests/sim/scheduler.h"

namespace sheaf::sim {

class SimClient;
class SimManager;
class SimNode;

using MapRef = std::shared_ptr<const proto::ClusterMap>;

// A whole cluster, its clients and what goes wrong, from one schedule. Single-threaded; the same
// schedule gives the same run.
class World {
 public:
  World(const Schedule& schedule, bool verbose);
  ~World();

  // Runs to the end. What went wrong; empty: nothing.
  std::string Run();

  // ---- for those who live in it ----
  Scheduler& scheduler() { return scheduler_; }
  Network& network() { return *network_; }
  History& history() { return history_; }
  const Schedule& schedule() const { return schedule_; }
  Random& random() { return random_; }
  Time now() const { return scheduler_.now(); }
  SimManager& manager() { return *manager_; }
  SimNode& node(uint32_t id) { return *nodes_.at(id - 1); }
  SimNode& node_of(TargetId target) { return node(target.value()); }  // one target each
  // Nothing goes wrong any more, and clients begin nothing.
  bool calm() const { return calm_; }
  uint16_t NextTag() { return next_tag_++; }

  // The run ends here.
  void Fail(const std::string& what);
  bool failed() const { return !failure_.empty(); }

  // What is traced may be costly to tell.
  bool verbose() const { return verbose_; }
  template <typename... Args>
  void Trace(fmt::format_string<Args...> format, Args&&... args) {
    if (verbose_) Print(fmt::format(format, std::forward<Args>(args)...));
  }

  struct Counts {
    uint64_t steps = 0;
    uint64_t operations = 0;
    uint64_t done = 0;
    uint64_t undecided = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  void Print(const std::string& line) const;
  void LoseDisk(SimNode& node, uint32_t life, Time until);
  bool MayLoseDisk(const SimNode& node);
  void ScheduleFaults();
  void Strike(const Fault& fault);
  void CalmDown();
  void Watch();
  void CheckOrder();
  void CheckClean();
  // Why it is not over yet; empty: it is.
  std::string Unsettled();
  std::string TellChains();
  // Empty: both have the same of the chain.
  std::string Compare(const proto::Chain& chain, uint32_t first, uint32_t second);
  void CompareReplicas();
  void CompareStreams(const proto::Chain& chain);
  void FinalReads();

  const Schedule schedule_;
  const bool verbose_;
  Random random_;
  Scheduler scheduler_;
  std::vector<std::unique_ptr<Actor>> actors_;  // manager, nodes, clients
  std::unique_ptr<Network> network_;
  History history_;
  std::unique_ptr<SimManager> manager_;
  std::vector<std::unique_ptr<SimNode>> nodes_;
  std::vector<std::unique_ptr<SimClient>> clients_;
  std::set<uint32_t> drained_;  // nodes that were, at any time
  bool calm_ = false;
  bool settled_ = false;
  uint16_t next_tag_ = 1;
  std::string failure_;
  Counts counts_;
};

}  // namespace sheaf::sim
