#include <thread>

#include "tests/bench/transport/echo_load.h"

namespace sheaf::bench {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::seconds kLastAnswer{30};

}  // namespace

Pacer::Pacer(const Load& load, Begin begin) : load_(load), begin_(std::move(begin)) {}

void Pacer::Next(int connection, int slot, bool ok) {
  (ok ? completed_ : failed_).fetch_add(1, std::memory_order_relaxed);
  if (ok && !ending_.load(std::memory_order_relaxed)) return begin_(connection, slot);
  under_way_.fetch_sub(1);
}

Status Pacer::Run(const std::function<void()>& at_start, const std::function<void()>& at_end) {
  under_way_ = load_.connections * load_.depth;
  for (int slot = 0; slot < load_.depth; ++slot) {
    for (int connection = 0; connection < load_.connections; ++connection) {
      begin_(connection, slot);
    }
  }
  std::this_thread::sleep_for(load_.warm_up);
  const auto started = steady_clock::now();
  const uint64_t before = completed_;
  at_start();
  std::this_thread::sleep_for(load_.duration);
  at_end();
  measured_ = completed_ - before;
  seconds_ = std::chrono::duration<double>(steady_clock::now() - started).count();
  ending_ = true;
  const auto give_up = steady_clock::now() + kLastAnswer;
  while (under_way_ > 0) {
    if (steady_clock::now() > give_up) {
      return Status(Code::kDeadline,
                    "echo load: answers missing (" + std::to_string(under_way_.load()) + ")");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (failed_ == 0) return Status::Ok();
  return Status(Code::kIo, "echo load: calls failed (" + std::to_string(failed_.load()) + ")");
}

}  // namespace sheaf::bench
