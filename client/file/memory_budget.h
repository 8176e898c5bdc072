#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>

#include "common/guarded.h"
#include "common/status.h"

namespace sheaf::client {

// A bound on memory that several hold together. Thread-safe.
class MemoryBudget {
 public:
  explicit MemoryBudget(size_t limit) : limit_(limit) {}

  size_t limit() const { return limit_; }
  size_t used() const { return state_.Lock()->used; }

  // Takes `bytes` if they fit, or if nothing else is held: one that is too large alone still goes.
  bool TryReserve(size_t bytes) {
    auto state = state_.Lock();
    if (!Fits(*state, bytes)) return false;
    state->used += bytes;
    return true;
  }
  // Waits for room; false when `timeout` passes first.
  bool Reserve(size_t bytes, std::chrono::milliseconds timeout) {
    auto state = state_.Lock();
    const auto until = std::chrono::steady_clock::now() + timeout;
    if (!state.WaitUntil(freed_, until, [&] { return Fits(*state, bytes); })) return false;
    state->used += bytes;
    return true;
  }
  void Release(size_t bytes) {
    if (bytes == 0) return;
    {
      auto state = state_.Lock();
      CHECK(state->used >= bytes, "more memory given back than was taken");
      state->used -= bytes;
    }
    freed_.notify_all();
  }

 private:
  struct State {
    size_t used = 0;
  };
  bool Fits(const State& state, size_t bytes) const {
    return state.used == 0 || (bytes <= limit_ && state.used <= limit_ - bytes);
  }

  const size_t limit_;
  Guarded<State> state_;
  std::condition_variable freed_;
};

}  // namespace sheaf::client
