#include "storage/replica/pacer.h"

#include <algorithm>

namespace sheaf::storage {

void Pacer::Count(uint64_t bytes, Clock::Instant now) {
  if (now - second_began_ >= std::chrono::seconds(1)) {
    last_second_ = now - second_began_ < std::chrono::seconds(2) ? this_second_ : 0;
    this_second_ = 0;
    second_began_ = now;
  }
  this_second_ += bytes;
  total_ += bytes;
}

Status Pacer::Take(uint64_t bytes) {
  const Clock::Instant now = Clock::System().Now();
  std::unique_lock lock(mutex_);
  Count(bytes, now);
  if (bytes_per_s_ != 0) {
    const Clock::Instant begin = std::max(paced_until_, now);
    paced_until_ =
        begin + std::chrono::nanoseconds(static_cast<int64_t>(1e9 * static_cast<double>(bytes) /
                                                              static_cast<double>(bytes_per_s_)));
    changed_.wait_for(lock, begin - now, [this] { return stopping_; });
  }
  if (stopping_) return {Code::kCancelled, "the server stops"};
  return Status::Ok();
}

bool Pacer::Rest(std::chrono::nanoseconds time) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, time, [this] { return stopping_; });
}

void Pacer::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
}

bool Pacer::stopping() const {
  std::lock_guard lock(mutex_);
  return stopping_;
}

uint64_t Pacer::rate() const {
  std::lock_guard lock(mutex_);
  const auto age = Clock::System().Now() - second_began_;
  if (age < std::chrono::seconds(1)) return std::max(last_second_, this_second_);
  return age < std::chrono::seconds(2) ? this_second_ : 0;
}

uint64_t Pacer::total() const {
  std::lock_guard lock(mutex_);
  return total_;
}

}  // namespace sheaf::storage
