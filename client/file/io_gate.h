#pragma once

#include <chrono>
#include <condition_variable>

#include "common/guarded.h"
#include "common/status.h"

namespace sheaf::client {

// A shared/exclusive lock that, unlike std::shared_mutex, may be left by another thread than the
// one that entered: reads and writes enter on the caller's thread and leave where their answer
// arrives. One that waits to enter exclusively holds up later shared ones. Thread-safe.
class IoGate {
 public:
  // kDeadline when `timeout` passes first.
  Status EnterShared(std::chrono::milliseconds timeout);
  void LeaveShared();
  Status EnterExclusive(std::chrono::milliseconds timeout);
  void LeaveExclusive();

 private:
  struct State {
    size_t shared = 0;
    size_t waiting_exclusive = 0;
    bool exclusive = false;
  };
  Guarded<State> state_;
  std::condition_variable changed_;
};

// Holds the gate exclusively until the end of the scope.
class ExclusiveIo {
 public:
  static Result<ExclusiveIo> Enter(IoGate& gate, std::chrono::milliseconds timeout) {
    RETURN_IF_ERROR(gate.EnterExclusive(timeout));
    return ExclusiveIo(gate);
  }
  ExclusiveIo(ExclusiveIo&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
  ExclusiveIo& operator=(ExclusiveIo&&) = delete;
  ~ExclusiveIo() {
    if (gate_ != nullptr) gate_->LeaveExclusive();
  }

 private:
  explicit ExclusiveIo(IoGate& gate) : gate_(&gate) {}
  IoGate* gate_;
};

}  // namespace sheaf::client
