#include "common/metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <mutex>
#include <utility>
#include <vector>

#include "common/guarded.h"
#include "common/listen_probe.h"

namespace sheaf {
namespace {

constexpr int kHttpThreads = 2;

const prometheus::Histogram::BucketBoundaries kLatencyBuckets = {
    10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3,
    20e-3, 50e-3, 0.1,   0.2,    0.5,    1,      2,    5,    10,   30};

class CounterHandle final : public Metrics::Counter {
 public:
  explicit CounterHandle(prometheus::Counter& counter) : counter_(counter) {}
  void Add(double amount) override { counter_.Increment(amount); }
  double Value() const override { return counter_.Value(); }

 private:
  prometheus::Counter& counter_;
};

class GaugeHandle final : public Metrics::Gauge {
 public:
  explicit GaugeHandle(prometheus::Gauge& gauge) : gauge_(gauge) {}
  void Set(double value) override { gauge_.Set(value); }
  void Add(double amount) override { gauge_.Increment(amount); }
  double Value() const override { return gauge_.Value(); }

 private:
  prometheus::Gauge& gauge_;
};

class HistogramHandle final : public Metrics::Histogram {
 public:
  explicit HistogramHandle(prometheus::Histogram& histogram) : histogram_(histogram) {}
  void Observe(double value) override { histogram_.Observe(value); }

 private:
  prometheus::Histogram& histogram_;
};

// Values that are asked for when a scrape comes.
class Callbacks final : public prometheus::Collectable {
 public:
  void Add(const std::string& name, const std::string& help, const Metrics::Labels& labels,
           std::function<double()> value) {
    Family& family = (*families_.Lock())[name];
    family.help = help;
    family.values[labels] = std::move(value);
  }

  std::vector<prometheus::MetricFamily> Collect() const override {
    std::vector<prometheus::MetricFamily> collected;
    auto families = families_.Lock();
    for (const auto& [name, family] : *families) collected.push_back(CollectFamily(name, family));
    return collected;
  }

 private:
  struct Family {
    std::string help;
    std::map<Metrics::Labels, std::function<double()>> values;
  };

  static prometheus::MetricFamily CollectFamily(const std::string& name, const Family& family) {
    const bool counts = name.size() > 6 && name.compare(name.size() - 6, 6, "_total") == 0;
    prometheus::MetricFamily out;
    out.name = name;
    out.help = family.help;
    out.type = counts ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
    for (const auto& [labels, value] : family.values) {
      prometheus::ClientMetric metric;
      for (const auto& [key, text] : labels) metric.label.push_back({key, text});
      (counts ? metric.counter.value : metric.gauge.value) = value();
      out.metric.push_back(std::move(metric));
    }
    return out;
  }

  Guarded<std::map<std::string, Family>> families_;
};

}  // namespace

// Teardown: the exposer joins its threads first (last member), then what they read may go.
struct Metrics::Impl {
  using Key = std::pair<std::string, Labels>;
  struct Handles {
    std::map<Key, CounterHandle> counters;
    std::map<Key, GaugeHandle> gauges;
    std::map<Key, HistogramHandle> histograms;
  };

  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  std::shared_ptr<Callbacks> callbacks = std::make_shared<Callbacks>();
  Guarded<Handles> handles;
  std::unique_ptr<prometheus::Exposer> exposer;
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

Metrics::Counter& Metrics::AddCounter(const std::string& name, const std::string& help,
                                      const Labels& labels) {
  auto handles = impl_->handles.Lock();
  auto& family = prometheus::BuildCounter().Name(name).Help(help).Register(*impl_->registry);
  return handles->counters.try_emplace({name, labels}, family.Add(labels)).first->second;
}

Metrics::Gauge& Metrics::AddGauge(const std::string& name, const std::string& help,
                                  const Labels& labels) {
  auto handles = impl_->handles.Lock();
  auto& family = prometheus::BuildGauge().Name(name).Help(help).Register(*impl_->registry);
  return handles->gauges.try_emplace({name, labels}, family.Add(labels)).first->second;
}

Metrics::Histogram& Metrics::AddLatency(const std::string& name, const std::string& help,
                                        const Labels& labels) {
  auto handles = impl_->handles.Lock();
  auto& family = prometheus::BuildHistogram().Name(name).Help(help).Register(*impl_->registry);
  return handles->histograms.try_emplace({name, labels}, family.Add(labels, kLatencyBuckets))
      .first->second;
}

void Metrics::AddCallback(const std::string& name, const std::string& help, const Labels& labels,
                          std::function<double()> value) {
  impl_->callbacks->Add(name, help, labels, std::move(value));
}

Status Metrics::Serve(const std::string& address) {
  RETURN_IF_ERROR(ProbeListen(address).With("metrics"));
  try {
    impl_->exposer = std::make_unique<prometheus::Exposer>(address, kHttpThreads);
  } catch (const std::exception& error) {
    return {Code::kIo, "metrics: listen on " + address + ": " + error.what()};
  }
  impl_->exposer->RegisterCollectable(impl_->registry);
  impl_->exposer->RegisterCollectable(impl_->callbacks);
  return Status::Ok();
}

uint16_t Metrics::port() const {
  if (impl_->exposer == nullptr) return 0;
  const std::vector<int> ports = impl_->exposer->GetListeningPorts();
  return ports.empty() ? 0 : static_cast<uint16_t>(ports.front());
}

std::string Metrics::Text() const {
  std::vector<prometheus::MetricFamily> families = impl_->registry->Collect();
  for (auto& family : impl_->callbacks->Collect()) families.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace sheaf
