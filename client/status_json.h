#pragma once

#include <string>

#include "proto/cluster.pb.h"

namespace sheaf::client {

// The cluster's state as the one JSON object of `sheaf status --json`. `local_boot_id` decides
// whose process ids mean something here.
std::string FormatStatus(const proto::ClusterStatus& status, const std::string& local_boot_id);

}  // namespace sheaf::client
