#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "meta/cluster/length_prober.h"

namespace sheaf::meta {

// Chains that hold so many bytes of a file, or do not answer. Thread-safe.
class FakeProber final : public LengthProber {
 public:
  std::vector<Result<uint64_t>> Reach(std::span<const ProbeJob> jobs, Clock::Instant) override {
    std::function<void()> meanwhile;
    {
      std::lock_guard lock(mutex_);
      ++calls_;
      meanwhile = std::exchange(meanwhile_, nullptr);
    }
    std::vector<Result<uint64_t>> results = Answer(jobs);
    if (meanwhile) meanwhile();
    return results;
  }

  void Set(DataId data_id, Result<uint64_t> reach) {
    std::lock_guard lock(mutex_);
    reach_.insert_or_assign(data_id, std::move(reach));
  }
  // Runs once, after the chains have been looked at and before that is told.
  void Meanwhile(std::function<void()> what) {
    std::lock_guard lock(mutex_);
    meanwhile_ = std::move(what);
  }
  int calls() const {
    std::lock_guard lock(mutex_);
    return calls_;
  }

 private:
  std::vector<Result<uint64_t>> Answer(std::span<const ProbeJob> jobs) {
    std::lock_guard lock(mutex_);
    std::vector<Result<uint64_t>> results;
    for (const ProbeJob& job : jobs) {
      auto found = reach_.find(job.data_id);
      results.push_back(found == reach_.end() ? Result<uint64_t>(0) : found->second);
    }
    return results;
  }

  mutable std::mutex mutex_;
  std::map<DataId, Result<uint64_t>> reach_;
  std::function<void()> meanwhile_;
  int calls_ = 0;
};

}  // namespace sheaf::meta
