#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "common/status.h"
#include "proto/cluster.pb.h"

namespace sheaf::cli {

// The calls to the cluster manager that starting a cluster takes.
class ClusterCalls {
 public:
  explicit ClusterCalls(const std::string& meta_address);
  ~ClusterCalls();

  Result<proto::ClusterStatus> GetStatus(std::chrono::milliseconds timeout);
  Status CreateChains(uint32_t replicas, uint32_t chains_per_target,
                      std::chrono::milliseconds timeout);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sheaf::cli
