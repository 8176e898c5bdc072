#include "common/clock.h"

#include <ctime>

namespace sheaf {
namespace {

int64_t Read(clockid_t id) {
  timespec now{};
  clock_gettime(id, &now);
  return now.tv_sec * INT64_C(1'000'000'000) + now.tv_nsec;
}

class SystemClock final : public Clock {
 public:
  Instant Now() const override { return Instant(Read(CLOCK_BOOTTIME)); }
  int64_t WallNanos() const override { return Read(CLOCK_REALTIME); }
};

}  // namespace

const Clock& Clock::System() {
  static const SystemClock clock;
  return clock;
}

}  // namespace sheaf
