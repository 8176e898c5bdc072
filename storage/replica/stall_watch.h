#pragma once

#include <chrono>
#include <cstdint>

#include "common/clock.h"

namespace sheaf::storage {

// Whether a target's disk hangs: changes are under way, and none has ended in kRounds looks in a row,
// which are at least kEvery apart. Looks are counted rather than time, so that a process that was
// stopped finds no fault with its disk. No I/O. Not thread-safe.
class StallWatch {
 public:
  static constexpr std::chrono::milliseconds kEvery{500};
  static constexpr uint32_t kRounds = 10;

  // As counted since the start.
  bool Look(uint64_t begun, uint64_t ended, Clock::Instant now) {
    if (ended != ended_ || begun == ended) rounds_ = 0;
    ended_ = ended;
    if (begun == ended || now < next_look_) return IsStalled();
    next_look_ = now + kEvery;
    ++rounds_;
    return IsStalled();
  }
  bool IsStalled() const { return rounds_ > kRounds; }

 private:
  uint64_t ended_ = 0;
  uint32_t rounds_ = 0;
  Clock::Instant next_look_{};
};

}  // namespace sheaf::storage
