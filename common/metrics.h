#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "common/status.h"

namespace sheaf {

// Metrics of one process, passed in where they are counted; served as Prometheus text over HTTP.
// Names carry their unit last (sheaf_storage_read_bytes_total, ..._seconds). Thread-safe.
// Handles live as long as the Metrics they come from; adding the same name and labels again
// answers the same handle.
class Metrics {
 public:
  using Labels = std::map<std::string, std::string>;

  class Counter {
   public:
    virtual ~Counter() = default;
    virtual void Add(double amount = 1) = 0;
    virtual double Value() const = 0;
  };
  class Gauge {
   public:
    virtual ~Gauge() = default;
    virtual void Set(double value) = 0;
    virtual void Add(double amount) = 0;
    virtual double Value() const = 0;
  };
  class Histogram {
   public:
    virtual ~Histogram() = default;
    virtual void Observe(double value) = 0;
  };

  Metrics();
  ~Metrics();

  Counter& AddCounter(const std::string& name, const std::string& help, const Labels& labels = {});
  Gauge& AddGauge(const std::string& name, const std::string& help, const Labels& labels = {});
  // Seconds, buckets from 10 us to 30 s.
  Histogram& AddLatency(const std::string& name, const std::string& help,
                        const Labels& labels = {});
  // Asked at each scrape; must not call back into Metrics.
  void AddCallback(const std::string& name, const std::string& help, const Labels& labels,
                   std::function<double()> value);

  // Serves GET /metrics on "host:port" until destruction; port 0 chooses a free one. The error
  // names the address: kExists for one in use. Call once.
  Status Serve(const std::string& address);
  // The port Serve really bound; 0 before.
  uint16_t port() const;
  // The text a scrape would get.
  std::string Text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sheaf
