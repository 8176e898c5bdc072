#include "common/metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <condition_variable>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "common/address.h"
#include "common/guarded.h"
#include "common/listen_probe.h"

namespace sheaf {
namespace {

constexpr int kHttpThreads = 2;
constexpr double kNanosPerSecond = 1e9;
constexpr std::chrono::milliseconds kPokeEvery{5};
constexpr int kPokeTimeoutMs = 100;

using Callback = std::function<double()>;
using Value = std::variant<std::unique_ptr<Metrics::Counter>, std::unique_ptr<Metrics::Gauge>,
                           std::unique_ptr<Metrics::Histogram>, Callback>;

struct Family {
  std::string help;
  prometheus::MetricType type = prometheus::MetricType::Untyped;
  std::map<Metrics::Labels, Value> series;
};

void Fill(const Metrics::Histogram& from, prometheus::ClientMetric* metric) {
  using Histogram = Metrics::Histogram;
  uint64_t below = 0;
  for (size_t i = 0; i <= Histogram::kBounds.size(); ++i) {
    below += from.InBucket(i);
    const bool last = i == Histogram::kBounds.size();
    metric->histogram.bucket.push_back(
        {below, last ? std::numeric_limits<double>::infinity() : Histogram::kBounds[i]});
  }
  metric->histogram.sample_count = below;
  metric->histogram.sample_sum = from.SumSeconds();
}

double Read(const Value& value) {
  if (const auto* counter = std::get_if<0>(&value)) return static_cast<double>((*counter)->Value());
  if (const auto* gauge = std::get_if<1>(&value)) return (*gauge)->Value();
  return std::get<Callback>(value)();
}

prometheus::MetricFamily Collected(const std::string& name, const Family& family) {
  prometheus::MetricFamily out;
  out.name = name;
  out.help = family.help;
  out.type = family.type;
  for (const auto& [labels, value] : family.series) {
    prometheus::ClientMetric metric;
    for (const auto& [key, text] : labels) metric.label.push_back({key, text});
    if (const auto* histogram = std::get_if<2>(&value)) {
      Fill(**histogram, &metric);
    } else {
      const bool counts = family.type == prometheus::MetricType::Counter;
      (counts ? metric.counter.value : metric.gauge.value) = Read(value);
    }
    out.metric.push_back(std::move(metric));
  }
  return out;
}

// Everything that was added, as the library wants to see it.
class Families final : public prometheus::Collectable {
 public:
  template <typename T>
  T& Add(const std::string& name, const std::string& help, prometheus::MetricType type,
         const Metrics::Labels& labels) {
    auto families = families_.Lock();
    Family& family = (*families)[name];
    family.help = help;
    family.type = type;
    auto [series, is_new] = family.series.try_emplace(labels, Value(std::unique_ptr<T>()));
    auto& handle = std::get<std::unique_ptr<T>>(series->second);
    if (is_new) handle = std::make_unique<T>();
    return *handle;
  }

  void AddCallback(const std::string& name, const std::string& help, const Metrics::Labels& labels,
                   Callback value) {
    auto families = families_.Lock();
    Family& family = (*families)[name];
    family.help = help;
    family.type =
        name.ends_with("_total") ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
    family.series.insert_or_assign(labels, std::move(value));
  }

  void DropCallbacks() {
    for (auto& [name, family] : *families_.Lock()) {
      std::erase_if(family.series,
                    [](const auto& each) { return std::holds_alternative<Callback>(each.second); });
    }
  }

  std::vector<prometheus::MetricFamily> Collect() const override {
    std::vector<prometheus::MetricFamily> collected;
    auto families = families_.Lock();
    for (const auto& [name, family] : *families) {
      if (!family.series.empty()) collected.push_back(Collected(name, family));
    }
    return collected;
  }

 private:
  Guarded<std::map<std::string, Family>> families_;
};

}  // namespace

void Metrics::Histogram::Observe(double seconds) {
  const auto* bucket = std::lower_bound(kBounds.begin(), kBounds.end(), seconds);
  counts_[static_cast<size_t>(bucket - kBounds.begin())].fetch_add(1, std::memory_order_relaxed);
  sum_ns_.fetch_add(static_cast<uint64_t>(std::max(seconds, 0.0) * kNanosPerSecond),
                    std::memory_order_relaxed);
}

uint64_t Metrics::Histogram::Count() const {
  uint64_t count = 0;
  for (const auto& each : counts_) count += each.load(std::memory_order_relaxed);
  return count;
}

double Metrics::Histogram::SumSeconds() const {
  return static_cast<double>(sum_ns_.load(std::memory_order_relaxed)) / kNanosPerSecond;
}

struct Metrics::Impl {
  std::shared_ptr<Families> families = std::make_shared<Families>();
  std::unique_ptr<prometheus::Exposer> exposer;
  Address address;  // that the exposer listens on
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() { StopServing(); }

Metrics::Counter& Metrics::AddCounter(const std::string& name, const std::string& help,
                                      const Labels& labels) {
  return impl_->families->Add<Counter>(name, help, prometheus::MetricType::Counter, labels);
}

Metrics::Gauge& Metrics::AddGauge(const std::string& name, const std::string& help,
                                  const Labels& labels) {
  return impl_->families->Add<Gauge>(name, help, prometheus::MetricType::Gauge, labels);
}

Metrics::Histogram& Metrics::AddLatency(const std::string& name, const std::string& help,
                                        const Labels& labels) {
  return impl_->families->Add<Histogram>(name, help, prometheus::MetricType::Histogram, labels);
}

void Metrics::AddCallback(const std::string& name, const std::string& help, const Labels& labels,
                          std::function<double()> value) {
  impl_->families->AddCallback(name, help, labels, std::move(value));
}

Status Metrics::Serve(const std::string& address) {
  RETURN_IF_ERROR(ProbeListen(address).With("metrics"));
  ASSIGN_OR_RETURN(impl_->address, Address::Parse(address));
  try {
    impl_->exposer = std::make_unique<prometheus::Exposer>(address, kHttpThreads);
  } catch (const std::exception& error) {
    return {Code::kIo, "metrics: listen on " + address + ": " + error.what()};
  }
  impl_->exposer->RegisterCollectable(impl_->families);
  impl_->address.port = port();
  return Status::Ok();
}

// The HTTP library's accepting thread looks at its stop flag only every 2 s, or when a connection
// comes: so connections are made until it has ended, and a daemon stops at once.
void Metrics::StopServing() {
  if (impl_->exposer != nullptr) {
    Guarded<bool> ended(false);
    std::condition_variable changed;
    std::thread stopper([&] {
      impl_->exposer.reset();
      *ended.Lock() = true;
      changed.notify_all();
    });
    for (;;) {
      (void)Connect(impl_->address, kPokeTimeoutMs);
      auto locked = ended.Lock();
      const auto until = std::chrono::steady_clock::now() + kPokeEvery;
      if (locked.WaitUntil(changed, until, [&] { return *locked; })) break;
    }
    stopper.join();
  }
  impl_->families->DropCallbacks();
}

uint16_t Metrics::port() const {
  if (impl_->exposer == nullptr) return 0;
  const std::vector<int> ports = impl_->exposer->GetListeningPorts();
  return ports.empty() ? 0 : static_cast<uint16_t>(ports.front());
}

std::string Metrics::Text() const {
  return prometheus::TextSerializer().Serialize(impl_->families->Collect());
}

}  // namespace sheaf
