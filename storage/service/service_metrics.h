#pragma once

#include <array>
#include <atomic>
#include <string>

#include "common/clock.h"
#include "common/metrics.h"
#include "common/transport/frame.h"

namespace sheaf::storage {

inline constexpr size_t kMethodCount = 9;  // transport::Method numbers 0 to 8
const char* MethodName(transport::Method method);

// Requests, errors and latency by method and plane, bytes in and out. Thread-safe.
class ServiceMetrics {
 public:
  // `plane` is a label: "framed" or "grpc".
  ServiceMetrics(Metrics& metrics, const std::string& plane);

  void Count(transport::Method method, bool ok, Clock::Instant took, size_t bytes_in,
             size_t bytes_out);

 private:
  struct Series {
    Metrics::Counter* requests = nullptr;
    Metrics::Counter* errors = nullptr;
    Metrics::Histogram* latency = nullptr;
  };
  std::array<Series, kMethodCount> series_;
  Metrics::Counter& bytes_in_;
  Metrics::Counter& bytes_out_;
};

}  // namespace sheaf::storage
