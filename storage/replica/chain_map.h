#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/ids.h"
#include "proto/cluster.pb.h"

namespace sheaf::storage {

// What one node needs of a cluster map, as an immutable value.

struct MemberView {
  TargetId target;
  NodeId node;
  proto::TargetState state = proto::TARGET_STATE_UNSPECIFIED;
  bool leaving = false;
};

struct ChainView {
  ChainId id;
  ChainVersion version;
  std::vector<MemberView> members;  // head first
  size_t local_member = 0;          // ours, in `members`
  size_t local_target = 0;          // ours, in the node's own list of targets

  const MemberView& local() const { return members[local_member]; }
};

struct ChainMap {
  MapVersion version;
  std::string cluster_uuid;
  std::unordered_map<ChainId, ChainView> chains;  // only those with a member here
  std::vector<proto::IncarnationRange> fenced;    // rising, disjoint
  std::vector<TargetId> local_targets;  // ids of the node's own targets; 0 where it has none yet

  bool IsFenced(Incarnation incarnation) const;
};

// The view of the node whose targets have `target_uuids`. Chains with no member of ours are left
// out, members that name no known target too.
ChainMap BuildChainMap(const proto::ClusterMap& map, const std::vector<std::string>& target_uuids);

}  // namespace sheaf::storage
