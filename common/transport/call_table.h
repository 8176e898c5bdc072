#pragma once

#include <cstdint>
#include <deque>
#include <unordered_map>
#include <vector>

#include "common/clock.h"
#include "common/transport/connection.h"
#include "common/transport/hello.h"

namespace sheaf::transport {

struct PendingCall {
  uint64_t id = 0;
  Call call;
  Done done;
  uint64_t cost = 0;              // byte credits held, or wanted
  bool admitted = false;          // holds its credits; its frame is queued or sent
  bool payload_borrowed = false;  // a send queue still points into call.payload
  bool cancelled = false;         // by its caller; its deadline is over since then
};

// The calls under way on one connection and the credits they hold. Calls are admitted in the order
// they came; one that does not fit keeps those behind it waiting, so that large calls are not
// starved by small ones.
//
// Not thread-safe. References to entries stay valid until they are taken.
class CallTable {
 public:
  static constexpr size_t kMaxCalls = 1 << 16;  // admitted and waiting together

  explicit CallTable(const ServerTerms& terms);

  bool IsFull() const { return calls_.size() >= kMaxCalls; }
  size_t size() const { return calls_.size(); }

  // REQUIRES: !IsFull()
  PendingCall& Insert(Call call, Done done);

  // The next waiting call that the credits allow, now holding them; null when there is none.
  PendingCall* AdmitNext();

  PendingCall* Find(uint64_t id);
  const PendingCall* Find(uint64_t id) const;
  // `id` was given out once; a late answer may name a call that has ended.
  bool WasIssued(uint64_t id) const { return id != 0 && id < next_id_; }

  // Has the call with this tag expire at once; false: there is none. Looks at every call: few are
  // ever cancelled.
  bool Cancel(uint64_t tag);

  // Removes it and returns its credits.
  PendingCall Take(PendingCall& call);
  std::vector<PendingCall> TakeAll();

  // No deadline is earlier.
  Clock::Instant earliest_deadline() const { return earliest_; }
  // Looks at every call, but is asked to only once a deadline has passed: with many short calls
  // under long deadlines that is rare, and an ordered structure would cost each of them.
  std::vector<uint64_t> Expired(Clock::Instant now);

 private:
  const ServerTerms terms_;
  uint32_t requests_held_ = 0;
  uint64_t bytes_held_ = 0;
  uint64_t next_id_ = 1;
  std::unordered_map<uint64_t, PendingCall> calls_;
  std::deque<uint64_t> waiting_;
  Clock::Instant earliest_ = Clock::Instant::max();
};

}  // namespace sheaf::transport
