#include "client/chunk/hedging.h"

#include <algorithm>
#include <bit>

namespace sheaf::client {
namespace {

using std::chrono::microseconds;

// Four steps an octave: the two bits below the highest.
size_t StepOf(uint64_t us) {
  if (us < 4) return us;
  const auto octave = static_cast<size_t>(std::bit_width(us)) - 1;
  return 4 * (octave - 1) + ((us >> (octave - 2)) & 3);
}

// The least number of a later step.
uint64_t EndOf(size_t step) {
  if (step < 4) return step + 1;
  const size_t octave = step / 4 + 1;
  return (uint64_t{1} << octave) + ((step % 4 + 1) << (octave - 2));
}

}  // namespace

size_t Hedging::ClassOf(size_t bytes) {
  if (bytes <= 16 << 10) return 0;
  if (bytes <= 128 << 10) return 1;
  return bytes <= 1 << 20 ? 2 : 3;
}

void Hedging::CountRead() { ++budget_.Lock()->reads; }

void Hedging::Observe(size_t bytes, Clock::Instant took) {
  const auto us = std::chrono::duration_cast<microseconds>(took).count();
  const size_t step = std::min(StepOf(static_cast<uint64_t>(std::max<int64_t>(us, 0))), kSteps - 1);
  auto durations = classes_[ClassOf(bytes)].Lock();
  ++durations->counts[step];
  const uint32_t total = ++durations->total;
  if (total == kEnough || (total > kEnough && total % kLookAgain == 0)) {
    durations->percentile95 = Percentile95(*durations);
  }
  if (total < kForget) return;
  durations->total = 0;
  for (uint32_t& count : durations->counts) durations->total += count /= 2;
}

Clock::Instant Hedging::Percentile95(const Durations& durations) {
  uint32_t above = 0;
  size_t step = kSteps;
  while (step > 1 && (above + durations.counts[step - 1]) * 20 <= durations.total) {
    above += durations.counts[--step];
  }
  return microseconds(EndOf(step - 1));
}

Clock::Instant Hedging::Delay(size_t bytes) const {
  const Clock::Instant usual = classes_[ClassOf(bytes)].Lock()->percentile95;
  if (usual == Clock::Instant::zero()) return kFirstDelay;
  return std::max<Clock::Instant>(usual, kMinDelay);
}

Clock::Instant Hedging::Patience(size_t bytes) const {
  const Clock::Instant usual = classes_[ClassOf(bytes)].Lock()->percentile95;
  return std::max<Clock::Instant>(4 * usual, kMinPatience);
}

bool Hedging::Begin(size_t bytes) {
  auto budget = budget_.Lock();
  auto& hedged = budget->hedged;
  while (!hedged.empty() && hedged.front() + kWindow <= budget->reads) hedged.pop_front();
  if (hedged.size() + 1 > std::min(budget->reads, kWindow) / kShare) return false;
  if (budget->bytes + bytes > kMaxBytes) return false;
  hedged.push_back(budget->reads);
  budget->bytes += bytes;
  return true;
}

void Hedging::End(size_t bytes) { budget_.Lock()->bytes -= bytes; }

}  // namespace sheaf::client
