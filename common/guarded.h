#pragma once

#include <condition_variable>
#include <mutex>
#include <utility>

namespace sheaf {

// A value that can be reached only while its mutex is held (after kj::MutexGuarded), so that any
// compiler enforces the locking.
//
//   Guarded<std::map<int, Node>> nodes_;
//   auto nodes = nodes_.Lock();      // holds the mutex until `nodes` goes out of scope
//   nodes->emplace(...);
//   nodes.Wait(ready_, [&] { return !nodes->empty(); });
template <typename T>
class Guarded {
 public:
  template <typename... Args>
  explicit Guarded(Args&&... args) : value_(std::forward<Args>(args)...) {}

  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  template <typename Value>
  class Locked {
   public:
    Locked(std::mutex& mutex, Value& value) : lock_(mutex), value_(&value) {}
    Value* operator->() { return value_; }
    Value& operator*() { return *value_; }

    template <typename Predicate>
    void Wait(std::condition_variable& changed, Predicate predicate) {
      changed.wait(lock_, std::move(predicate));
    }
    // Answers the predicate's last value: false when `deadline` passed first.
    template <typename TimePoint, typename Predicate>
    bool WaitUntil(std::condition_variable& changed, TimePoint deadline, Predicate predicate) {
      return changed.wait_until(lock_, deadline, std::move(predicate));
    }

   private:
    std::unique_lock<std::mutex> lock_;
    Value* value_;
  };

  Locked<T> Lock() { return {mutex_, value_}; }
  Locked<const T> Lock() const { return {mutex_, value_}; }

 private:
  mutable std::mutex mutex_;
  T value_;
};

}  // namespace sheaf
