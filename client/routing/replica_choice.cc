#include "client/routing/replica_choice.h"

#include <algorithm>
#include <vector>

#include "common/status.h"

namespace sheaf::client {
namespace {

// A server that the map calls down is worse than one that failed a moment ago, that worse than a
// wait for a connection.
int FaultOf(const ReplicaState& replica) {
  return (replica.up ? 0 : 4) + (replica.avoided ? 2 : 0) + (replica.must_wait ? 1 : 0);
}

bool IsBetter(const ReplicaState& a, const ReplicaState& b) {
  return a.under_way != b.under_way ? a.under_way < b.under_way : a.local && !b.local;
}

}  // namespace

size_t ChooseReplica(std::span<const ReplicaState> replicas, const Random& random) {
  DCHECK(!replicas.empty());
  int least = FaultOf(replicas.front());
  for (const ReplicaState& replica : replicas) least = std::min(least, FaultOf(replica));
  std::vector<size_t> best;
  best.reserve(replicas.size());
  for (size_t i = 0; i < replicas.size(); ++i) {
    if (FaultOf(replicas[i]) == least) best.push_back(i);
  }
  if (best.size() == 1) return best.front();
  const size_t first = random() % best.size();
  const size_t other = (first + 1 + random() % (best.size() - 1)) % best.size();
  return IsBetter(replicas[best[other]], replicas[best[first]]) ? best[other] : best[first];
}

}  // namespace sheaf::client
