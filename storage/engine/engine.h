#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/metrics.h"
#include "common/status.h"
#include "storage/disk/io_context.h"

namespace rocksdb {
class Env;
}

namespace sheaf::storage {

// The chunk engine of one target: slab files for bytes, RocksDB for the chunk index.
//
// Thread safety: all calls from any I/O context's thread; callbacks run on the context that was
// passed in. Nothing here blocks a context: what must (index misses, syncs, commits) runs on the
// engine's own threads and comes back by IoContext::Post.
class Engine {
 public:
  struct Options {
    std::string index_path;                 // RocksDB directory
    std::shared_ptr<SlabFiles> slabs;
    uint64_t slab_bytes = uint64_t{1} << 30;
    uint64_t capacity_bytes = 0;            // 0: what the file system has
    uint64_t index_cache_bytes = 64 << 20;  // chunk records kept in memory
    // Kept free on the file system for the index, so that removal works on a full disk.
    uint64_t index_reserve_bytes = 256 << 20;
    Metrics::Histogram* commit_seconds = nullptr;  // of group commits; may be null
    // Of a log of the index, written as zeros beforehand (common/zeroed_logs.h); 0: logs grow.
    uint64_t index_log_bytes = 16 << 20;
    rocksdb::Env* env = nullptr;            // tests inject faults here; null: the default
  };

  struct ChunkKey {
    ChainId chain;
    ChunkId chunk;
    friend auto operator<=>(const ChunkKey&, const ChunkKey&) = default;
  };

  struct ChunkState {
    uint32_t length = 0;
    ChunkVersion version;  // 0: the chunk does not exist
    ChainVersion chain_version;
    uint32_t checksum = 0;  // CRC32C over unit checksums and length: what replicas compare
    uint32_t chunk_size = 0;
  };

  struct ReadAnswer {
    ChunkState state;
    BufferRef buffer;               // keeps `bytes` alive; null when empty
    std::span<const uint8_t> bytes;
    uint32_t crc32c = 0;            // of `bytes`
  };

  // One write of a chunk. `bytes` lies in `buffer`; it need not be aligned, but an aligned range
  // at an aligned chunk offset is written from where it is, without a copy.
  struct WriteArgs {
    ChunkKey key;
    uint32_t offset = 0;
    uint32_t chunk_size = 0;
    uint32_t crc32c = 0;  // of `bytes`; checked before anything is written: kCorrupt
    ChainVersion chain_version;
    BufferRef buffer;
    std::span<const uint8_t> bytes;
  };

  // The last mutation of one client stream on a chain, by which a repeated or late one is
  // recognised (storage/replica/stream_table.h). Stored with the change it is of.
  struct StreamRow {
    ChainId chain;
    Incarnation incarnation;
    uint32_t stream = 0;
    uint64_t sequence = 0;
    uint64_t fingerprint = 0;
    bool done = false;  // false: it was undone, and may be executed
    ChunkVersion version;
    uint32_t chunk_length = 0;
    uint32_t removed = 0;
    bool more = false;
    friend bool operator==(const StreamRow&, const StreamRow&) = default;
  };

  // One change of one chunk on behalf of its chain.
  struct Change {
    enum class Kind : uint8_t {
      kWrite,
      kTruncate,
      kRemove,
      kNote,  // the chunk stays as it is: only the row
    };
    Kind kind = Kind::kWrite;
    WriteArgs args;       // key, chunk size and chain version for every kind; the rest for kWrite
    uint32_t length = 0;  // kTruncate, with `extend` as of Truncate
    bool extend = false;
    uint64_t ticket = 0;  // its place in the chain's order; 0: committed as soon as it is durable
    // Put in the index write that makes the change durable. `version` and `chunk_length` are set by
    // the engine for kWrite and kTruncate.
    std::optional<StreamRow> row;
  };

  static constexpr uint64_t kNewest = UINT64_MAX;

  struct Space {
    uint64_t used_bytes = 0;   // blocks that chunks hold
    uint64_t total_bytes = 0;  // what the target can hold in all
  };

  // For metrics; those that count do so since the start.
  struct Stats {
    uint64_t calls_under_way = 0;
    uint64_t changes_begun = 0;  // of chunks and rows; the difference is under way
    uint64_t changes_ended = 0;
    uint64_t commit_queue = 0;  // changes that wait for a group commit
    uint64_t commit_groups = 0;
    uint64_t commit_changes = 0;
    uint64_t commit_errors = 0;  // groups that could not be made durable
    uint64_t worker_queue = 0;   // look-ups and scans that wait for a thread
    uint64_t cached_chunks = 0;  // records in memory
    uint64_t cache_bytes = 0;
    uint64_t cache_hits = 0;
    uint64_t cache_misses = 0;
    uint64_t corruptions = 0;  // reads and changes that met a wrong checksum
  };

  struct RemoveAnswer {
    uint32_t removed = 0;
    bool more = false;
  };

  struct ListedChunk {
    ChunkKey key;
    ChunkState state;
    Status damage;  // not ok: its index entry is damaged, and `state` empty (ListAll only)
  };

  using UnitsDone = std::function<void(Result<std::vector<uint32_t>>)>;
  using ReadDone = std::function<void(Result<ReadAnswer>)>;
  using StateDone = std::function<void(Result<ChunkState>)>;
  using RemoveDone = std::function<void(Result<RemoveAnswer>)>;
  using ListDone = std::function<void(Result<std::vector<ListedChunk>>)>;

  // Opens the index, the slabs and the allocator (rebuilt from the index, so nothing leaks).
  // kCorrupt when index and slabs disagree; kInvalid for a format newer than ours. A chunk whose
  // index entry is damaged is set aside: calls for it answer kCorrupt, the blocks that can be told
  // to be its own are not used again, and all others are served.
  static Result<std::unique_ptr<Engine>> Open(const Options& options);
  // Waits for what is under way.
  virtual ~Engine() = default;

