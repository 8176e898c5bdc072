#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "common/metrics.h"
#include "storage/engine/chunk_index.h"
#include "storage/engine/chunk_table.h"
#include "storage/engine/read_pins.h"
#include "storage/engine/slab_space.h"

namespace sheaf::storage {

// Group commit in two stages, each a thread of its own with a queue before it:
//   sync    everything that waits: one sync a touched slab
//   index   everything that is synced: one synced index write, however many changes it carries
// The slabs of one group are synced while the index write of the one before is under way.
//
// Invariants (the order in which a group becomes durable, and the test that breaks without it):
//  1. A change enters the queue only after all its block writes are done
//     (EngineCrashTest.EveryWriteBoundary).
//  2. Every slab a change wrote to is synced before the index write that names the blocks
//     (EngineCrashTest.IgnoringOneSlabSyncIsFound).
//  3. The index write is synced before any answer and before any read sees the new records
//     (EngineCrashTest.IgnoringOneIndexSyncIsFound).
//  4. Blocks of replaced versions are retired after that, and used again only once no read holds
//     them (EngineTest.ReadKeepsItsVersionWhileTheChunkIsOverwritten) and no version does that may
//     be gone back to (EngineHeldTest.ReleaseFreesWhatAHeldVersionReplaced).
//  5. Changes of one chunk commit in the order they were added; within a group the last one is what
//     the index gets (EngineModelTest). The index stage is one thread, so what a chunk's record was
//     before a group is what the group before it left
//     (CommitterTest.ASyncedChangeBuildsOnTheIndexWriteUnderWay).
//  6. After a failed sync or index write no index write starts: what reached the disk is unknown
//     until the next start (EngineTest.FailedSyncTakesTheTargetOutOfService). One that is under way
//     when a slab sync fails stands: its own blocks were synced before
//     (CommitterTest.AFailedSlabSyncStopsItsGroupAndLeavesTheOneBefore).
//  7. Stream rows are in the index write of the change they came with
//     (EngineHeldCrashTest.EveryWriteBoundary).
//
// Thread-safe. The destructor commits what is queued, then joins.
class Committer {
 public:
  struct Item {
    SlotRef slot;         // null: rows only
    RecordRef after;      // null: removed
    uint64_t ticket = 0;  // not 0: the version before it is held
    bool is_rewrite = false;
    // Versions from this ticket on are taken back: the one after which is `after` is the newest.
    std::optional<uint64_t> revert_from;
    std::vector<BlockNumber> added;
    std::vector<BlockNumber> dropped;
    std::vector<BlockNumber> named_again;  // by a revert, as is
    std::vector<BlockNumber> unused;       // what it leaves to nobody
    std::vector<Engine::StreamRow> rows;
    std::vector<uint32_t> slabs;  // that `added` lies in
    IoContext* io = nullptr;
    std::function<void(Status)> done;  // on io's thread
  };
  static constexpr size_t kMaxGroup = 4096;  // changes of one group

  // `ended` is told, on the index stage's thread, of changes that are over, once their answers are
  // posted.
  // `commit_seconds` observes the index writes; may be null.
  Committer(ChunkIndex& index, SlabSpace& space, ReadPins& pins, Guarded<ChunkTable>& table,
            std::function<void(size_t)> ended, Metrics::Histogram* commit_seconds);
  ~Committer();

  // In order for one chunk: callers hold the chunk table's lock. An item without a chunk needs no
  // lock.
  void Add(Item item);

  Status Health() const;
  // The target must leave service because of `status`. The first cause stays.
  void Fail(const Status& status);

  // Of a group: how often, how many changes, how often not durable. Thread-safe.
  struct Counts {
    uint64_t queued = 0;
    uint64_t groups = 0;
    uint64_t changes = 0;
    uint64_t errors = 0;
  };
  Counts counts() const;

  // Runs `action` between two groups, when index and allocator agree.
  void BetweenGroups(const std::function<void()>& action);

 private:
  // What waits for one stage.
  class Queue {
   public:
    void Push(std::vector<Item> items);
    void Push(Item item);
    // Waits. At most kMaxGroup in their order; none: stopped, and nothing is left.
    std::vector<Item> Take();
    // Take answers what is left, then nothing.
    void Stop();
    size_t size() const { return state_.Lock()->items.size(); }

   private:
    struct State {
      std::deque<Item> items;
      bool stopping = false;
    };
    Guarded<State> state_;
    std::condition_variable changed_;
  };

  void RunSyncStage();
  void RunIndexStage();
  Status SyncSlabs(const std::vector<Item>& group);
  void CommitGroup(std::vector<Item>& group);
  Status WriteIndex(const std::vector<Item>& group);
  void Count(size_t changes, bool ok, std::chrono::duration<double> took);
  void Publish(std::vector<Item>& group, bool committed);
  // Under the table's lock. Leaves in `dropped` and `unused` what may be used again.
  static void PublishOne(Item& item);
  void Answer(std::vector<Item>& group, const Status& status);

  ChunkIndex& index_;
  SlabSpace& space_;
  ReadPins& pins_;
  Guarded<ChunkTable>& table_;
  const std::function<void(size_t)> ended_;
  Metrics::Histogram* const commit_seconds_;
  std::atomic<uint64_t> groups_{0};
  std::atomic<uint64_t> changes_{0};
  std::atomic<uint64_t> errors_{0};

  std::mutex group_mutex_;  // held while index and allocator change; before every other lock
  Guarded<Status> health_;
  Queue written_;             // blocks are written
  Queue synced_;              // and their slabs synced, or the target is out of service
  std::thread index_thread_;  // these last: they use all above
  std::thread sync_thread_;
};

}  // namespace sheaf::storage
