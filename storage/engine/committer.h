#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "storage/engine/chunk_index.h"
#include "storage/engine/chunk_table.h"
#include "storage/engine/read_pins.h"
#include "storage/engine/slab_space.h"

namespace sheaf::storage {

// The group commit thread: everything that waits goes into one group, and a group costs one sync a
// touched slab and one synced index write, however many changes it carries.
//
// Invariants (the order in which a group becomes durable, and the test that breaks without it):
//  1. A change enters the queue only after all its block writes are done
//     (EngineCrashTest.EveryWriteBoundary).
//  2. Every slab a group wrote to is synced before the index write that names the blocks
//     (EngineCrashTest.IgnoringOneSlabSyncIsFound).
//  3. The index write is synced before any answer and before any read sees the new records
//     (EngineCrashTest.IgnoringOneIndexSyncIsFound).
//  4. Blocks of replaced versions are retired after that, and used again only once no read holds
//     them (EngineTest.ReadKeepsItsVersionWhileTheChunkIsOverwritten).
//  5. Changes of one chunk commit in the order they were added; within a group the last one is what
//     the index gets (EngineModelTest).
//  6. After a failed sync or index write nothing commits any more: what reached the disk is unknown
//     until the next start (EngineTest.FailedSyncTakesTheTargetOutOfService).
//
// Thread-safe. The destructor commits what is queued, then joins.
class Committer {
 public:
  struct Item {
    SlotRef slot;
    RecordRef after;  // null: removed
    std::vector<BlockNumber> added;
    std::vector<BlockNumber> dropped;
    std::vector<uint32_t> slabs;  // that `added` lies in
    IoContext* io = nullptr;
    std::function<void(Status)> done;  // on io's thread
  };
  static constexpr size_t kMaxGroup = 4096;  // changes of one group

  // `ended` is told, on this thread, of each change that is over, before its answer is posted.
  Committer(ChunkIndex& index, SlabSpace& space, ReadPins& pins, Guarded<ChunkTable>& table,
            std::function<void(size_t)> ended);
  ~Committer();

  // In order for one chunk: callers hold the chunk table's lock.
  void Add(Item item);

  Status Health() const;
  // The target must leave service because of `status`. The first cause stays.
  void Fail(const Status& status);

  // Runs `action` between two groups, when index and allocator agree.
  void BetweenGroups(const std::function<void()>& action);

 private:
  void Run();
  void CommitGroup(std::vector<Item>& group);
  Status MakeDurable(const std::vector<Item>& group);
  void Publish(const std::vector<Item>& group, bool committed);
  void Answer(std::vector<Item>& group, const Status& status);

  ChunkIndex& index_;
  SlabSpace& space_;
  ReadPins& pins_;
  Guarded<ChunkTable>& table_;
  const std::function<void(size_t)> ended_;

  std::mutex group_mutex_;  // held while a group commits; before every other lock
  Guarded<Status> health_;
  struct Queue {
    std::deque<Item> items;
    bool stopping = false;
  };
  Guarded<Queue> queue_;
  std::condition_variable changed_;
  std::thread thread_;  // last: uses all above
};

}  // namespace sheaf::storage
