#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/sim/network.h"
#include "tests/sim/scheduler.h"

namespace sheaf::sim {

// One thing that goes wrong, as data.
struct Fault {
  enum class Kind : uint8_t {
    kKill,         // node; boots again after `lasts`
    kFreeze,       // node
    kCut,          // from node (0: the manager) to other, one way
    kSplit,        // both ways between node and everyone, clients too
    kWeather,      // the whole network
    kFullDisk,     // node
    kBrokenDisk,   // node, until it is restarted, which happens after `lasts`
    kLostDisk,     // node is killed; an empty disk takes the place of its own
    kDrain,        // node is drained; undone at the end where `other` is even
    kReplace,      // node's replicas move to node 1 + `other`
    kRot,          // node, chunk `other`
    kFlakyDisk,    // node: `other` percent of the changes find no space
    kSlowDisk,     // node
    kSlowNode,     // node: its messages take up to `other` ms longer
    kManagerDown,  // restarts after `lasts`
    kFreezeManager,
    kClockJump,   // node, forward by `lasts`
    kEndSession,  // of client `other`
    kFreezeClient,
  };
  Kind kind = Kind::kKill;
  Time at = 0;
  Time lasts = 0;
  uint32_t node = 0;
  uint32_t other = 0;
  Network::Weather weather;

  std::string ToString() const;
};

// Everything about a run that is not in the code.
struct Schedule {
  uint64_t seed = 0;
  uint32_t nodes = 3;
  uint32_t clients = 3;
  uint32_t streams = 1;                       // of each client
  uint32_t chunks = 3;                        // of each chain
  std::vector<std::vector<uint32_t>> chains;  // members, by node
  Time faulty = 3 * kSecond;                  // faults and new operations come before this
  Time settles = 60 * kSecond;                // all must be well this long after
  Time think = 40 * kMillisecond;
  uint32_t zombie_percent = 0;     // of clients: they go on after their session has ended
  std::vector<int32_t> drift_ppm;  // by node; 0: the manager
  std::vector<Fault> faults;

  static Schedule FromSeed(uint64_t seed);
  std::string ToString() const;
};

}  // namespace sheaf::sim
