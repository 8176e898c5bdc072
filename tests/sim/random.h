#pragma once

#include <cstdint>

namespace sheaf::sim {

// splitmix64: the same numbers from the same seed on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t mixed = (state_ += 0x9e3779b97f4a7c15ull);
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ull;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebull;
    return mixed ^ (mixed >> 31);
  }
  // 0 to n - 1; n > 0
  uint64_t Below(uint64_t n) { return Next() % n; }
  // Both included.
  int64_t Between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(Below(static_cast<uint64_t>(high - low + 1)));
  }
  bool Percent(uint32_t percent) { return Below(100) < percent; }
  Random Fork() { return Random(Next()); }

 private:
  uint64_t state_;
};

}  // namespace sheaf::sim
