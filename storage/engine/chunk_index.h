#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "storage/engine/chunk_record.h"
#include "storage/engine/engine.h"

namespace rocksdb {
class DB;
class Env;
class Iterator;
class Snapshot;
class WriteBatch;
}  // namespace rocksdb

namespace sheaf::storage {

// The chunk records and stream rows of one target in RocksDB (chunk_format.h says how). Every call
// blocks: engine threads only. Thread-safe; but Load of a chunk must not run beside a Commit of it
// (the chunk table sees to that), since a record of several pages is read with several look-ups.
class ChunkIndex {
 public:
  struct Change {
    Engine::ChunkKey key;
    RecordRef before;  // as the index has it; null: absent
    RecordRef after;   // null: removed
  };

  // `env`: null for the machine's. `log_bytes`: of a log, written as zeros beforehand
  // (common/zeroed_logs.h); 0: logs grow.
  static Result<std::unique_ptr<ChunkIndex>> Open(const std::string& path, rocksdb::Env* env,
                                                  uint64_t log_bytes);
  // To look at only: nothing is written, no lock is taken, changes are errors. Beside a process that
  // has it open it shows the state at this call.
  static Result<std::unique_ptr<ChunkIndex>> OpenReadOnly(const std::string& path);
  ~ChunkIndex();

  // The slab size of the target; written with `slab_bytes`, synced, when there is none yet.
  Result<uint64_t> OpenTarget(uint64_t slab_bytes);
  // kNotFound when there is none.
  Result<uint64_t> ReadTarget();

  // Null when the chunk does not exist.
  Result<RecordRef> Load(const Engine::ChunkKey& key);

  // All changes and rows or none, durable when it answers. Writes only the pages that differ; of
  // several rows of one stream the last one stays.
  Status Commit(std::span<const Change> changes, std::span<const Engine::StreamRow> rows);

  // Every row; one that is damaged is logged and left out.
  Result<std::vector<Engine::StreamRow>> LoadStreamRows();
  // Removes the rows whose incarnation `over` says. Not synced: what a crash brings back is as good
  // as what was never removed.
  Status RemoveStreamRows(const std::function<bool(Incarnation)>& over);

  // One whose head is damaged is left out.
  Result<std::vector<Engine::ListedChunk>> List(ChainId chain, std::optional<ChunkId> after,
                                                std::optional<DataId> only, uint32_t limit);
  // Of every chain, those with a damaged head with it.
  Result<std::vector<Engine::ListedChunk>> ListAll(std::optional<Engine::ChunkKey> after,
                                                   uint32_t limit);

  // Every record as of one moment, in key order; stops at the first error of `visit`. Entries that
  // are damaged go to `damaged`, with the blocks that those of their pages name that can be read;
  // the index itself being unreadable is an error.
  using Visit = std::function<Status(const Engine::ChunkKey&, const ChunkRecord&)>;
  using Damaged = std::function<void(const Engine::ChunkKey&, const Status&,
                                     std::span<const BlockNumber> blocks)>;
  class View;
  std::unique_ptr<View> Snapshot();
  Status ForEach(const View& view, const Visit& visit, const Damaged& damaged);

 private:
  ChunkIndex(std::unique_ptr<rocksdb::Env> env, std::unique_ptr<rocksdb::DB> db);

  std::unique_ptr<rocksdb::Env> env_;  // null: the machine's; before the database, which uses it
  std::unique_ptr<rocksdb::DB> db_;
};

// A moment of the index that stays readable. REQUIRES: goes before the index.
class ChunkIndex::View {
 public:
  View(rocksdb::DB& db, const rocksdb::Snapshot* snapshot) : db_(db), snapshot_(snapshot) {}
  ~View();
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  const rocksdb::Snapshot* get() const { return snapshot_; }

 private:
  rocksdb::DB& db_;
  const rocksdb::Snapshot* snapshot_;
};

}  // namespace sheaf::storage
