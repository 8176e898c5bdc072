#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/ids.h"
#include "common/layout.h"
#include "common/status.h"
#include "common/transport/connection.h"
#include "meta/cluster/chain_calls.h"

namespace sheaf::meta {

// How far do the bytes of `data_id` reach? Chunks that end at or below `from_bytes` do not matter.
struct ProbeJob {
  DataId data_id;
  Layout layout;
  uint64_t from_bytes = 0;
};

// Asks storage for the lengths of files. Thread-safe.
class LengthProber {
 public:
  virtual ~LengthProber() = default;

  // For each job the file offset behind its last byte, by the chunks on the chains; at most
  // `from_bytes` when there are none beyond. An error when a chain of its stripe does not answer.
  // Blocks, no longer than to `deadline` (on Clock::System()).
  virtual std::vector<Result<uint64_t>> Reach(std::span<const ProbeJob> jobs,
                                              Clock::Instant deadline) = 0;
};

// Over the framed transport, to the head of each chain.
class FramedLengthProber final : public LengthProber {
 public:
  static constexpr uint32_t kChunksPerCall = 4096;

  // `pool` outlives this.
  FramedLengthProber(transport::ConnectionPool& pool, MapSource map)
      : pool_(pool), map_(std::move(map)) {}

  std::vector<Result<uint64_t>> Reach(std::span<const ProbeJob> jobs,
                                      Clock::Instant deadline) override;

 private:
  transport::ConnectionPool& pool_;
  const MapSource map_;
};

}  // namespace sheaf::meta
