#pragma once

#include <functional>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "common/guarded.h"
#include "storage/engine/chunk_op.h"
#include "storage/engine/held_versions.h"

namespace sheaf::storage {

struct ChunkKeyHash {
  size_t operator()(const Engine::ChunkKey& key) const noexcept {
    return std::hash<ChunkId>()(key.chunk) ^ (key.chain.value() * 0x9e3779b97f4a7c15ull);
  }
};

// A chunk that is known in memory: its record, and the changes under way.
//
// Invariants:
//  1. `indexed` is what the index has, durably. With held versions it is the last of them; reads
//     see what the chain has committed, unless they ask for a later one.
//  2. `staged` is `indexed` with every change applied that was handed to the committer; the next
//     change builds on it.
//  3. Changes are staged in the order of `queue`, so they commit in the order of the calls.
//  4. A queued change runs when no unstaged one before it touches the same blocks: what it reads
//     to modify is on disk, and nobody replaces it meanwhile.
//  5. A slot that is busy is not evicted: a record is loaded only while no change of it is under
//     way and no version held, so a load never brings an old record back, nor shows a new one.
struct ChunkSlot {
  static constexpr size_t kMaxQueued = 1024;   // changes; beyond: busy
  static constexpr size_t kMaxWaiters = 4096;  // reads that wait for the load; beyond: busy
  static constexpr size_t kWindow = 64;        // changes looked at for what may run side by side
  using Waiter = std::function<void(Result<RecordRef>)>;

  explicit ChunkSlot(const Engine::ChunkKey& chunk) : key(chunk) {}

  const Engine::ChunkKey key;
  bool loaded = false;
  bool loading = false;
  RecordRef indexed;
  RecordRef staged;
  HeldVersions held;
  // Lists hold no memory while they are empty, as they are in nearly every slot; a deque's half KiB
  // is more than all the rest of one.
  std::list<OpRef> queue;
  uint32_t commits_in_flight = 0;
  uint32_t rewrites = 0;  // among the two above
  std::vector<Waiter> waiters;
  size_t charge = 0;
  std::list<ChunkSlot*>::iterator lru;

  bool IsBusy() const {
    return loading || !queue.empty() || commits_in_flight > 0 || !waiters.empty() ||
           !held.empty();
  }
  bool IsChanging() const { return queue.size() + commits_in_flight > rewrites; }
  // What a read through ticket `upto` sees. REQUIRES: loaded.
  const RecordRef& At(uint64_t upto) const { return held.empty() ? indexed : held.At(upto); }
  // Marks the queued changes that may run now as running and answers them (invariant 4).
  std::vector<OpRef> TakeRunnable();
};
using SlotRef = std::shared_ptr<ChunkSlot>;

// Slots by key, least recently used ones dropped beyond `limit_bytes` (busy ones never). Absence
// of a chunk is remembered too. Not thread-safe: lives in a Guarded.
class ChunkTable {
 public:
  explicit ChunkTable(size_t limit_bytes) : limit_bytes_(limit_bytes) {}

  SlotRef FindOrAdd(const Engine::ChunkKey& key);
  // Null when it is not known.
  SlotRef Find(const Engine::ChunkKey& key) const;
  // FindOrAdd for a call's own chunk: counts whether its record was in memory.
  SlotRef LookUp(const Engine::ChunkKey& key);
  // To be called after a slot's state changed: counts its memory anew and evicts what is too much.
  void Settle(ChunkSlot& slot);

  size_t size() const { return slots_.size(); }
  size_t bytes() const { return bytes_; }
  uint64_t hits() const { return hits_; }
  uint64_t misses() const { return misses_; }

 private:
  void Evict();

  const size_t limit_bytes_;
  size_t bytes_ = 0;
  uint64_t hits_ = 0;
  uint64_t misses_ = 0;
  std::unordered_map<Engine::ChunkKey, SlotRef, ChunkKeyHash> slots_;
  std::list<ChunkSlot*> lru_;  // most recently used first
};

}  // namespace sheaf::storage
