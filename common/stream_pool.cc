#include "common/stream_pool.h"

namespace sheaf {

StreamPool::Lease StreamPool::Acquire() {
  auto state = state_.Lock();
  if (state->free.empty()) return {.stream = ++state->streams, .sequence = 1};
  Lease lease = state->free.back();
  state->free.pop_back();
  ++lease.sequence;
  return lease;
}

void StreamPool::Release(const Lease& lease) { state_.Lock()->free.push_back(lease); }

}  // namespace sheaf
