#pragma once

#include <mutex>

#include "meta/cluster/storage_fence.h"

namespace sheaf::meta {

// Storage that fences what it is asked to at once, unless it is held. Thread-safe.
class FakeFence final : public StorageFence {
 public:
  void FenceEnded() override {
    std::lock_guard lock(mutex_);
    asked_ = true;
  }
  bool FencedEverywhere(Incarnation) const override {
    std::lock_guard lock(mutex_);
    return asked_ && !held_;
  }

  void Hold() { Set(true); }
  void Release() { Set(false); }
  bool asked() const {
    std::lock_guard lock(mutex_);
    return asked_;
  }

 private:
  void Set(bool held) {
    std::lock_guard lock(mutex_);
    held_ = held;
    asked_ = !held;
  }

  mutable std::mutex mutex_;
  bool asked_ = false;
  bool held_ = false;
};

}  // namespace sheaf::meta
