#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <span>
#include <vector>

#include "meta/cluster/chunk_trimmer.h"

namespace sheaf::meta {

// Storage as the metadata service sees it, in memory: notes what it was asked to trim. Calls can be
// made to fail for some data, or held until they are let go. Thread-safe.
class FakeTrimmer final : public ChunkTrimmer {
 public:
  std::vector<Status> Trim(std::span<const TrimJob> jobs, Clock::Instant) override {
    std::unique_lock lock(mutex_);
    ++calls_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !held_; });
    std::vector<Status> results;
    for (const TrimJob& job : jobs) {
      auto failure = failures_.find(job.data_id);
      results.push_back(failure == failures_.end() ? Status::Ok() : failure->second);
      if (results.back().ok()) done_.push_back(job);
    }
    return results;
  }

  void Fail(DataId data_id, Status status) {
    std::lock_guard lock(mutex_);
    failures_[data_id] = std::move(status);
  }
  void Heal() {
    std::lock_guard lock(mutex_);
    failures_.clear();
  }
  void Hold() {
    std::lock_guard lock(mutex_);
    held_ = true;
  }
  void Release() {
    {
      std::lock_guard lock(mutex_);
      held_ = false;
    }
    changed_.notify_all();
  }
  // Until a call has come in.
  void AwaitCalls(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return calls_ >= count; });
  }
  std::vector<TrimJob> done() const {
    std::lock_guard lock(mutex_);
    return done_;
  }
  bool Trimmed(DataId data_id) const {
    for (const TrimJob& job : done()) {
      if (job.data_id == data_id) return true;
    }
    return false;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int calls_ = 0;
  bool held_ = false;
  std::map<DataId, Status> failures_;
  std::vector<TrimJob> done_;
};

}  // namespace sheaf::meta
