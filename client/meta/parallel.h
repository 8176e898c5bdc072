#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace sheaf::client {

// Calls `each(i)` for every i below `count`, on at most `threads` threads (this one among them);
// returns when all have. For calls that wait for a server and end by a deadline of their own.
template <typename Each>
void ParallelFor(size_t count, size_t threads, const Each& each) {
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) each(i);
  };
  std::vector<std::thread> others;
  for (size_t i = 1; i < std::min(count, threads); ++i) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
}

}  // namespace sheaf::client
