#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "common/clock.h"
#include "common/status.h"

namespace sheaf::storage {

// Holds a thread that moves bytes in the background to a set rate. Thread-safe.
class Pacer {
 public:
  // 0: no limit.
  explicit Pacer(uint64_t bytes_per_s) : bytes_per_s_(bytes_per_s) {}

  // Waits until `bytes` more may be moved. kCancelled once stopped.
  Status Take(uint64_t bytes);
  // Waits, but not after Stop: then false.
  bool Rest(std::chrono::nanoseconds time);
  void Stop();
  bool stopping() const;
  // Moved in the last whole second.
  uint64_t rate() const;
  // Moved in all.
  uint64_t total() const;

 private:
  void Count(uint64_t bytes, Clock::Instant now);

  const uint64_t bytes_per_s_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // All under mutex_.
  bool stopping_ = false;
  Clock::Instant paced_until_{};
  Clock::Instant second_began_{};
  uint64_t this_second_ = 0;
  uint64_t last_second_ = 0;
  uint64_t total_ = 0;
};

}  // namespace sheaf::storage
