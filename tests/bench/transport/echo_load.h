#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "common/address.h"
#include "common/status.h"

namespace sheaf::bench {

// So many answers of so many bytes kept under way on each of so many connections, for so long.
struct Load {
  size_t answer_bytes = 4096;
  int depth = 128;
  int connections = 1;
  std::chrono::milliseconds warm_up{300};
  std::chrono::milliseconds duration{2000};
};

// What a load drives. `begin` starts one echo in slot `slot` of connection `connection`; its
// completion calls `done(ok)`, and may do so before `begin` returns.
using Begin = std::function<void(int connection, int slot)>;

// Counts completions between warm-up and end. Completions call Next from any thread.
class Pacer {
 public:
  Pacer(const Load& load, Begin begin);

  // A completion: begins the next in its place until the end has come.
  void Next(int connection, int slot, bool ok);

  // Begins everything, waits for the load to end and for the last answer. `at_start` and `at_end`
  // are called at the limits of the measured time.
  Status Run(const std::function<void()>& at_start, const std::function<void()>& at_end);

  uint64_t measured() const { return measured_; }
  double seconds() const { return seconds_; }

 private:
  const Load load_;
  const Begin begin_;
  std::atomic<bool> ending_ = false;
  std::atomic<uint64_t> completed_ = 0;
  std::atomic<uint64_t> failed_ = 0;
  std::atomic<int> under_way_ = 0;
  uint64_t measured_ = 0;
  double seconds_ = 0;
};

// The servers' mains: each announces its address, then serves until standard input ends.
int ServeFramed();
int ServeGrpc();

// The loads against them.
struct Runner {
  virtual ~Runner() = default;
  virtual Status Run(const std::function<void()>& at_start,
                     const std::function<void()>& at_end) = 0;
  virtual double per_second() const = 0;
};
Result<std::unique_ptr<Runner>> MakeFramedRunner(const std::string& address, const Load& load);
Result<std::unique_ptr<Runner>> MakeGrpcRunner(const std::string& address, const Load& load);

}  // namespace sheaf::bench
