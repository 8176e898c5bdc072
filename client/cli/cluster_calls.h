#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "common/status.h"
#include "proto/cluster.pb.h"

namespace sheaf::cli {

// The calls to the cluster manager that starting and changing a cluster takes.
class ClusterCalls {
 public:
  explicit ClusterCalls(const std::string& meta_address);
  ~ClusterCalls();

  Result<proto::ClusterStatus> GetStatus(std::chrono::milliseconds timeout);
  Status CreateChains(uint32_t replicas, uint32_t chains_per_target,
                      std::chrono::milliseconds timeout);
  // Answers in how many chains the new one has become a member.
  Result<uint32_t> ReplaceTarget(uint32_t old_id, uint32_t new_id, bool accept_loss,
                                 std::chrono::milliseconds timeout);
  // Answers of how many chains the node is a member.
  Result<uint32_t> DrainNode(uint32_t node, bool undo, std::chrono::milliseconds timeout);
  Status ResetChain(uint32_t chain, uint32_t target, std::chrono::milliseconds timeout);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sheaf::cli
