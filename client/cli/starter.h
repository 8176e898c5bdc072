#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "client/cli/cluster_calls.h"
#include "client/cli/local_cluster.h"
#include "client/cli/process.h"

namespace sheaf::cli {

// Brings the daemons of a local cluster up, each only if it does not run. When anything fails, what
// this object started is stopped again and the error has the last lines of the culprit's log.
// Order: metadata service, storage servers, chains, mount. Not thread-safe.
class Starter {
 public:
  struct Options {
    std::optional<uint32_t> replicas;    // asked for; absent: as they are
    uint32_t new_replicas = 1;           // of a new cluster, when absent
    bool mount = true;
    std::chrono::milliseconds wait{60'000};  // for everything together
  };

  Starter(LocalCluster& cluster, const Options& options);

  Status Run();
  // Daemons that Run started.
  size_t started() const { return started_.size(); }

 private:
  struct Started {
    Daemon daemon;
    Process process;
    size_t output_start;  // bytes of earlier output
  };

  Status StartAll();
  Status StartDaemon(const Daemon& daemon);
  Status StartMount();
  // Until `ready` answers Ok; ends early when a started daemon dies. The last refusal is the error.
  template <typename Ready>
  Status WaitUntil(const std::string& what, Ready ready);
  Status CheckStarted();
  Status NodesAreUp(ClusterCalls& calls);
  Status ChainsServe(ClusterCalls& calls);
  Status MakeChains(ClusterCalls& calls);
  std::string SuspectWords() const;
  void StopStarted();

  LocalCluster& cluster_;
  const Options options_;
  const std::chrono::steady_clock::time_point deadline_;
  std::vector<Started> started_;
};

}  // namespace sheaf::cli
