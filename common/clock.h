#pragma once

#include <chrono>
#include <cstdint>

namespace sheaf {

// Where time comes from; passed in, so that tests and the simulator own it. Thread-safe.
class Clock {
 public:
  // Since boot, suspended time included (CLOCK_BOOTTIME): leases and deadlines.
  using Instant = std::chrono::nanoseconds;

  virtual ~Clock() = default;
  virtual Instant Now() const = 0;
  // Nanoseconds since 1970-01-01 UTC: file times only.
  virtual int64_t WallNanos() const = 0;

  // The machine's clocks. Stateless; lives for the program.
  static const Clock& System();
};

}  // namespace sheaf
