#pragma once

#include <deque>
#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "storage/replica/chain_core.h"
#include "tests/sim/chunk_image.h"
#include "tests/sim/random.h"
#include "tests/sim/scheduler.h"

namespace sheaf::sim {

using storage::ChainOp;
using storage::ChainOpRef;
using storage::LocalState;
using storage::StreamTable;

// The disk of one target, with what storage/engine/engine.h promises a chain's replica: changes of
// a chunk become durable in their order, each in one step with its stream row; versions are held
// until they are released; of a crash only what is durable remains, and the newest durable version
// of a chunk counts as committed then.
class SimEngine {
 public:
  struct Timing {
    Time fast = 0;  // a change takes up to this
    Time slow = 0;  // ... or up to this
    uint32_t slow_percent = 0;
  };

  SimEngine(Scheduler& scheduler, Random random) : scheduler_(scheduler), random_(random) {}

  void SetTiming(const Timing& timing) { timing_ = timing; }
  void SetFull(bool full) { full_ = full; }
  // So many of the changes find no space.
  void SetFlaky(uint32_t percent) { flaky_percent_ = percent; }
  // Nothing works any more, until the next crash.
  void Break() { broken_ = true; }
  bool broken() const { return broken_; }
  // The chunk cannot be read until it is written anew or healed.
  void Rot(ChainId chain, ChunkId chunk) { rotten_.insert({chain, chunk}); }
  void HealRot() { rotten_.clear(); }
  // The disk is another one, without anything on it.
  void Lose();
  // Also what a restart of the process does: nothing that is not durable remains. What was under
  // way on a chunk may be durable, up to some change.
  void Crash();

  using StateDone = std::function<void(const Result<LocalState>&)>;
  using StatusDone = std::function<void(const Status&)>;

  void Apply(ChainId chain, uint64_t ticket, const ChainOpRef& op, StateDone done);
  void Release(ChainId chain, ChunkId chunk, uint64_t ticket);
  void Revert(ChainId chain, ChunkId chunk, uint64_t from, std::vector<StreamTable::Name> undone,
              StatusDone done);

  static constexpr uint64_t kNewest = UINT64_MAX;
  Result<Image> ReadAt(ChainId chain, ChunkId chunk, uint64_t upto) const;

  // Resync. A piece with `first` empties the chunk before.
  void WritePiece(ChainId chain, ChunkId chunk, bool first, const Content& cells, uint32_t begin,
                  uint32_t end, StatusDone done);
  void Stamp(ChainId chain, const storage::ChunkFacts& facts, StatusDone done);
  void Remove(ChainId chain, ChunkId chunk, StatusDone done);
  storage::ListPage List(ChainId chain, const storage::ChunkRange& range, uint32_t limit) const;
  // Every chunk of which any version exists.
  std::vector<ChunkId> AnyVersion(ChainId chain) const;

  using Row = std::pair<StreamTable::Name, StreamTable::Stream>;
  void PutRows(ChainId chain, std::vector<Row> rows, StatusDone done);
  void ForgetRows(ChainId chain, const StreamTable::Predicate& over);
  std::vector<Row> LoadRows(ChainId chain) const;

  // Whether all that was asked for is durable.
  bool idle() const { return pending_ == 0; }

 private:
  struct Held {
    uint64_t ticket = 0;
    Image image;
  };
  struct Chunk {
    Image base;
    std::vector<Held> held;
    std::deque<Action> pending;
    const Image& newest() const { return held.empty() ? base : held.back().image; }
  };
  struct StoredRow {
    StreamTable::Name name;
    StreamTable::Stream stream;
    uint64_t order = 0;  // of changes and undoing: as they become durable; of others: as they come
  };
  using Key = std::pair<ChainId, ChunkId>;
  using RowKey = std::pair<ChainId, std::pair<Incarnation, uint32_t>>;

  Time Delay();
  // Runs when it is its turn on the chunk and its time has passed.
  void Enqueue(const Key& key, Action action);
  void RunFirst(const Key& key);
  Result<LocalState> ApplyNow(const Key& key, uint64_t ticket, const ChainOp& op);
  Status Writable(const Key& key, bool partial);
  // Nobody is left to be told of what becomes durable while the process dies.
  template <typename Done, typename Outcome>
  void Tell(const Done& done, const Outcome& outcome) const {
    if (!dying_) done(outcome);
  }
  void PutRow(ChainId chain, const StreamTable::Name& name, const StreamTable::Stream& stream,
              uint64_t order);

  Scheduler& scheduler_;
  Random random_;
  Timing timing_;
  bool full_ = false;
  bool broken_ = false;
  bool dying_ = false;
  uint32_t flaky_percent_ = 0;
  uint32_t mount_ = 1;
  uint64_t next_order_ = 1;
  size_t pending_ = 0;
  std::map<Key, Chunk> chunks_;
  std::map<RowKey, StoredRow> rows_;
  std::set<Key> rotten_;
};

}  // namespace sheaf::sim
