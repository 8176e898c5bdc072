#pragma once

#include <chrono>

#include "client/cli/local_cluster.h"

namespace sheaf::cli {

struct StopOptions {
  std::chrono::milliseconds patience{30'000};  // for each daemon, before it is killed
  bool force = false;  // take the mount away from those who use it
};

// Unmounts, then stops the storage servers together, then the metadata service. What does not run
// is left out. kBusy names who uses the mount; nothing is stopped then.
Status StopCluster(const LocalCluster& cluster, const StopOptions& options);

}  // namespace sheaf::cli
