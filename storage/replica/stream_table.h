#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <unordered_map>
#include <vector>

#include "common/ids.h"
#include "common/status.h"

namespace sheaf::storage {

// What a chunk mutation answers: a write or truncate the chunk's state, a removal its counts.
struct MutationResult {
  ChunkVersion version;
  uint32_t chunk_length = 0;
  uint32_t removed = 0;
  bool more = false;
  friend bool operator==(const MutationResult&, const MutationResult&) = default;
};

// The last mutation of each client stream on one chain, so that a repeated one is executed once and
// a late one not at all, whichever replica is the head by then. A stream carries one mutation at a
// time, under rising sequences:
//
//   sequence          the last one is done          the last one is under way
//   higher            executed                      kBusy: nothing was done, try again
//   the same          the stored answer             joins it, and gets the same answer
//   lower             kCancelled                    kCancelled
//
// Only a success counts as done: one that was undone may be executed again under its sequence.
// kCancelled because nobody waits for it any more, whatever is answered: its sender has gone on.
// The same sequence for something else (another fingerprint) is kInvalid. Mutations without an
// incarnation or without a stream are not in the table.
//
// Every replica keeps the table: it notes a mutation when it receives it, so the next head knows
// what is under way; what is done is stored with the change (Engine::StreamRow).
//
// Memory is bounded by kMaxStreams, beyond which new streams are answered kBusy; streams go when
// their client's session is over. Pure; not thread-safe.
class StreamTable {
 public:
  static constexpr size_t kMaxStreams = 1 << 16;

  struct Name {
    Incarnation incarnation;
    uint32_t stream = 0;
    uint64_t sequence = 0;
    bool IsNamed() const { return incarnation.IsSet() && stream != 0; }
    friend bool operator==(const Name&, const Name&) = default;
  };

  struct Stream {
    uint64_t sequence = 0;
    uint64_t fingerprint = 0;
    uint64_t under_way = 0;  // whatever it was begun as; 0: nothing is
    bool done = false;
    MutationResult result;
  };

  enum class Verdict : uint8_t { kNew, kJoin, kAnswer };
  struct Judgement {
    Verdict verdict = Verdict::kNew;
    uint64_t under_way = 0;         // kJoin
    Result<MutationResult> answer;  // kAnswer: stored, or a refusal
  };
  Judgement Judge(const Name& name, uint64_t fingerprint) const;

  // `under_way` is not 0. A replica begins whatever its predecessor did, without judging.
  void Begin(const Name& name, uint64_t fingerprint, uint64_t under_way);
  // Both have no effect when the stream has gone on since.
  void Commit(const Name& name, uint64_t under_way, const MutationResult& result);
  void Undo(const Name& name, uint64_t under_way);
  // As another replica, or this one's own disk, remembers it; a later one known here stays. Whether
  // it was taken.
  bool Learn(const Name& name, const Stream& stream);
  // Nothing is under way any more, and nothing that was is done.
  void DropUnderWay();
  // Nothing is known to be done any more; that the streams have come so far still is. All of them.
  std::vector<Name> Distrust();

  using Predicate = std::function<bool(Incarnation)>;
  // Forgets the idle streams of clients that are over.
  void Forget(const Predicate& over);
  using Visit = std::function<void(const Name&, const Stream&)>;
  void ForEach(const Visit& visit) const;

  // For metrics.
  struct Counts {
    size_t streams = 0;
    uint64_t repeated = 0;  // answered without being executed again
    uint64_t late = 0;      // refused as late duplicates
  };
  Counts counts() const { return {streams_.size(), repeated_, late_}; }

 private:
  struct Key {
    Incarnation incarnation;
    uint32_t stream = 0;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const;
  };
  static Key KeyOf(const Name& name) { return {name.incarnation, name.stream}; }
  Stream* Find(const Name& name, uint64_t under_way);

  std::unordered_map<Key, Stream, KeyHash> streams_;
  mutable uint64_t repeated_ = 0;
  mutable uint64_t late_ = 0;
};

}  // namespace sheaf::storage
