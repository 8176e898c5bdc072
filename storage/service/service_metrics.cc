#include "storage/service/service_metrics.h"

namespace sheaf::storage {

const char* MethodName(transport::Method method) {
  static constexpr const char* kNames[kMethodCount] = {
      "none", "read", "write", "truncate", "remove", "list", "space", "health", "echo"};
  const auto number = static_cast<size_t>(method);
  return number < kMethodCount ? kNames[number] : kNames[0];
}

ServiceMetrics::ServiceMetrics(Metrics& metrics, const std::string& plane)
    : bytes_in_(metrics.AddCounter("sheaf_storage_received_bytes_total", "Payload bytes received",
                                   {{"plane", plane}})),
      bytes_out_(metrics.AddCounter("sheaf_storage_sent_bytes_total", "Payload bytes answered",
                                    {{"plane", plane}})) {
  for (size_t i = 0; i < kMethodCount; ++i) {
    const Metrics::Labels labels = {{"plane", plane},
                                    {"method", MethodName(static_cast<transport::Method>(i))}};
    series_[i] = {&metrics.AddCounter("sheaf_storage_requests_total", "Requests answered", labels),
                  &metrics.AddCounter("sheaf_storage_errors_total",
                                      "Requests answered with an error", labels),
                  &metrics.AddLatency("sheaf_storage_request_seconds",
                                      "From a request's arrival to its answer", labels)};
  }
}

void ServiceMetrics::Count(transport::Method method, bool ok, Clock::Instant took, size_t bytes_in,
                           size_t bytes_out) {
  const auto number = static_cast<size_t>(method);
  Series& series = series_[number < kMethodCount ? number : 0];
  series.requests->Add();
  if (!ok) series.errors->Add();
  series.latency->Observe(std::chrono::duration<double>(took).count());
  if (bytes_in > 0) bytes_in_.Add(bytes_in);
  if (bytes_out > 0) bytes_out_.Add(bytes_out);
}

}  // namespace sheaf::storage
