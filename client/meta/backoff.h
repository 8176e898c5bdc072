#pragma once

#include <algorithm>
#include <chrono>
#include <random>
#include <thread>

namespace sheaf::client {

// Waits between tries, longer each time, with jitter, so that clients that failed together do not
// come again together; never past the deadline. Not thread-safe; Wait() blocks.
class Backoff {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit Backoff(Time deadline) : deadline_(deadline) {}

  // False, at once, when the deadline would have come.
  bool Wait() {
    using std::chrono::milliseconds;
    thread_local std::minstd_rand random(std::random_device{}());
    const double jitter = std::uniform_real_distribution<>(0.5, 1.0)(random);
    const auto wait = std::chrono::duration_cast<milliseconds>(wait_ * jitter) + milliseconds(1);
    wait_ = std::min(wait_ * 2, kMax);
    if (std::chrono::steady_clock::now() + wait >= deadline_) return false;
    std::this_thread::sleep_for(wait);
    return true;
  }

 private:
  static constexpr std::chrono::milliseconds kMin{5};
  static constexpr std::chrono::milliseconds kMax{500};

  const Time deadline_;
  std::chrono::milliseconds wait_ = kMin;
};

}  // namespace sheaf::client
