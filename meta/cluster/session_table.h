#pragma once

#include <chrono>
#include <cstddef>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "common/clock.h"
#include "common/ids.h"
#include "common/status.h"

namespace sheaf::meta {

inline constexpr size_t kMaxSessions = 65536;
inline constexpr size_t kMaxPinsPerSession = 1 << 20;

// Leases and pins of the live client sessions: a pure core, instants in. Not thread-safe.
//
// What is unlinked, or replaced by a truncation to nothing, goes through a removal epoch. A session
// that acknowledges epoch E says, with its complete list of pins, which of the inodes and data_ids
// removed at or before E it still has open. So each may be reclaimed once every live session has
// acknowledged its epoch and none pins it.
class SessionTable {
 public:
  struct Pins {
    std::vector<InodeId> inodes;
    std::vector<DataId> data_ids;
  };

  explicit SessionTable(std::chrono::milliseconds lease) : lease_(lease) {}

  // `acked` is the newest removal epoch when the session began: it has nothing older open.
  void Add(Incarnation session, RemovalEpoch acked, Clock::Instant now);
  // A session found after a restart: nothing is known of its pins until it renews, so nothing may
  // be reclaimed.
  void Recover(Incarnation session, Clock::Instant now);
  // kNoSession when it is unknown or ended; kTooBig when it pins more than it may.
  Status Renew(Incarnation session, RemovalEpoch acked, const Pins& pins, Clock::Instant now);
  // The session's end has begun: it cannot renew any more, but it still holds its pins.
  // False when that had begun before, or it is unknown.
  bool End(Incarnation session);
  // Its end is durable.
  void Remove(Incarnation session);
  // Sessions whose lease has run out and whose end has not begun.
  std::vector<Incarnation> Expired(Clock::Instant now) const;

  // What everyone has acknowledged; the largest epoch there is when there are no sessions.
  RemovalEpoch AckedByAll() const;
  bool IsPinned(InodeId inode) const { return inodes_.IsPinned(inode); }
  bool IsPinned(DataId data_id) const { return data_ids_.IsPinned(data_id); }
  size_t size() const { return sessions_.size(); }

 private:
  struct Entry {
    Clock::Instant expires{};
    RemovalEpoch acked;
    bool ending = false;
    std::unordered_set<InodeId> inodes;
    std::unordered_set<DataId> data_ids;
  };
  // By how many sessions each is pinned.
  template <typename Id>
  class PinCounts {
   public:
    void Pin(const std::unordered_set<Id>& ids) {
      for (Id id : ids) ++counts_[id];
    }
    void Unpin(const std::unordered_set<Id>& ids) {
      for (Id id : ids) {
        auto count = counts_.find(id);
        if (--count->second == 0) counts_.erase(count);
      }
    }
    bool IsPinned(Id id) const { return counts_.contains(id); }

   private:
    std::unordered_map<Id, uint32_t> counts_;
  };
  void Unpin(const Entry& entry);

  const std::chrono::milliseconds lease_;
  std::unordered_map<Incarnation, Entry> sessions_;
  PinCounts<InodeId> inodes_;
  PinCounts<DataId> data_ids_;
};

}  // namespace sheaf::meta
