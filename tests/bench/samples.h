#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>
#include <vector>

namespace sheaf::bench {

// One figure over interleaved rounds: the median counts, the lowest and the highest are the spread.
class Samples {
 public:
  void Add(double value) { values_.push_back(value); }
  bool empty() const { return values_.empty(); }

  // REQUIRES of all three: not empty.
  double Median() const {
    std::vector<double> sorted = values_;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
  double Low() const { return *std::min_element(values_.begin(), values_.end()); }
  double High() const { return *std::max_element(values_.begin(), values_.end()); }

 private:
  std::vector<double> values_;
};

// As counter `name`, the median alone; nothing when there is no sample.
inline void ReportMedian(benchmark::State& state, const std::string& name, const Samples& samples) {
  if (!samples.empty()) state.counters[name] = samples.Median();
}

// As counters `name`, `name`_low and `name`_high.
inline void ReportSpread(benchmark::State& state, const std::string& name, const Samples& samples) {
  if (samples.empty()) return;
  state.counters[name] = samples.Median();
  state.counters[name + "_low"] = samples.Low();
  state.counters[name + "_high"] = samples.High();
}

}  // namespace sheaf::bench
