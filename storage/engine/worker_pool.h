#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "common/guarded.h"

namespace sheaf::storage {

// The engine's own threads for what blocks and may not run on an I/O context: index look-ups and
// scans, opening slabs. Tasks start in order.
//
// Thread-safe. Stop (or the destructor) runs what is queued, then joins.
class WorkerPool {
 public:
  static constexpr size_t kMaxQueued = 65536;

  explicit WorkerPool(int threads);
  ~WorkerPool();

  // False when the queue is full or the pool stops: answer busy.
  [[nodiscard]] bool Submit(std::function<void()> task);
  // For an owner whose tasks use what dies before the pool. Not from a task.
  void Stop();
  size_t Queued() const { return state_.Lock()->tasks.size(); }

 private:
  struct State {
    std::deque<std::function<void()>> tasks;
    bool stopping = false;
  };
  void Run();

  Guarded<State> state_;
  std::condition_variable changed_;
  std::vector<std::thread> threads_;
};

}  // namespace sheaf::storage
