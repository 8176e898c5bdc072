#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "common/status.h"

namespace sheaf {

// Metrics of one process, passed in where they are counted; served as Prometheus text over HTTP.
// Names carry their unit last (sheaf_storage_read_bytes_total, ..._seconds); docs/OPERATIONS.md
// lists every one. Thread-safe.
//
// Handles live as long as the Metrics they come from; adding the same name and labels again
// answers the same handle. What is counted on a hot path is looked up once, when its owner is made:
// counting then takes no lock and no look-up.
class Metrics {
 public:
  using Labels = std::map<std::string, std::string>;

  class Counter {
   public:
    void Add(uint64_t amount = 1) { value_.fetch_add(amount, std::memory_order_relaxed); }
    uint64_t Value() const { return value_.load(std::memory_order_relaxed); }

   private:
    std::atomic<uint64_t> value_{0};
  };

  class Gauge {
   public:
    void Set(double value) { value_.store(value, std::memory_order_relaxed); }
    void Add(double amount) { value_.fetch_add(amount, std::memory_order_relaxed); }
    double Value() const { return value_.load(std::memory_order_relaxed); }

   private:
    std::atomic<double> value_{0};
  };

  // Of times in seconds. A scrape may see an observation in its bucket and not yet in the sum.
  class Histogram {
   public:
    // Upper bounds, each included in its bucket; one more bucket takes what is above the last.
    static constexpr std::array kBounds = {10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3,
                                           2e-3,  5e-3,  10e-3, 20e-3,  50e-3,  0.1,    0.2,
                                           0.5,   1.0,   2.0,   5.0,    10.0,   30.0};

    void Observe(double seconds);
    // Observations in bucket `i` alone, not in those below.
    uint64_t InBucket(size_t i) const { return counts_[i].load(std::memory_order_relaxed); }
    uint64_t Count() const;
    double SumSeconds() const;

   private:
    std::array<std::atomic<uint64_t>, kBounds.size() + 1> counts_{};
    std::atomic<uint64_t> sum_ns_{0};
  };

  Metrics();
  // StopServing, if that was not called.
  ~Metrics();

  Counter& AddCounter(const std::string& name, const std::string& help, const Labels& labels = {});
  Gauge& AddGauge(const std::string& name, const std::string& help, const Labels& labels = {});
  Histogram& AddLatency(const std::string& name, const std::string& help,
                        const Labels& labels = {});
  // Asked at each scrape; must not call back into Metrics. A counter where the name ends in _total.
  void AddCallback(const std::string& name, const std::string& help, const Labels& labels,
                   std::function<double()> value);

  // Serves GET /metrics on "host:port" until StopServing; port 0 chooses a free one. The error
  // names the address: kExists for one in use. Call once.
  Status Serve(const std::string& address);
  // Ends serving and drops the callbacks: what they look at may go then, while handles stay good.
  void StopServing();
  // The port Serve really bound; 0 before.
  uint16_t port() const;
  // The text a scrape would get.
  std::string Text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sheaf
