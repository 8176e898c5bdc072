#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace sheaf::sim {

using Time = int64_t;  // simulated microseconds
inline constexpr Time kMillisecond = 1000;
inline constexpr Time kSecond = 1000 * kMillisecond;
inline constexpr Time kForever = INT64_MAX;

using Action = std::function<void()>;

// Something that runs on a machine of its own: it is killed, begun anew and frozen as a whole.
struct Actor {
  static constexpr uint32_t kAnyLife = 0;  // whichever runs when the event comes

  uint32_t index = 0;  // in the network
  uint32_t life = 1;   // another one after every start
  bool up = true;
  bool frozen = false;
  std::vector<std::pair<uint32_t, Action>> backlog;  // life and action, while it is frozen
};

// What is to happen, in order of time; what is due at once in the order in which it was asked for.
class Scheduler {
 public:
  Time now() const { return now_; }
  uint64_t steps() const { return steps_; }

  void At(Time when, Action action) { Push(when, nullptr, 0, std::move(action)); }
  // Happens only while `life` of the actor runs; waits while that is frozen.
  void At(Time when, Actor& actor, uint32_t life, Action action) {
    Push(when, &actor, life, std::move(action));
  }

  void Thaw(Actor& actor) {
    actor.frozen = false;
    for (auto& [life, action] : std::exchange(actor.backlog, {}))
      Push(now_, &actor, life, std::move(action));
  }

  // False when nothing is left.
  bool Step() {
    if (order_.empty()) return false;
    std::pop_heap(order_.begin(), order_.end(), Later);
    const Due due = order_.back();
    order_.pop_back();
    Event event = std::move(events_[due.event]);
    free_.push_back(due.event);
    now_ = due.when;
    ++steps_;
    Run(event);
    return true;
  }

 private:
  struct Event {
    Actor* actor = nullptr;
    uint32_t life = 0;
    Action action;
  };
  // Small, since sorting moves it.
  struct Due {
    Time when = 0;
    uint64_t order = 0;
    uint32_t event = 0;
  };
  static bool Later(const Due& a, const Due& b) {
    return a.when != b.when ? a.when > b.when : a.order > b.order;
  }

  void Push(Time when, Actor* actor, uint32_t life, Action action) {
    if (free_.empty()) {
      free_.push_back(static_cast<uint32_t>(events_.size()));
      events_.emplace_back();
    }
    const uint32_t place = free_.back();
    free_.pop_back();
    events_[place] = {actor, life, std::move(action)};
    order_.push_back({std::max(when, now_), next_order_++, place});
    std::push_heap(order_.begin(), order_.end(), Later);
  }

  static void Run(Event& event) {
    if (Actor* actor = event.actor; actor != nullptr) {
      if (!actor->up || (event.life != Actor::kAnyLife && event.life != actor->life)) return;
      if (actor->frozen) {
        actor->backlog.emplace_back(event.life, std::move(event.action));
        return;
      }
    }
    event.action();
  }

  Time now_ = 0;
  uint64_t next_order_ = 0;
  uint64_t steps_ = 0;
  std::vector<Due> order_;  // a heap
  std::vector<Event> events_;
  std::vector<uint32_t> free_;  // places in `events_`
};

}  // namespace sheaf::sim
