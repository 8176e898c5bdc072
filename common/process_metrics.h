#pragma once

#include "common/metrics.h"

namespace sheaf {

// What Prometheus' own client libraries say of every process (CPU time, memory, descriptors, start
// time), and sheaf_build_info. Read from /proc at each scrape.
void AddProcessMetrics(Metrics& metrics);

}  // namespace sheaf
