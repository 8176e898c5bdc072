#include "client/file/io_gate.h"

namespace sheaf::client {

Status IoGate::EnterShared(std::chrono::milliseconds timeout) {
  auto state = state_.Lock();
  const auto free = [&] { return !state->exclusive && state->waiting_exclusive == 0; };
  if (!free() &&
      !state.WaitUntil(changed_, std::chrono::steady_clock::now() + timeout, free)) {
    return {Code::kDeadline, "read or write: a truncation under way did not end in time"};
  }
  ++state->shared;
  return Status::Ok();
}

void IoGate::LeaveShared() {
  bool notify = false;
  {
    auto state = state_.Lock();
    notify = --state->shared == 0 && state->waiting_exclusive > 0;
  }
  if (notify) changed_.notify_all();
}

Status IoGate::EnterExclusive(std::chrono::milliseconds timeout) {
  auto state = state_.Lock();
  ++state->waiting_exclusive;
  const bool entered = state.WaitUntil(changed_, std::chrono::steady_clock::now() + timeout,
                                       [&] { return !state->exclusive && state->shared == 0; });
  --state->waiting_exclusive;
  if (entered) {
    state->exclusive = true;
    return Status::Ok();
  }
  changed_.notify_all();
  return {Code::kDeadline, "truncate: reads and writes under way did not end in time"};
}

void IoGate::LeaveExclusive() {
  state_.Lock()->exclusive = false;
  changed_.notify_all();
}

}  // namespace sheaf::client
