#pragma once

#include <string>

#include "common/clock.h"
#include "common/metrics.h"
#include "common/status.h"

namespace sheaf::meta {

// How often a call was made, how often it failed, how long it took.
class CallMetrics {
 public:
  CallMetrics(Metrics& metrics, const std::string& service, const std::string& call)
      : calls_(metrics.AddCounter("sheaf_meta_calls_total", "Calls answered",
                                  {{"service", service}, {"call", call}})),
        errors_(metrics.AddCounter("sheaf_meta_call_errors_total", "Calls answered with an error",
                                   {{"service", service}, {"call", call}})),
        latency_(metrics.AddLatency("sheaf_meta_call_seconds", "From decoding a call to its answer",
                                    {{"service", service}, {"call", call}})) {}

  void Record(Clock::Instant begin, const Status& status) {
    calls_.Add();
    if (!status.ok()) errors_.Add();
    latency_.Observe(std::chrono::duration<double>(Clock::System().Now() - begin).count());
  }

 private:
  Metrics::Counter& calls_;
  Metrics::Counter& errors_;
  Metrics::Histogram& latency_;
};

}  // namespace sheaf::meta
