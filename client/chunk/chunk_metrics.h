#pragma once

#include <array>
#include <cstddef>

#include "common/metrics.h"

namespace sheaf::client {

// Chunk operations, their bytes, errors, retries and latency, reads and writes apart; what became
// of reads at other replicas. Thread-safe.
class ChunkMetrics {
 public:
  explicit ChunkMetrics(Metrics& metrics)
      : corrupt_(metrics.AddCounter("sheaf_client_checksum_mismatches_total",
                                    "Chunk reads that arrived with a wrong checksum")),
        failovers_(metrics.AddCounter("sheaf_client_chunk_failovers_total",
                                      "Chunk reads sent to another replica after a failure")),
        hedges_(metrics.AddCounter("sheaf_client_chunk_hedges_total",
                                   "Chunk reads sent to a second replica as the first was slow")),
        hedges_won_(metrics.AddCounter("sheaf_client_chunk_hedges_won_total",
                                       "Of those, answered by the second replica first")) {
    for (const bool write : {false, true}) {
      const Metrics::Labels labels = {{"operation", write ? "write" : "read"}};
      series_[write] = {
          &metrics.AddCounter("sheaf_client_chunk_operations_total", "Chunk operations ended",
                              labels),
          &metrics.AddCounter("sheaf_client_chunk_errors_total",
                              "Chunk operations that failed in the end", labels),
          &metrics.AddCounter("sheaf_client_chunk_retries_total",
                              "Tries of chunk operations that failed and were repeated", labels),
          &metrics.AddCounter("sheaf_client_chunk_reroutes_total",
                              "Calls given up and sent anew because their chain had moved on",
                              labels),
          &metrics.AddCounter("sheaf_client_chunk_bytes_total",
                              "Bytes of chunk operations that went well", labels),
          &metrics.AddLatency("sheaf_client_chunk_operation_seconds",
                              "A chunk operation with its waits and retries", labels)};
    }
  }

  void CountEnd(bool write, bool ok, size_t bytes, double seconds) {
    const Series& series = series_[write];
    series.operations->Add();
    if (ok) {
      series.bytes->Add(bytes);
    } else {
      series.errors->Add();
    }
    series.latency->Observe(seconds);
  }
  void CountRetry(bool write) { series_[write].retries->Add(); }
  void CountReroute(bool write) { series_[write].reroutes->Add(); }
  void CountCorrupt() { corrupt_.Add(); }
  void CountFailover() { failovers_.Add(); }
  void CountHedge() { hedges_.Add(); }
  void CountHedgeWon() { hedges_won_.Add(); }

 private:
  struct Series {
    Metrics::Counter* operations = nullptr;
    Metrics::Counter* errors = nullptr;
    Metrics::Counter* retries = nullptr;
    Metrics::Counter* reroutes = nullptr;
    Metrics::Counter* bytes = nullptr;
    Metrics::Histogram* latency = nullptr;
  };
  std::array<Series, 2> series_;  // reads, writes
  Metrics::Counter& corrupt_;
  Metrics::Counter& failovers_;
  Metrics::Counter& hedges_;
  Metrics::Counter& hedges_won_;
};

}  // namespace sheaf::client
