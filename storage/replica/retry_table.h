#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

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

// The mutations of clients that this node has executed last and those under way, so that a repeated
// one is executed once and a late one not at all. A client has streams; a stream carries one
// mutation at a time, under rising sequences. Of each stream the last one is kept:
//
//   sequence          the last one is done          the last one is under way
//   higher            executed                      kBusy: nothing was done, try again
//   the same          the stored answer             waits, and gets the same answer
//   lower             kCancelled                    kCancelled
//
// Only a success counts as done: after a failure the same sequence may be executed again.
// kCancelled because nobody waits for it any more, whatever is answered: its sender has gone on.
// The code is final, and says nothing about the client's session or about chains.
//
// A page of a removal is a mutation like any other: the next page takes the next sequence. The same
// sequence for something else (another fingerprint) is kInvalid.
//
// Mutations without an incarnation (stock clients without a session) are executed as they come.
// Those without a stream, too, but they count as under way, so that a fence waits for them.
//
// Memory is bounded by kMaxStreams: at the bound the stream that has been idle longest is forgotten
// (a late duplicate of its last mutation would then be executed), and when all of them are under
// way a new stream is answered kBusy.
//
// Thread safety: all calls. No I/O, no clock.
class RetryTable {
 public:
  using Answer = Result<MutationResult>;
  using Done = std::function<void(const Answer&)>;

  static constexpr size_t kShards = 16;
  static constexpr size_t kMaxStreams = 1 << 18;

  struct Name {
    Incarnation incarnation;
    uint32_t stream = 0;
    uint64_t sequence = 0;
  };

  explicit RetryTable(size_t max_streams = kMaxStreams);

  // One mutation under way, for its one Finish.
  struct Attempt;
  using AttemptPtr = std::shared_ptr<Attempt>;

  struct Begun {
    AttemptPtr attempt;            // to execute, or
    std::optional<Answer> answer;  // what to answer; neither: `joined` will get the answer
  };
  // `fingerprint` stands for what is asked. `joined` may run on any thread, inside a Finish.
  Begun Begin(const Name& name, uint64_t fingerprint, Done joined);
  // Answers whoever joined the attempt.
  void Finish(const AttemptPtr& attempt, const Answer& answer);

  using Predicate = std::function<bool(Incarnation)>;
  // Forgets the idle streams of clients that are over.
  void Forget(const Predicate& over);
  // Whether such a client has a mutation under way.
  bool AnyUnderWay(const Predicate& over) const;

  // For metrics.
  struct Counts {
    size_t streams = 0;
    uint64_t repeated = 0;  // answered without being executed again
    uint64_t late = 0;      // refused as late duplicates
  };
  Counts GetCounts() const;

 private:
  struct Key {
    Incarnation incarnation;
    uint32_t stream = 0;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const;
  };
  struct Stream {
    uint64_t sequence = 0;     // of the last one begun
    uint64_t fingerprint = 0;  // of the same
    bool done = false;         // it succeeded
    MutationResult result;
    AttemptPtr attempt;             // under way
    std::list<Key>::iterator idle;  // its place in Shard::idle when none is; else its end
  };
  struct Shard {
    std::unordered_map<Key, Stream, KeyHash> streams;
    std::list<Key> idle;  // longest first
    std::unordered_map<Incarnation, size_t> under_way;
    uint64_t repeated = 0;
    uint64_t late = 0;
  };
  struct LockedShard {
    mutable std::mutex mutex;
    Shard shard;
  };

  static Key KeyOf(const Name& name) { return {name.incarnation, name.stream}; }
  LockedShard& ShardOf(const Key& key);
  // The stream, taken out of `idle`, made if need be; null at the bound.
  Stream* Take(Shard& shard, const Key& key) const;
  // What needs no execution. Takes `*joined` when it joins.
  static std::optional<Begun> Judge(Shard& shard, const Name& name, uint64_t fingerprint,
                                    Done* joined);

  const size_t max_streams_of_shard_;
  std::array<LockedShard, kShards> shards_;
};

}  // namespace sheaf::storage
