#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/guarded.h"
#include "common/ids.h"
#include "common/layout.h"
#include "common/status.h"
#include "common/stream_pool.h"
#include "common/transport/connection.h"
#include "meta/cluster/chain_calls.h"
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

  // One status a job: Ok when every chain of its stripe has durably done it, and no earlier attempt
  // can take effect any more. Blocks, no longer than to `deadline` (on Clock::System()).
  // REQUIRES: one call at a time is about a data_id.
  virtual std::vector<Status> Trim(std::span<const TrimJob> jobs, Clock::Instant deadline) = 0;
};

// Over the framed transport, to the head of each chain. The calls of all jobs are under way
// together, at most ChainCalls::kMaxCalls at a time.
//
// Calls carry the service's own session, so that those of a service that died are fenced, and
// streams, so that one that comes late is refused. A call about a living file that was not answered
// leaves its stream with the file's part on that chain: the next attempt goes there under the same
// stream, with a higher sequence, before the job can be done.
class FramedChunkTrimmer final : public ChunkTrimmer {
 public:
  // The session to name; an error while nothing may be trimmed.
  using Identity = std::function<Result<Incarnation>()>;

  static constexpr uint32_t kChunksPerCall = 1024;

  // `pool` outlives this.
  FramedChunkTrimmer(transport::ConnectionPool& pool, MapSource map, Identity identity)
      : pool_(pool), map_(std::move(map)), identity_(std::move(identity)) {}

  std::vector<Status> Trim(std::span<const TrimJob> jobs, Clock::Instant deadline) override;

 private:
  class Trimming;

  StreamPool::Lease TakeStream(DataId data_id, uint32_t chain);
  void KeepStream(DataId data_id, uint32_t chain, const StreamPool::Lease& lease);

  transport::ConnectionPool& pool_;
  const MapSource map_;
  const Identity identity_;
  StreamPool streams_;
  // Of calls without an answer; as many as there are truncates that cannot be finished.
  Guarded<std::map<std::pair<DataId, uint32_t>, StreamPool::Lease>> unanswered_;
};

}  // namespace sheaf::meta
