#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace sheaf::client {

// A replica that a read may go to, as its server looks just now.
struct ReplicaState {
  bool up = true;          // says the cluster map
  bool avoided = false;    // failed a moment ago
  bool must_wait = false;  // has no connection, and this read may not wait for one
  bool local = false;      // reached by a Unix socket
  size_t under_way = 0;    // calls
};

// Numbers at random, of which all bits are used; injected, so that tests own them. Thread-safe
// where several threads read.
using Random = std::function<uint32_t()>;

// Where a read goes: of the replicas without a fault, or with the least, the less loaded of two
// picked at random. Two, because the least loaded of all would be everybody's choice at once. With
// equal loads the one on this machine, else the first picked. REQUIRES: there is one.
size_t ChooseReplica(std::span<const ReplicaState> replicas, const Random& random);

}  // namespace sheaf::client
