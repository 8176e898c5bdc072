#pragma once

#include <chrono>
#include <thread>

namespace sheaf::testing {

// Whether `condition` comes true before a generous deadline: for what another thread does in its
// own time and tells nobody.
template <typename Condition>
bool Eventually(Condition condition, std::chrono::seconds limit = std::chrono::seconds(30)) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return condition();
    std::this_thread::yield();
  }
  return true;
}

}  // namespace sheaf::testing
