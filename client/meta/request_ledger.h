#pragma once

#include <cstdint>
#include <set>

#include "common/guarded.h"
#include "common/ids.h"

namespace sheaf::client {

// The mutations of one session that are not answered yet. Thread-safe.
//
// Every request tells the lowest sequence outstanding, and the service forgets results below it:
// so a sequence stays outstanding until its caller will not ask again.
class RequestLedger {
 public:
  explicit RequestLedger(Incarnation incarnation) : incarnation_(incarnation) {}

  Incarnation incarnation() const { return incarnation_; }
  uint64_t Begin();
  void End(uint64_t sequence);
  // REQUIRES: something is outstanding.
  uint64_t Lowest() const;

 private:
  struct State {
    uint64_t next = 1;
    std::set<uint64_t> outstanding;
  };
  const Incarnation incarnation_;
  Guarded<State> state_;
};

}  // namespace sheaf::client
