#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "storage/engine/chunk_op.h"
#include "storage/engine/slab_space.h"

namespace sheaf::storage {

// Puts the bytes of a rewrite (Engine::Rewrite) into new blocks: of those blocks that the chunk's
// record names and of which every unit has the checksum that the record has for it. Nothing of what
// is on disk is read.
//
// Runs on the thread of op.io only. `finished` runs there too, once; op.status, op.blocks and
// op.updates say how it went.
class RewriteIo : public std::enable_shared_from_this<RewriteIo> {
 public:
  RewriteIo(SlabSpace& space, OpRef op, std::function<void()> finished);
  void Start();

 private:
  Status Plan();
  // Whether the bytes for it are its own.
  bool Fits(uint32_t logical) const;
  void Allocate();
  void Begin(Result<SlabSpace::Blocks> blocks);
  Status PrepareBuffer();
  void WriteBlocks();
  void Done(const Status& status);
  Status Error(Code code, const std::string& cause) const;

  SlabSpace& space_;
  const OpRef op_;
  std::function<void()> finished_;

  BufferRef buffer_;                // whole blocks, zeros past the chunk's end
  std::span<const uint8_t> bytes_;  // in it
  uint32_t pending_ = 0;
};

}  // namespace sheaf::storage
