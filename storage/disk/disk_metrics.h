#pragma once

#include <array>
#include <cstddef>

#include "common/metrics.h"

namespace sheaf::storage {

// Transfers, bytes, errors and latency of the disks, reads and writes apart. Thread-safe.
class DiskMetrics {
 public:
  explicit DiskMetrics(Metrics& metrics) {
    for (const bool write : {false, true}) {
      const Metrics::Labels labels = {{"operation", write ? "write" : "read"}};
      series_[write] = {
          &metrics.AddCounter("sheaf_storage_disk_transfers_total", "Disk transfers ended", labels),
          &metrics.AddCounter("sheaf_storage_disk_errors_total", "Disk transfers that failed",
                              labels),
          &metrics.AddCounter("sheaf_storage_disk_bytes_total", "Bytes of transfers that went well",
                              labels),
          &metrics.AddLatency("sheaf_storage_disk_transfer_seconds",
                              "From handing a transfer to io_uring to its end", labels)};
    }
  }

  void Count(bool write, bool ok, size_t bytes, double seconds) {
    const Series& series = series_[write];
    series.transfers->Add();
    if (ok) {
      series.bytes->Add(bytes);
    } else {
      series.errors->Add();
    }
    series.latency->Observe(seconds);
  }

 private:
  struct Series {
    Metrics::Counter* transfers = nullptr;
    Metrics::Counter* errors = nullptr;
    Metrics::Counter* bytes = nullptr;
    Metrics::Histogram* latency = nullptr;
  };
  std::array<Series, 2> series_;  // reads, writes
};

}  // namespace sheaf::storage
