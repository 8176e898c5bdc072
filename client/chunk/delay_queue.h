#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <queue>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/guarded.h"

namespace sheaf::client {

// Runs work at a later time on a few threads of its own: retries, and whatever would block a
// receiving thread. Work may block for a connect, hence several threads. Destruction drops what
// has not begun: its owner waits for its own operations first. Thread-safe.
class DelayQueue {
 public:
  using Work = std::function<void()>;

  explicit DelayQueue(int threads);
  ~DelayQueue();

  // Runs `work` at `when` (on Clock::System()) or soon after.
  void Post(Clock::Instant when, Work work);
  // Work that has not begun.
  size_t size() const { return state_.Lock()->items.size(); }

 private:
  struct Item {
    Clock::Instant when;
    uint64_t order;  // first come first served among equals
    Work work;
    friend bool operator<(const Item& a, const Item& b) {
      return a.when != b.when ? a.when > b.when : a.order > b.order;
    }
  };
  struct State {
    std::priority_queue<Item> items;
    uint64_t next_order = 0;
    bool stopping = false;
  };

  void Loop();

  Guarded<State> state_;
  std::condition_variable changed_;
  std::vector<std::thread> threads_;
};

}  // namespace sheaf::client
