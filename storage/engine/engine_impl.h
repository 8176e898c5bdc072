#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/guarded.h"
#include "storage/engine/chunk_index.h"
#include "storage/engine/chunk_table.h"
#include "storage/engine/committer.h"
#include "storage/engine/engine.h"
#include "storage/engine/read_errors.h"
#include "storage/engine/read_pins.h"
#include "storage/engine/slab_space.h"
#include "storage/engine/worker_pool.h"

namespace sheaf::storage {

// Threads: the callers' I/O contexts (table look-ups, planning, checksums, transfers), two of group
// commit (slab syncs; index writes), two workers (index look-ups and scans, new slabs).
//
// Lock order: the committer's group mutex; the chunk table; the committer's queues, the read pins,
// the allocator, the growth state, the slot table (none of these while holding another).
//
// Teardown: the destructor waits until every call is answered, so the contexts still run; then the
// workers stop, the committer joins, and the members go in reverse order.
class EngineImpl final : public Engine {
 public:
  static Result<std::unique_ptr<EngineImpl>> Open(const Options& options);
  ~EngineImpl() override;

  void Read(IoContext& io, const ChunkKey& key, uint32_t offset, uint32_t length,
            ReadDone done) override;
  void Write(IoContext& io, WriteArgs args, StateDone done) override;
  void Truncate(IoContext& io, const ChunkKey& key, uint32_t length, uint32_t chunk_size,
                bool extend, ChainVersion chain_version, StateDone done) override;
  void Remove(IoContext& io, ChainId chain, DataId data_id, uint32_t first_index, uint32_t limit,
              RemoveDone done) override;
  void List(IoContext& io, ChainId chain, std::optional<ChunkId> after, std::optional<DataId> only,
            uint32_t limit, ListDone done) override;
  void ListAll(IoContext& io, std::optional<ChunkKey> after, uint32_t limit,
               ListDone done) override;
  void Apply(IoContext& io, Change change, StateDone done) override;
  void Release(const ChunkKey& key, uint64_t ticket) override;
  void Revert(IoContext& io, const ChunkKey& key, uint64_t from, std::vector<StreamRow> rows,
              StateDone done) override;
  void ReadAt(IoContext& io, const ChunkKey& key, uint64_t upto, uint32_t offset, uint32_t length,
              ReadDone done) override;
  void Stamp(IoContext& io, const ChunkKey& key, const ChunkState& want, StateDone done) override;
  void ListUnits(IoContext& io, const ChunkKey& key, UnitsDone done) override;
  void Rewrite(IoContext& io, WriteArgs args, StateDone done) override;
  void PutStreamRows(IoContext& io, std::vector<StreamRow> rows,
                     std::function<void(Status)> done) override;
  void ForgetStreamRows(std::function<bool(Incarnation)> over) override;
  Result<std::vector<StreamRow>> LoadStreamRows() override;
  Space GetSpace() const override;
  Stats GetStats() const override;
  Status Health() const override;
  Faults GetFaults() const override;
  Status Check() override;

 private:
  static constexpr int kWorkers = 2;
  static constexpr uint32_t kMaxRemoved = 1024;  // chunks of one Remove
  static constexpr uint32_t kMaxListed = 10000;  // chunks of one List

  EngineImpl(const Options& options, std::unique_ptr<ChunkIndex> index, uint64_t slab_bytes);
  Status RebuildAllocator();

  // A change on its way through its chunk's queue; see ChunkOp. `current` is the context whose
  // thread this is: its ops run at once, others' are posted to theirs. Null: none's.
  void StartChange(IoContext& io, Change change, StateDone done, IoContext* current);
  void Submit(OpRef op, IoContext* current);
  void RunOps(std::vector<OpRef> ops, IoContext* current);
  void RunOp(OpRef op);
  void OpFinished(const OpRef& op);
  void Stage(const SlotRef& slot, const OpRef& op);
  void StageVersion(const ChunkSlot& slot, ChunkOp& op, Committer::Item& item);
  void AddBlocks(ChunkOp& op, Committer::Item& item) const;
  static void StageStamp(const ChunkSlot& slot, const ChunkOp& op, Committer::Item& item);
  void StageRewrite(const ChunkSlot& slot, ChunkOp& op, Committer::Item& item);
  static void StageRevert(const ChunkSlot& slot, const ChunkOp& op, Committer::Item& item);
  void Reject(const OpRef& op, const Status& status);

  // The record that a read of `upto` sees; `then` runs on io's thread, in the call when it is known.
  void FindRecord(IoContext& io, const ChunkKey& key, uint64_t upto,
                  std::function<void(Result<RecordRef>)> then);
  // Looks the record up on a worker. Under the table's lock.
  Status StartLoad(const SlotRef& slot);
  void Load(const SlotRef& slot);

  struct Removal;
  void RemoveListed(const std::shared_ptr<Removal>& removal, const std::vector<ListedChunk>& chunks);

  void Begin() { ++calls_; }
  void End(size_t calls);
  // Posts `answer` to `io` and ends a call.
  void PostAnswer(IoContext& io, std::function<void()> answer);

  std::unique_ptr<ChunkIndex> index_;
  std::map<ChunkKey, Status> set_aside_;  // damaged index entries; fixed by Open
  mutable WorkerPool workers_;
  mutable SlabSpace space_;
  ReadErrors read_errors_;
  ReadPins pins_;
  Guarded<ChunkTable> table_;
  std::atomic<uint64_t> calls_{0};  // begun and not yet answered
  std::atomic<uint64_t> changes_begun_{0};
  std::atomic<uint64_t> changes_ended_{0};
  std::atomic<uint64_t> corruptions_{0};
  std::mutex idle_mutex_;
  std::condition_variable idle_;
  std::unique_ptr<Committer> committer_;
};

}  // namespace sheaf::storage
