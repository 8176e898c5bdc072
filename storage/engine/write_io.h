#pragma once

#include <array>
#include <functional>
#include <memory>
#include <vector>

#include "storage/engine/chunk_op.h"
#include "storage/engine/slab_space.h"

namespace sheaf::storage {

// Puts one change's bytes into new blocks: whole blocks straight from the payload, blocks that the
// change covers in part by reading, verifying, patching and writing a copy. Nothing is written over
// a block that a record names, so a crash at any moment leaves the old version whole.
//
// Runs on the thread of op.io only. `finished` runs there too, once, never before Start returns
// when anything had to be awaited; op.status, op.blocks, op.updates say how it went.
class WriteIo : public std::enable_shared_from_this<WriteIo> {
 public:
  WriteIo(SlabSpace& space, OpRef op, std::function<void()> finished);
  void Start();

 private:
  // A block that is patched: at most the first and the last of a write, or the one that a
  // truncation cuts.
  struct Edge {
    size_t index = 0;          // into op.blocks
    BlockNumber old = kNoBlock;  // to be read first; kNoBlock: zeros
    uint32_t begin = 0;        // what is replaced, within the block
    uint32_t end = 0;
    std::span<const uint8_t> patch;  // empty: zeros
    BufferRef buffer;
  };

  Status Plan();
  void PlanWrite();
  void PlanTruncate();
  Status PlanStamp();
  void AddEdge(uint32_t logical, uint32_t begin, uint32_t end, std::span<const uint8_t> patch);
  void Allocate();
  void Begin(Result<SlabSpace::Blocks> blocks);
  Status PrepareBuffers();
  void StartEdge(Edge& edge);
  void PatchEdge(Edge& edge);
  Status VerifyEdge(const Edge& edge);
  void WriteWholeBlocks();
  void Written(const Status& status);
  void Done(const Status& status);

  SlabSpace& space_;
  const OpRef op_;
  std::function<void()> finished_;

  uint32_t first_block_ = 0;  // logical
  uint32_t block_count_ = 0;
  std::vector<Edge> edges_;
  uint32_t whole_begin_ = 0;  // logical blocks [begin, end) lie wholly in the payload
  uint32_t whole_end_ = 0;
  BufferRef whole_buffer_;
  std::span<const uint8_t> whole_bytes_;
  uint32_t pending_ = 0;
};

}  // namespace sheaf::storage
