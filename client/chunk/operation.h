#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "client/chunk/chunk_client.h"
#include "common/guarded.h"

namespace sheaf::client {

// One chunk operation. It moves in steps no larger than a server takes in one frame; a step has one
// call under way, or, of a read that is hedged, two.
//
// It is driven by one thread at a time: whoever took it from where it rested. It rests while calls
// are under way, until the last of them ends, and while it waits for its next try, until the delay
// queue or a newer map takes it from there.
struct ChunkClient::Operation {
  // Fixed before it is driven.
  Access access = Access::kRead;
  Place place;
  std::span<uint8_t> into;
  std::span<const uint8_t> from;
  Clock::Instant began{};
  Clock::Instant deadline{};
  Incarnation under;      // the only session it may be sent under; null: any
  size_t list_index = 0;  // in Admission::under_way

  // The driver's. A hedge reads `progress`, `step` and `passed_over`: they rest, too.
  Done done;
  size_t progress = 0;  // bytes of earlier steps
  size_t step = 0;      // bytes asked for in the step under way
  MapVersion map;       // before the route of the last try was looked for
  // Of the present round, in which a read asks each replica once.
  std::vector<TargetId> passed_over;
  bool hopeful = false;  // something failed that may pass
  bool was_corrupt = false;  // an answer was
  int rounds = 0;        // that failed, since the chain last changed
  int failures = 0;
  int corrupt = 0;  // rounds in which one was
  uint32_t crc = 0;          // of the step, for writes
  size_t crc_of = SIZE_MAX;  // progress for which crc was computed
  Incarnation incarnation;
  StreamPool::Lease lease;
  Status last_error;

  // One call.
  struct Sent {
    bool under_way = false;
    bool given_up = false;  // cancelled, or about to be
    uint64_t tag = 0;
    Route route;     // without a connection while a hedge looks for its way
    MapVersion map;  // the newest by which the route was current
    Clock::Instant when{};
  };
  struct Step {
    Sent first;
    Sent hedge;
    bool hedged = false;  // or it was tried
    std::unique_ptr<uint8_t[]> hedge_bytes;
    std::optional<size_t> moved;  // bytes, by the call that won
    bool hedge_won = false;
    std::vector<Status> errors;
  };
  struct Wait {
    bool on = false;
    bool for_map = false;  // a newer map may end it
    uint64_t number = 0;
    MapVersion map;
  };
  struct Resting {
    Step step;
    Wait wait;
  };
  Guarded<Resting> resting;

  size_t size() const { return access == Access::kRead ? into.size() : from.size(); }
  uint32_t step_offset() const { return place.offset + static_cast<uint32_t>(progress); }
  Wanted wanted(std::span<const TargetId> except) const {
    return {place.layout, place.chunk.index, access, except};
  }
  std::string Name() const {
    return (access == Access::kRead ? "read chunk " : "write chunk ") + ToString(place.chunk) +
           " (offset " + std::to_string(place.offset) + ", length " + std::to_string(size()) + ")";
  }
  void BeginRound() {
    passed_over.clear();
    hopeful = false;
    was_corrupt = false;
  }
};

}  // namespace sheaf::client
