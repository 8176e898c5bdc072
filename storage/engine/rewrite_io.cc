#include "storage/engine/rewrite_io.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "common/buffer.h"
#include "storage/engine/payload_crc.h"

namespace sheaf::storage {

RewriteIo::RewriteIo(SlabSpace& space, OpRef op, std::function<void()> finished)
    : space_(space), op_(std::move(op)), finished_(std::move(finished)) {}

Status RewriteIo::Error(Code code, const std::string& cause) const {
  return {code, "rewrite chunk " + ToString(op_->key()) + ": " + cause};
}

void RewriteIo::Start() {
  op_->status = Plan();
  if (!op_->status.ok() || op_->no_change) {
    finished_();
    return;
  }
  Allocate();
}

Status RewriteIo::Plan() {
  const ChunkRecord* base = op_->base.get();
  if (base == nullptr) return Error(Code::kNotFound, "it does not exist");
  bool others = false;
  for (uint32_t logical = op_->args.offset / kBlockBytes; logical * kBlockBytes < op_->end();
       ++logical) {
    if (base->BlockAt(logical) == kNoBlock) continue;
    if (!Fits(logical)) {
      others = true;
      continue;
    }
    BlockUpdate update{.logical = logical};
    for (uint32_t unit = 0; unit < kUnitsPerBlock; ++unit) {
      update.unit_crcs[unit] = base->UnitCrc(logical * kUnitsPerBlock + unit);
    }
    op_->updates.push_back(update);
  }
  if (op_->updates.empty() && others) return Error(Code::kCorrupt, "these are not its bytes");
  op_->no_change = op_->updates.empty();
  return Status::Ok();
}

// To the end of the block: past the chunk's end there are zeros.
bool RewriteIo::Fits(uint32_t logical) const {
  const auto bytes = op_->args.bytes.subspan(size_t{logical} * kBlockBytes - op_->args.offset);
  for (uint32_t unit = 0; unit < kUnitsPerBlock; ++unit) {
    const size_t begin = std::min<size_t>(size_t{unit} * kUnitBytes, bytes.size());
    const auto part = bytes.subspan(begin, std::min<size_t>(kUnitBytes, bytes.size() - begin));
    if (PaddedUnitCrc(part) != op_->base->UnitCrc(logical * kUnitsPerBlock + unit)) return false;
  }
  return true;
}

// A page may have of the reserve: it gives back as much as it takes, at once or with what is held.
void RewriteIo::Allocate() {
  const auto count = static_cast<uint32_t>(op_->updates.size());
  const bool privileged = count <= kBlocksPerPage;
  auto blocks = space_.TryAllocate(count, privileged);
  if (blocks.has_value()) {
    Begin(std::move(*blocks));
    return;
  }
  space_.AllocateAfterGrowth(
      count, privileged, [self = shared_from_this()](Result<SlabSpace::Blocks> late) {
        self->op_->io->Post([self, late = std::move(late)] { self->Begin(late); });
      });
}

void RewriteIo::Begin(Result<SlabSpace::Blocks> blocks) {
  if (blocks.ok()) op_->blocks = std::move(*blocks);
  op_->status = blocks.ok() ? PrepareBuffer() : Error(blocks.status().code(), "no block is free");
  if (!op_->status.ok()) {
    finished_();
    return;
  }
  for (size_t i = 0; i < op_->updates.size(); ++i) op_->updates[i].block = op_->blocks[i];
  pending_ = 1;  // until everything is started
  WriteBlocks();
  Done(Status::Ok());
}

Status RewriteIo::PrepareBuffer() {
  bytes_ = op_->args.bytes;
  buffer_ = op_->args.buffer;
  if (bytes_.size() % kBlockBytes == 0 &&
      reinterpret_cast<uintptr_t>(bytes_.data()) % kDirectAlignment == 0) {
    return Status::Ok();
  }
  const size_t size = (bytes_.size() + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
  buffer_ = op_->io->Allocate(size);
  if (buffer_ == nullptr) return Error(Code::kBusy, "no buffer is free");
  const auto copy = buffer_->span().first(size);
  std::memcpy(copy.data(), bytes_.data(), bytes_.size());
  std::memset(copy.data() + bytes_.size(), 0, size - bytes_.size());
  bytes_ = copy;
  return Status::Ok();
}

// Neighbours in the chunk and on disk in one transfer.
void RewriteIo::WriteBlocks() {
  const std::span<const BlockNumber> blocks(op_->blocks);
  const uint32_t first = op_->args.offset / kBlockBytes;
  for (size_t i = 0; i < blocks.size();) {
    const uint32_t logical = op_->updates[i].logical;
    const size_t most = SlabSpace::RunLength(blocks, i, space_.allocator().blocks_per_slab());
    size_t run = 1;
    while (run < most && op_->updates[i + run].logical == logical + run) ++run;
    const auto place = space_.Locate(blocks[i]);
    ++pending_;
    op_->io->Write(place.file, place.offset, buffer_,
                   bytes_.subspan(size_t{logical - first} * kBlockBytes, run * kBlockBytes),
                   [self = shared_from_this()](const Status& status) {
                     if (status.code() == Code::kIo) self->op_->write_failed = true;
                     self->Done(status);
                   });
    i += run;
  }
}

void RewriteIo::Done(const Status& status) {
  if (op_->status.ok() && !status.ok()) {
    op_->status = Error(status.code(), status.message());
  }
  if (--pending_ > 0) return;
  buffer_ = nullptr;
  op_->args.buffer = nullptr;  // the bytes are on disk
  finished_();
}

}  // namespace sheaf::storage
