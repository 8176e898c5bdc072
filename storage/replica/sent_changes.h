#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "storage/replica/chain_core.h"

namespace sheaf::storage {

// The changes that one replica has sent to the member behind and that are not answered, so that
// some can be sent once more without the core's knowing: it sees one answer to each, that to the
// last try. An error to an earlier one tells nothing, since the change is on its way again.
//
// Not thread-safe.
class SentChanges {
 public:
  struct Sent {
    TargetId to;
    ReplicateMessage message;
    uint64_t attempt = 0;
  };

  // The number of this attempt.
  uint64_t Note(TargetId to, const ReplicateMessage& message) {
    sent_[message.sequence] = {to, message, ++attempts_};
    return attempts_;
  }
  // Whether no later attempt was made.
  bool IsLatest(uint64_t sequence, uint64_t attempt) const {
    const auto found = sent_.find(sequence);
    return found != sent_.end() && found->second.attempt == attempt;
  }
  // It is answered.
  void Forget(uint64_t sequence) { sent_.erase(sequence); }
  // That change and all behind it, of its version and receiver.
  std::vector<Sent> From(uint64_t sequence) const {
    std::vector<Sent> from;
    for (auto next = sent_.find(sequence); next != sent_.end(); ++next) {
      const Sent& sent = next->second;
      if (!from.empty() &&
          (sent.to != from[0].to || sent.message.version != from[0].message.version))
        continue;
      from.push_back(sent);
    }
    return from;
  }
  size_t size() const { return sent_.size(); }

 private:
  std::map<uint64_t, Sent> sent_;  // by sequence
  uint64_t attempts_ = 0;
};

}  // namespace sheaf::storage
