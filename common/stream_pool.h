#pragma once

#include <cstdint>
#include <vector>

#include "common/guarded.h"

namespace sheaf {

// The numbers by which a chain recognises a repeated write: (incarnation, stream, sequence).
// Thread-safe.
//
// 1. One write at a time uses a stream, so a replica keeps one result a stream, not one a write.
// 2. Sequences of a stream rise; a late duplicate of an older one is recognised as such.
class StreamPool {
 public:
  struct Lease {
    uint32_t stream = 0;  // from 1
    uint64_t sequence = 0;
  };

  // A stream nobody uses, with its next sequence. There are as many streams as writes were ever
  // under way at once.
  Lease Acquire();
  // The next sequence on a stream held.
  void Advance(Lease& lease) { ++lease.sequence; }
  void Release(const Lease& lease);

 private:
  struct State {
    std::vector<Lease> free;
    uint32_t streams = 0;
  };
  Guarded<State> state_;
};

}  // namespace sheaf
