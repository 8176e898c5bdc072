#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>

#include "common/clock.h"
#include "common/guarded.h"

namespace sheaf::client {

// When a read that is not answered is sent to a second replica too, and how often that may be.
// Thread-safe.
//
// 1. Of any kWindow reads in a row at most kShare are hedged, and of the first ones as many as
//    that share allows: where every server is slow, hedging makes it worse.
// 2. Hedges under way hold at most kMaxBytes.
class Hedging {
 public:
  static constexpr uint64_t kWindow = 1000;  // reads
  static constexpr uint64_t kShare = 20;     // one in so many
  static constexpr size_t kMaxBytes = 32 << 20;
  static constexpr std::chrono::milliseconds kMinDelay{10};
  // While too few reads of a size were answered to say.
  static constexpr std::chrono::milliseconds kFirstDelay{100};
  static constexpr std::chrono::milliseconds kMinPatience{1000};

  // A read of so many bytes is sent, for the first time.
  void CountRead();
  // One was answered, after so long.
  void Observe(size_t bytes, Clock::Instant took);

  // How long one of this size waits before it is hedged: what 95 % of the recent ones took at most.
  Clock::Instant Delay(size_t bytes) const;
  // How long it may take at all where another replica can be asked: much longer than is usual.
  Clock::Instant Patience(size_t bytes) const;

  // Whether one more may be hedged; it then counts, and holds `bytes` until End.
  bool Begin(size_t bytes);
  void End(size_t bytes);

 private:
  // Durations of one size class: how many took between 2^(i/4) and 2^((i+1)/4) us, or so.
  static constexpr size_t kSteps = 4 * 26;
  static constexpr uint32_t kEnough = 20;
  static constexpr uint32_t kForget = 1024;  // then each counts half
  static constexpr uint32_t kLookAgain = 32;
  struct Durations {
    std::array<uint32_t, kSteps> counts{};
    uint32_t total = 0;
    Clock::Instant percentile95{};  // looked up by each read, so kept; zero while unknown
  };
  struct Budget {
    uint64_t reads = 0;
    std::deque<uint64_t> hedged;  // `reads` at each hedge within the window
    size_t bytes = 0;
  };

  static size_t ClassOf(size_t bytes);
  static Clock::Instant Percentile95(const Durations& durations);

  std::array<Guarded<Durations>, 4> classes_;  // by size
  Guarded<Budget> budget_;
};

}  // namespace sheaf::client
