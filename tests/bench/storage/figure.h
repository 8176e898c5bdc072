#pragma once

#include <sys/resource.h>

#include <chrono>
#include <cstdint>

namespace sheaf::bench {

// What one side did in one round.
struct Figure {
  double seconds = 0;
  double per_second = 0;  // transfers
  double cpu_s = 0;
  uint64_t syncs = 0;  // of files, for the whole round
  // The engine's syncs apart, and how long one took.
  uint64_t slab_syncs = 0;
  double slab_sync_ms = 0;
  double index_sync_ms = 0;
};

inline double NowSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// `who` as getrusage(2) has it.
inline double CpuSeconds(int who) {
  rusage usage{};
  ::getrusage(who, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

}  // namespace sheaf::bench
