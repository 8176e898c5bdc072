#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "common/ids.h"
#include "storage/disk/io_context.h"
#include "storage/replica/stream_table.h"

namespace sheaf::storage {

class StageForward;

// One change on its way along a chain, the same on every replica. Immutable once shared.
struct ChainOp {
  enum class Kind : uint8_t {
    kWrite,
    kTruncate,
    kRemove,  // one chunk
    kNote,    // no change: the result of a named mutation that consisted of several
    kAbort,   // undoes the chunk's changes from `abort_from` on
  };

  Kind kind = Kind::kWrite;
  ChunkId chunk;
  ChainVersion proposed;  // the chain's version when its head took the change
  uint32_t offset = 0;
  uint32_t length = 0;  // of a truncate
  uint32_t chunk_size = 0;
  uint32_t crc32c = 0;  // of `bytes`
  bool extend = false;
  uint64_t abort_from = 0;
  StreamTable::Name name;
  uint64_t fingerprint = 0;  // of what the client asked
  MutationResult note;       // kNote
  IoContext* io = nullptr;   // that received it, and writes it; null: any
  BufferRef buffer;          // keeps `bytes` alive: until the chain has committed the change
  std::span<const uint8_t> bytes;
  std::shared_ptr<StageForward> forward;  // has sent `bytes` on ahead; null: they go with this
};
using ChainOpRef = std::shared_ptr<const ChainOp>;

}  // namespace sheaf::storage
