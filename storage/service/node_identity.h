#pragma once

#include <string>
#include <vector>

#include "common/status.h"

namespace sheaf::storage {

// Who a storage server is, kept in its target directories beside each target's own marker:
//
//   NODE     in all of them: the node's uuid, so that a server keeps its id when it restarts,
//            whichever of its disks are replaced
//   CLUSTER  in all of them: the uuid of the cluster whose chunks they hold, so that a target is
//            never served to another
//
// Each is one line of text, written durably.
struct NodeIdentity {
  std::string node_uuid;
  std::string cluster_uuid;  // empty until the first registration
};

// Reads it, makes the node's uuid when there is none, and puts it where it is missing. kInvalid
// names two directories that belong to different nodes or clusters; kCorrupt a file that holds no
// uuid.
Result<NodeIdentity> LoadNodeIdentity(const std::vector<std::string>& target_directories);

// Makes the cluster's uuid durable in every directory. kInvalid when one belongs to another.
Status RememberCluster(const std::vector<std::string>& target_directories,
                       const std::string& cluster_uuid);

}  // namespace sheaf::storage
