#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <cstdint>

namespace sheaf::cli {

// Latencies in buckets that are 1/32 of a power of two wide: percentiles to within 3 % in 14 KiB,
// however many there are. Not thread-safe.
class Latencies {
 public:
  void Add(std::chrono::nanoseconds latency) {
    ++counts_[Bucket(static_cast<uint64_t>(latency.count() < 0 ? 0 : latency.count()))];
    ++total_;
  }

  // In microseconds; 0 when there are none. `fraction` from 0 to 1.
  double PercentileUs(double fraction) const {
    auto left = static_cast<uint64_t>(fraction * static_cast<double>(total_));
    for (size_t bucket = 0; bucket < counts_.size(); ++bucket) {
      if (counts_[bucket] > left) return MiddleNs(bucket) / 1000.0;
      left -= counts_[bucket];
    }
    return total_ == 0 ? 0 : MiddleNs(counts_.size() - 1) / 1000.0;
  }

 private:
  static constexpr int kSubBits = 5;
  static constexpr uint64_t kSub = 1 << kSubBits;

  static size_t Bucket(uint64_t ns) {
    if (ns < kSub) return ns;
    const int shift = std::bit_width(ns) - kSubBits - 1;
    return static_cast<size_t>((shift + 1) * kSub + ((ns >> shift) - kSub));
  }
  static double MiddleNs(size_t bucket) {
    if (bucket < kSub) return static_cast<double>(bucket);
    const size_t shift = bucket / kSub - 1;
    return (static_cast<double>(kSub + bucket % kSub) + 0.5) * static_cast<double>(uint64_t{1} << shift);
  }

  std::array<uint64_t, (64 - kSubBits + 1) * kSub> counts_{};
  uint64_t total_ = 0;
};

}  // namespace sheaf::cli
