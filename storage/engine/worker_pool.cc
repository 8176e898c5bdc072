#include "storage/engine/worker_pool.h"

namespace sheaf::storage {

WorkerPool::WorkerPool(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

WorkerPool::~WorkerPool() { Stop(); }

void WorkerPool::Stop() {
  state_.Lock()->stopping = true;
  changed_.notify_all();
  for (auto& thread : threads_) thread.join();
  threads_.clear();
}

bool WorkerPool::Submit(std::function<void()> task) {
  {
    auto state = state_.Lock();
    if (state->stopping || state->tasks.size() >= kMaxQueued) return false;
    state->tasks.push_back(std::move(task));
  }
  changed_.notify_one();
  return true;
}

void WorkerPool::Run() {
  while (true) {
    std::function<void()> task;
    {
      auto state = state_.Lock();
      state.Wait(changed_, [&] { return state->stopping || !state->tasks.empty(); });
      if (state->tasks.empty()) return;
      task = std::move(state->tasks.front());
      state->tasks.pop_front();
    }
    task();
  }
}

}  // namespace sheaf::storage