  // Every byte answered was checked against its checksum: kCorrupt names chunk, slab and offset.
  virtual void Read(IoContext& io, const ChunkKey& key, uint32_t offset, uint32_t length,
                    ReadDone done) = 0;

  // Durable when done: blocks first (slab sync), then the index record that names them (synced
  // write-ahead log); one group commit serves every write that waits. Writes to one chunk take
  // effect in the order of the calls. kNoSpace before anything is half done.
  virtual void Write(IoContext& io, WriteArgs args, StateDone done) = 0;

  // Sets the length. Extending leaves a hole. With `extend` false a shorter or absent chunk is
  // left alone. Ordered with writes; durable when done.
  virtual void Truncate(IoContext& io, const ChunkKey& key, uint32_t length, uint32_t chunk_size,
                        bool extend, ChainVersion chain_version, StateDone done) = 0;

  // Removes chunks of `data_id` with index >= first_index, at most `limit`. Durable when done.
  // Works on a full disk.
  virtual void Remove(IoContext& io, ChainId chain, DataId data_id, uint32_t first_index,
                      uint32_t limit, RemoveDone done) = 0;

  // Chunks of `chain` after `after` in key order.
  virtual void List(IoContext& io, ChainId chain, std::optional<ChunkId> after,
                    std::optional<DataId> only, uint32_t limit, ListDone done) = 0;

  // Chunks of every chain after `after` in key order, damaged ones with them.
  virtual void ListAll(IoContext& io, std::optional<ChunkKey> after, uint32_t limit,
                       ListDone done) = 0;

  // ---- for a chain's replica: versions that are durable and not yet committed ----
  //
  // A change with a ticket leaves its version *held* once it is durable: the version before it stays
  // readable and keeps its blocks until Release. The index names the newest durable version alone,
  // so after a restart it is the only one, and it counts as committed.
  // Tickets of one chunk rise in the order of the calls.

  // As Write, Truncate and the removal of one chunk, with ticket and row. From any thread; `done`
  // and the disk transfers run on `io`'s. Changes of one chunk take effect in the order of the calls.
  virtual void Apply(IoContext& io, Change change, StateDone done) = 0;

  // The chunk's versions through `ticket` are committed: what they replaced goes. No effect on
  // tickets that are not held. From any thread.
  virtual void Release(const ChunkKey& key, uint64_t ticket) = 0;

  // Takes the chunk back to what it was before the first held version with a ticket >= `from`;
  // durable when done, with `rows` in the same index write. kBusy while a rewrite is under way.
  // REQUIRES: no change of the chunk is. From any thread.
  virtual void Revert(IoContext& io, const ChunkKey& key, uint64_t from, std::vector<StreamRow> rows,
                      StateDone done) = 0;

  // As Read, of the newest version with a ticket <= `upto`, or the one before all held ones. Read
  // itself answers the version before all held ones; kNewest the newest durable one.
  virtual void ReadAt(IoContext& io, const ChunkKey& key, uint64_t upto, uint32_t offset,
                      uint32_t length, ReadDone done) = 0;

  // Gives the chunk the numbers that it has on another replica: kCorrupt when length or checksum
  // differ from `want`, kNotFound when there is no chunk. Ordered with changes; durable when done.
  virtual void Stamp(IoContext& io, const ChunkKey& key, const ChunkState& want, StateDone done) = 0;

  // CRC32C of each 4 KiB unit of the chunk's newest durable version, the last one padded with zeros:
  // what two replicas compare to find where they differ. Empty when there is no chunk.
  virtual void ListUnits(IoContext& io, const ChunkKey& key, UnitsDone done) = 0;

  // Puts `args.bytes` in the place of the same bytes that are damaged on disk: the chunk stays what it
  // is, in new blocks. From a block border (kBlockBytes) on. Block by block: only where all bytes of
  // the block have the checksums of the chunk's newest version; other blocks stay as they are, and
  // holes do. Of `args`, key, offset and bytes count. Ordered with changes, whatever is held; durable
  // when done. What is on disk is not read. Works on a full disk, a page (kPageBytes) at a time.
  //   kNotFound  there is no chunk
  //   kCorrupt   no block has these bytes; nothing has changed
  // From any thread.
  virtual void Rewrite(IoContext& io, WriteArgs args, StateDone done) = 0;

  // Durable when done. From any thread.
  virtual void PutStreamRows(IoContext& io, std::vector<StreamRow> rows,
                             std::function<void(Status)> done) = 0;
  // Removes the rows that `over` says, in the background; what a crash leaves is removed by the
  // next call. From any thread.
  virtual void ForgetStreamRows(std::function<bool(Incarnation)> over) = 0;
  // All rows. Blocking; meant for the start.
  virtual Result<std::vector<StreamRow>> LoadStreamRows() = 0;

  virtual Space GetSpace() const = 0;
  virtual Stats GetStats() const { return {}; }
  // Not ok once a write or sync failed in a way that cannot be repaired by trying again, or the
  // device refused reads in too many places (ReadErrors): the target must leave service.
  virtual Status Health() const = 0;

  struct Faults {
    uint64_t damaged_entries = 0;  // chunks that were set aside at the start
    uint64_t read_errors = 0;      // reads that the device refused twice, since the start
  };
  virtual Faults GetFaults() const = 0;

  // Compares allocator and index: every block that a record names is allocated, once, and no other
  // is. Blocking; runs beside foreground work. The error names the first disagreement.
  virtual Status Check() = 0;
};

}  // namespace sheaf::storage
