#pragma once

#include <functional>
#include <mutex>
#include <utility>

#include "meta/cluster/storage_fence.h"

namespace sheaf::meta {

// Storage that fences what it is asked to at once, unless it is held. Thread-safe.
class FakeFence final : public StorageFence {
 public:
  void FenceEnded() override {
    std::lock_guard lock(mutex_);
    asked_ = true;
    if (when_asked_) when_asked_();
  }
  bool FencedEverywhere(Incarnation) const override {
    std::lock_guard lock(mutex_);
    ++looks_;
    return asked_ && !held_;
  }

  void Hold() { Set(true); }
  void Release() { Set(false); }
  // Called each time it is asked to fence; not any more once another, or none, is set.
  void WhenAsked(std::function<void()> what) {
    std::lock_guard lock(mutex_);
    when_asked_ = std::move(what);
  }
  // How often it was asked whether a fence is over, since Hold or Release.
  int looks() const {
    std::lock_guard lock(mutex_);
    return looks_;
  }
  bool asked() const {
    std::lock_guard lock(mutex_);
    return asked_;
  }

 private:
  void Set(bool held) {
    std::lock_guard lock(mutex_);
    held_ = held;
    asked_ = !held;
    looks_ = 0;
  }

  mutable std::mutex mutex_;
  bool asked_ = false;
  bool held_ = false;
  mutable int looks_ = 0;
  std::function<void()> when_asked_;
};

}  // namespace sheaf::meta
