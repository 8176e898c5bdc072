#pragma once

#include <condition_variable>
#include <cstdint>
#include <optional>

#include "client/file/write_buffer.h"
#include "common/guarded.h"
#include "common/ids.h"
#include "common/status.h"

namespace sheaf::client {

// What write-behind keeps of one file; a part of InodeState. Only WriteBehind and
// InodeState::Adopt reach into it.
struct FileWrites {
  struct State {
    std::optional<WriteBuffer> buffer;  // made by the first write
    size_t charged = 0;                 // of the budget
    Incarnation incarnation;            // under which what is dirty was written
    uint64_t flush_mark = 0;            // what was written through it is wanted on the chains
    bool paused = false;                // nothing new is sent
    bool queued = false;                // the timer knows of it

    uint64_t failures = 0;  // so far; a handle has been told of some number of them
    Status last_failure;

    bool empty() const { return !buffer || buffer->empty(); }
  };

  Guarded<State> state;
  std::condition_variable changed;  // something was answered or dropped
};

}  // namespace sheaf::client
