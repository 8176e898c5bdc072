#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "storage/engine/chunk_record.h"
#include "storage/engine/engine.h"

namespace sheaf::storage {

// One change of one chunk, from the call to its acknowledgement:
//   queued -> running (its own blocks are written) -> finished -> staged (its record is built, in
//   the order of the calls) -> committed (by the committer).
// The first three flags belong to the chunk table's lock; the rest to the thread of `io` while
// running.
struct ChunkOp {
  enum class Kind : uint8_t { kWrite, kTruncate, kRemove, kNote, kStamp, kRevert, kRewrite };

  Kind kind = Kind::kWrite;
  Engine::WriteArgs args;  // key, chunk size and chain version for every kind
  uint32_t length = 0;     // truncate: the new length
  bool extend = false;
  uint64_t ticket = 0;     // revert: of the first version that goes; 0: none
  Engine::ChunkState want;  // stamp
  std::vector<Engine::StreamRow> rows;
  std::vector<uint32_t> unit_crcs;  // of the payload's whole units, the first one first
  IoContext* io = nullptr;
  Engine::StateDone done;

  bool submitted = false;  // counted among the changes begun; set before anybody else has it

  bool running = false;
  bool finished = false;

  RecordRef base;  // what the chunk was when the op began to run; null: absent
  Status status;
  bool no_change = false;
  bool write_failed = false;         // the device refused a write: the target must leave service
  std::vector<BlockNumber> blocks;   // allocated for it
  std::vector<BlockUpdate> updates;  // what it wrote, by logical block

  const Engine::ChunkKey& key() const { return args.key; }
  uint32_t end() const { return args.offset + static_cast<uint32_t>(args.bytes.size()); }

  // Blocks that both may write or read. All but writes change, or take, what every other op sees.
  bool ConflictsWith(const ChunkOp& other) const {
    if (kind != Kind::kWrite || other.kind != Kind::kWrite) return true;
    return args.offset / kBlockBytes <= (other.end() - 1) / kBlockBytes &&
           other.args.offset / kBlockBytes <= (end() - 1) / kBlockBytes;
  }
};
using OpRef = std::shared_ptr<ChunkOp>;

inline std::string ToString(const Engine::ChunkKey& key) {
  return sheaf::ToString(key.chain) + "/" + sheaf::ToString(key.chunk);
}

inline Engine::ChunkState StateOf(const ChunkRecord* record) {
  if (record == nullptr) return {};
  return {record->length, record->version, record->chain_version, record->checksum,
          record->chunk_size};
}

}  // namespace sheaf::storage
