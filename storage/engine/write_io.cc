#include "storage/engine/write_io.h"

#include <algorithm>
#include <cstring>

#include "common/buffer.h"
#include "common/crc32c.h"

namespace sheaf::storage {

namespace {

std::string NameOf(const ChunkOp& op) {
  return (op.kind == ChunkOp::Kind::kWrite ? "write chunk " : "truncate chunk ") +
         ToString(op.key());
}

std::string NumbersOf(uint32_t length, uint32_t checksum) {
  return std::to_string(length) + " bytes, checksum " + std::to_string(checksum);
}

}  // namespace

WriteIo::WriteIo(SlabSpace& space, OpRef op, std::function<void()> finished)
    : space_(space), op_(std::move(op)), finished_(std::move(finished)) {}

void WriteIo::Start() {
  op_->status = Plan();
  if (!op_->status.ok() || block_count_ == 0) {
    finished_();
    return;
  }
  Allocate();
}

Status WriteIo::Plan() {
  const bool sized =
      op_->kind == ChunkOp::Kind::kWrite || op_->kind == ChunkOp::Kind::kTruncate;
  if (op_->base != nullptr && sized && op_->base->chunk_size != op_->args.chunk_size) {
    return Status(Code::kInvalid, NameOf(*op_) + ": wrong chunk size (have " +
                                      std::to_string(op_->base->chunk_size) + ", asked " +
                                      std::to_string(op_->args.chunk_size) + ")");
  }
  switch (op_->kind) {
    case ChunkOp::Kind::kWrite:
      PlanWrite();
      break;
    case ChunkOp::Kind::kTruncate:
      PlanTruncate();
      break;
    case ChunkOp::Kind::kRemove:
      op_->no_change = op_->base == nullptr;
      break;
    case ChunkOp::Kind::kNote:
      op_->no_change = true;
      break;
    case ChunkOp::Kind::kStamp:
      return PlanStamp();
    case ChunkOp::Kind::kRevert:
      break;  // what is held is known when it is staged
    case ChunkOp::Kind::kRewrite:
      break;  // RewriteIo's
  }
  return Status::Ok();
}

Status WriteIo::PlanStamp() {
  const std::string what = "stamp chunk " + ToString(op_->key());
  const ChunkRecord* base = op_->base.get();
  const Engine::ChunkState& want = op_->want;
  if (base == nullptr) return Status(Code::kNotFound, what + ": it does not exist");
  if (base->length != want.length || base->checksum != want.checksum) {
    return Status(Code::kCorrupt, what + ": it is another (have " +
                                      NumbersOf(base->length, base->checksum) + ", want " +
                                      NumbersOf(want.length, want.checksum) + ")");
  }
  op_->no_change = base->version == want.version && base->chain_version == want.chain_version;
  return Status::Ok();
}

void WriteIo::PlanWrite() {
  const uint32_t begin = op_->args.offset;
  const uint32_t end = op_->end();
  const auto& bytes = op_->args.bytes;
  first_block_ = begin / kBlockBytes;
  block_count_ = (end - 1) / kBlockBytes - first_block_ + 1;
  whole_begin_ = (begin + kBlockBytes - 1) / kBlockBytes;
  whole_end_ = end / kBlockBytes;
  if (whole_begin_ > whole_end_) {  // inside one block
    AddEdge(first_block_, begin % kBlockBytes, end % kBlockBytes, bytes);
    whole_begin_ = whole_end_;
    return;
  }
  const uint32_t head = whole_begin_ * kBlockBytes - begin;
  if (head != 0) AddEdge(first_block_, begin % kBlockBytes, kBlockBytes, bytes.first(head));
  if (end % kBlockBytes != 0) {
    AddEdge(whole_end_, 0, end % kBlockBytes, bytes.last(end % kBlockBytes));
  }
  whole_bytes_ = bytes.subspan(head, (whole_end_ - whole_begin_) * kBlockBytes);
}

void WriteIo::PlanTruncate() {
  const ChunkRecord* base = op_->base.get();
  const uint32_t length = op_->length;
  const uint32_t old_length = base != nullptr ? base->length : 0;
  if (base != nullptr ? length == old_length || (length > old_length && !op_->extend)
                      : !op_->extend) {
    op_->no_change = true;
    return;
  }
  if (length > old_length || length % kBlockBytes == 0) return;
  const uint32_t cut = length / kBlockBytes;
  if (base->BlockAt(cut) == kNoBlock) return;
  // Bytes past the length must be zero on disk (ChunkRecord, invariant 3): the block is copied
  // without its tail.
  first_block_ = cut;
  block_count_ = 1;
  AddEdge(cut, length % kBlockBytes, kBlockBytes, {});
}

void WriteIo::AddEdge(uint32_t logical, uint32_t begin, uint32_t end,
                      std::span<const uint8_t> patch) {
  Edge edge;
  edge.index = logical - first_block_;
  edge.old = op_->base != nullptr ? op_->base->BlockAt(logical) : kNoBlock;
  edge.begin = begin;
  edge.end = end;
  edge.patch = patch;
  edges_.push_back(std::move(edge));
}

void WriteIo::Allocate() {
  const bool privileged = op_->kind == ChunkOp::Kind::kTruncate;
  auto blocks = space_.TryAllocate(block_count_, privileged);
  if (blocks.has_value()) {
    Begin(std::move(*blocks));
    return;
  }
  space_.AllocateAfterGrowth(
      block_count_, privileged,
      [self = shared_from_this()](Result<SlabSpace::Blocks> late) {
        self->op_->io->Post([self, late = std::move(late)] { self->Begin(late); });
      });
}

void WriteIo::Begin(Result<SlabSpace::Blocks> blocks) {
  if (blocks.ok()) op_->blocks = std::move(*blocks);
  op_->status = blocks.ok() ? PrepareBuffers() : blocks.status().With(NameOf(*op_));
  if (!op_->status.ok()) {
    finished_();
    return;
  }
  op_->updates.resize(block_count_);
  for (uint32_t i = 0; i < block_count_; ++i) {
    op_->updates[i].logical = first_block_ + i;
    op_->updates[i].block = op_->blocks[i];
  }
  pending_ = 1;  // until everything is started
  for (Edge& edge : edges_) StartEdge(edge);
  WriteWholeBlocks();
  Done(Status::Ok());
}

// All memory is had before the first write, so that a busy pool leaves nothing half done.
Status WriteIo::PrepareBuffers() {
  const Status busy(Code::kBusy, NameOf(*op_) + ": no buffer is free");
  for (Edge& edge : edges_) {
    edge.buffer = op_->io->Allocate(kBlockBytes);
    if (edge.buffer == nullptr) return busy;
  }
  if (whole_bytes_.empty()) return Status::Ok();
  whole_buffer_ = op_->args.buffer;
  if (reinterpret_cast<uintptr_t>(whole_bytes_.data()) % kDirectAlignment == 0) {
    return Status::Ok();
  }
  whole_buffer_ = op_->io->Allocate(whole_bytes_.size());
  if (whole_buffer_ == nullptr) return busy;
  std::memcpy(whole_buffer_->span().data(), whole_bytes_.data(), whole_bytes_.size());
  whole_bytes_ = whole_buffer_->span().first(whole_bytes_.size());
  return Status::Ok();
}

void WriteIo::StartEdge(Edge& edge) {
  if (edge.old == kNoBlock) {
    std::memset(edge.buffer->span().data(), 0, kBlockBytes);
    PatchEdge(edge);
    return;
  }
  ++pending_;
  const auto place = space_.Locate(edge.old);
  op_->io->Read(place.file, place.offset, edge.buffer, edge.buffer->span().first(kBlockBytes),
                [self = shared_from_this(), &edge](Status status) {
                  if (status.ok()) status = self->VerifyEdge(edge);
                  if (status.ok()) self->PatchEdge(edge);
                  self->Done(status);
                });
}

// Old bytes that stay are verified before they get a new home; those that go need not be.
Status WriteIo::VerifyEdge(const Edge& edge) {
  const uint32_t first_unit = (first_block_ + static_cast<uint32_t>(edge.index)) * kUnitsPerBlock;
  for (uint32_t unit = 0; unit < kUnitsPerBlock; ++unit) {
    const uint32_t at = unit * kUnitBytes;
    if (at >= edge.begin && at + kUnitBytes <= edge.end) continue;
    const uint32_t got = Crc32c(edge.buffer->span().subspan(at, kUnitBytes));
    const uint32_t want = op_->base->UnitCrc(first_unit + unit);
    if (got != want) {
      return ChecksumMismatch(NameOf(*op_), space_.Locate(edge.old), at, want, got);
    }
  }
  return Status::Ok();
}

void WriteIo::PatchEdge(Edge& edge) {
  const auto bytes = edge.buffer->span().first(kBlockBytes);
  if (edge.patch.empty()) {
    std::memset(bytes.data() + edge.begin, 0, edge.end - edge.begin);
  } else {
    std::memcpy(bytes.data() + edge.begin, edge.patch.data(), edge.patch.size());
  }
  BlockUpdate& update = op_->updates[edge.index];
  for (uint32_t unit = 0; unit < kUnitsPerBlock; ++unit) {
    update.unit_crcs[unit] = Crc32c(bytes.subspan(unit * kUnitBytes, kUnitBytes));
  }
  ++pending_;
  const auto place = space_.Locate(update.block);
  op_->io->Write(place.file, place.offset, edge.buffer, bytes,
                 [self = shared_from_this()](const Status& status) { self->Written(status); });
}

void WriteIo::WriteWholeBlocks() {
  const uint32_t first_payload_unit = (op_->args.offset + kUnitBytes - 1) / kUnitBytes;
  for (uint32_t logical = whole_begin_; logical < whole_end_; ++logical) {
    BlockUpdate& update = op_->updates[logical - first_block_];
    std::copy_n(op_->unit_crcs.begin() + (logical * kUnitsPerBlock - first_payload_unit),
                kUnitsPerBlock, update.unit_crcs.begin());
  }
  const std::span<const BlockNumber> blocks(op_->blocks.data() + (whole_begin_ - first_block_),
                                            whole_end_ - whole_begin_);
  for (size_t i = 0; i < blocks.size();) {
    const size_t run = SlabSpace::RunLength(blocks, i, space_.allocator().blocks_per_slab());
    const auto place = space_.Locate(blocks[i]);
    ++pending_;
    op_->io->Write(place.file, place.offset, whole_buffer_,
                   whole_bytes_.subspan(i * kBlockBytes, run * kBlockBytes),
                   [self = shared_from_this()](const Status& status) { self->Written(status); });
    i += run;
  }
}

void WriteIo::Written(const Status& status) {
  if (status.code() == Code::kIo) op_->write_failed = true;
  Done(status);
}

void WriteIo::Done(const Status& status) {
  if (op_->status.ok() && !status.ok()) op_->status = status.With(NameOf(*op_));
  if (--pending_ > 0) return;
  edges_.clear();
  whole_buffer_ = nullptr;
  op_->args.buffer = nullptr;  // the payload is on disk
  finished_();
}

}  // namespace sheaf::storage
