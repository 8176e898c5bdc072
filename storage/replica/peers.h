#pragma once

#include <string>

#include "common/ids.h"
#include "common/transport/connection.h"

namespace sheaf::storage {

// The way to the replicas of other nodes, by target. Calls to one target that are begun one after
// the other arrive in that order while nothing is lost.
//
// Thread-safe; Call never blocks. `done` runs exactly once, on a thread of its own: never inside
// Call.
class Peers {
 public:
  virtual ~Peers() = default;
  virtual void Call(TargetId to, transport::Call call, transport::Done done) = 0;
  // Whether it is worth sending it a large payload ahead of its change. Thread-safe.
  virtual bool TakesStages(TargetId /*to*/) { return true; }
};

}  // namespace sheaf::storage
