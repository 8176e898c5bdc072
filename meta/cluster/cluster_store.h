#pragma once

#include <cstdint>

#include "common/status.h"
#include "meta/cluster/fenced_ranges.h"
#include "meta/ops/op_context.h"
#include "proto/cluster.pb.h"

namespace sheaf::meta {

class Executor;

// All durable state of the cluster manager: nodes, targets, chains, chain tables, the map's
// version and the cluster's identity. A standby manager would put its replicated log behind this.
class ClusterStore {
 public:
  virtual ~ClusterStore() = default;

  // The whole map. An empty store answers version 0 and no uuid.
  virtual Result<proto::ClusterMap> Load() = 0;
  // Puts the rows that `change` holds and its version, all or nothing; durable when Ok. After an
  // error the change may or may not have happened: the caller writes the same one again.
  virtual Status Write(const proto::ClusterMap& change) = 0;
  // The sessions that have ended, as committed now.
  virtual Result<FencedRanges> EndedSessions() = 0;
  // First of `count` numbers that are never given out again.
  virtual Result<uint64_t> Allocate(Sequence which, uint64_t count) = 0;
};

// Over the metadata service's one writer. Blocks its caller until the group is committed.
class ExecutorClusterStore final : public ClusterStore {
 public:
  // `executor` outlives this.
  explicit ExecutorClusterStore(Executor& executor) : executor_(executor) {}

  Result<proto::ClusterMap> Load() override;
  Status Write(const proto::ClusterMap& change) override;
  Result<FencedRanges> EndedSessions() override;
  Result<uint64_t> Allocate(Sequence which, uint64_t count) override;

 private:
  Executor& executor_;
};

}  // namespace sheaf::meta
