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

  struct Space {
    uint64_t used_bytes = 0;   // blocks that chunks hold
    uint64_t total_bytes = 0;  // what the target can hold in all
  };

  // For metrics; those that count do so since the start.
  struct Stats {
    uint64_t calls_under_way = 0;
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
