#include "client/chunk/delay_queue.h"

namespace sheaf::client {

DelayQueue::DelayQueue(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Loop(); });
}

DelayQueue::~DelayQueue() {
  state_.Lock()->stopping = true;
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void DelayQueue::Post(Clock::Instant when, Work work) {
  {
    auto state = state_.Lock();
    state->items.push({when, state->next_order++, std::move(work)});
  }
  changed_.notify_one();
}

void DelayQueue::Loop() {
  for (;;) {
    Work work;
    {
      auto state = state_.Lock();
      for (;;) {
        if (state->stopping) return;
        if (state->items.empty()) {
          state.Wait(changed_, [&] { return state->stopping || !state->items.empty(); });
          continue;
        }
        const auto wait = state->items.top().when - Clock::System().Now();
        if (wait <= Clock::Instant::zero()) break;
        // Wakes early for new work, which may be due sooner.
        const uint64_t seen = state->next_order;
        state.WaitUntil(changed_, std::chrono::steady_clock::now() + wait,
                        [&] { return state->stopping || state->next_order != seen; });
      }
      work = state->items.top().work;
      state->items.pop();
    }
    work();
  }
}

}  // namespace sheaf::client
