#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "common/clock.h"
#include "common/ids.h"
#include "common/layout.h"
#include "common/status.h"
#include "common/transport/connection.h"
#include "proto/cluster.pb.h"

namespace sheaf::meta {

// Everything of `data_id` from byte `keep_bytes` on is to go.
struct TrimJob {
  DataId data_id;
  Layout layout;
  uint64_t keep_bytes = 0;
};

// What the metadata service asks of storage. Idempotent. Thread-safe.
class ChunkTrimmer {
 public:
  virtual ~ChunkTrimmer() = default;

  // One status a job: Ok when every chain of its stripe has durably done it. Blocks, no longer
  // than to `deadline` (on Clock::System()).
  virtual std::vector<Status> Trim(std::span<const TrimJob> jobs, Clock::Instant deadline) = 0;
};

// Over the framed transport, to the head of each chain. The calls of all jobs are under way
// together, at most kMaxCalls at a time.
class FramedChunkTrimmer final : public ChunkTrimmer {
 public:
  using MapSource = std::function<std::shared_ptr<const proto::ClusterMap>()>;

  static constexpr size_t kMaxCalls = 1024;
  static constexpr uint32_t kChunksPerCall = 1024;

  // `pool` outlives this.
  FramedChunkTrimmer(transport::ConnectionPool& pool, MapSource map)
      : pool_(pool), map_(std::move(map)) {}

  std::vector<Status> Trim(std::span<const TrimJob> jobs, Clock::Instant deadline) override;

 private:
  transport::ConnectionPool& pool_;
  const MapSource map_;
};

}  // namespace sheaf::meta
