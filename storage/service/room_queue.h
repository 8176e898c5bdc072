#pragma once

#include <cstddef>
#include <deque>
#include <functional>

#include "common/clock.h"
#include "common/status.h"

namespace sheaf::storage {

// Requests that wait for buffer space, first come first served, bounded in number and time.
//
// Thread safety: none; one reactor's.
class RoomQueue {
 public:
  using Go = std::function<void(Status)>;
  RoomQueue(size_t limit, Clock::Instant wait) : limit_(limit), wait_(wait) {}

  // False when as many wait as may: answer busy.
  bool Add(size_t bytes, Clock::Instant now, Go go) {
    if (waiting_.size() >= limit_) return false;
    waiting_.push_back({bytes, now + wait_, std::move(go)});
    return true;
  }

  // Lets the first ones go as long as `has_room(bytes)`, and those that waited too long with kBusy.
  template <typename HasRoom>
  void Advance(Clock::Instant now, HasRoom has_room) {
    while (!waiting_.empty()) {
      const bool room = has_room(waiting_.front().bytes);
      if (!room && now < waiting_.front().give_up) return;
      Go go = std::move(waiting_.front().go);
      waiting_.pop_front();
      go(room ? Status::Ok() : Status(Code::kBusy, "buffers: all in use"));
    }
  }

  // Ends every wait with kBusy.
  void Clear() {
    for (Waiting& waiting : std::exchange(waiting_, {}))
      waiting.go({Code::kBusy, "buffers: shutting down"});
  }

  bool empty() const { return waiting_.empty(); }
  size_t size() const { return waiting_.size(); }

 private:
  struct Waiting {
    size_t bytes;
    Clock::Instant give_up;
    Go go;
  };
  const size_t limit_;
  const Clock::Instant wait_;
  std::deque<Waiting> waiting_;
};

}  // namespace sheaf::storage
