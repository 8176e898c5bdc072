#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "common/clock.h"

namespace sheaf {

// A clock that stands still until it is told to move. Thread-safe.
class FakeClock final : public Clock {
 public:
  Instant Now() const override { return Instant(now_ns_.load()); }
  int64_t WallNanos() const override { return kStartWallNanos + now_ns_.load(); }

  void Advance(Instant duration) { now_ns_ += duration.count(); }

 private:
  static constexpr int64_t kStartNanos = 1'000'000'000;
  static constexpr int64_t kStartWallNanos = 1'700'000'000'000'000'000;

  std::atomic<int64_t> now_ns_{kStartNanos};
};

}  // namespace sheaf
