#include "common/log.h"
#include "storage/engine/engine_impl.h"

// What a chain's replica asks for beside reads and changes: versions that are held, and stream rows.

namespace sheaf::storage {

void EngineImpl::Apply(IoContext& io, Change change, StateDone done) {
  StartChange(io, std::move(change), std::move(done), nullptr);
}

void EngineImpl::Release(const ChunkKey& key, uint64_t ticket) {
  std::vector<BlockNumber> retired;
  {
    auto table = table_.Lock();
    const SlotRef slot = table->Find(key);
    if (slot == nullptr) return;
    retired = slot->held.Release(ticket);
    table->Settle(*slot);
  }
  pins_.Retire(std::move(retired));
}

void EngineImpl::Revert(IoContext& io, const ChunkKey& key, uint64_t from,
                        std::vector<StreamRow> rows, StateDone done) {
  Begin();
  auto op = std::make_shared<ChunkOp>();
  op->kind = ChunkOp::Kind::kRevert;
  op->io = &io;
  op->done = std::move(done);
  op->args.key = key;
  op->ticket = from;
  op->rows = std::move(rows);
  Submit(std::move(op), nullptr);
}

void EngineImpl::Stamp(IoContext& io, const ChunkKey& key, const ChunkState& want,
                       StateDone done) {
  Begin();
  auto op = std::make_shared<ChunkOp>();
  op->kind = ChunkOp::Kind::kStamp;
  op->io = &io;
  op->done = std::move(done);
  op->args.key = key;
  op->want = want;
  if (!want.version.IsSet()) {
    Reject(op, Status(Code::kInvalid, "stamp chunk " + ToString(key) + ": version 0"));
    return;
  }
  Submit(std::move(op), nullptr);
}

void EngineImpl::ListUnits(IoContext& io, const ChunkKey& key, UnitsDone done) {
  Begin();
  FindRecord(io, key, kNewest,
             [this, &io, done = std::move(done)](const Result<RecordRef>& record) {
               Result<std::vector<uint32_t>> units = std::vector<uint32_t>();
               if (!record.ok()) {
                 units = record.status();
               } else if (*record != nullptr) {
                 const uint32_t count = ((*record)->length + kUnitBytes - 1) / kUnitBytes;
                 for (uint32_t i = 0; i < count; ++i) units->push_back((*record)->UnitCrc(i));
               }
               PostAnswer(io, [done, units = std::move(units)] { done(units); });
             });
}

void EngineImpl::StageStamp(const ChunkSlot& slot, const ChunkOp& op, Committer::Item& item) {
  auto stamped = std::make_shared<ChunkRecord>(*slot.staged);
  stamped->version = op.want.version;
  stamped->chain_version = op.want.chain_version;
  item.after = std::move(stamped);
}

void EngineImpl::Rewrite(IoContext& io, WriteArgs args, StateDone done) {
  Begin();
  auto op = std::make_shared<ChunkOp>();
  op->kind = ChunkOp::Kind::kRewrite;
  op->io = &io;
  op->done = std::move(done);
  op->args = std::move(args);
  if (op->args.bytes.empty() || op->args.offset % kBlockBytes != 0 ||
      uint64_t{op->args.offset} + op->args.bytes.size() > kMaxChunkBytes) {
    Reject(op, Status(Code::kInvalid, "rewrite chunk " + ToString(op->key()) + ": not its blocks"));
    return;
  }
  Submit(std::move(op), nullptr);
}

// It is the same version, so it has no ticket: where versions are held, it shares the fate of the last
// one (HeldVersions::Add).
void EngineImpl::StageRewrite(const ChunkSlot& slot, ChunkOp& op, Committer::Item& item) {
  item.after = MovedRecord(*slot.staged, op.updates, item.dropped);
  AddBlocks(op, item);
}

// Nothing was under way when it was queued and everything after it waits, so what is held is whole.
void EngineImpl::StageRevert(const ChunkSlot& slot, const ChunkOp& op, Committer::Item& item) {
  if (!slot.held.HasFrom(op.ticket)) return;  // what failed before it was durable: rows only
  HeldVersions::Undo undo = slot.held.PlanUndo(op.ticket);
  item.revert_from = op.ticket;
  item.after = std::move(undo.target);
  item.dropped = std::move(undo.unnamed);
  item.named_again = std::move(undo.named_again);
  item.unused = std::move(undo.unused);
}

void EngineImpl::PutStreamRows(IoContext& io, std::vector<StreamRow> rows,
                               std::function<void(Status)> done) {
  Begin();
  ++changes_begun_;
  Committer::Item item;
  item.io = &io;
  item.rows = std::move(rows);
  item.done = std::move(done);
  committer_->Add(std::move(item));
}

void EngineImpl::ForgetStreamRows(std::function<bool(Incarnation)> over) {
  Begin();
  const bool submitted = workers_.Submit([this, over = std::move(over)] {
    if (committer_->Health().ok()) {
      const Status status = index_->RemoveStreamRows(over);
      if (!status.ok()) LogError("rows of streams that are over stay: {}", status.ToString());
    }
    End(1);
  });
  if (!submitted) End(1);  // the next call does it
}

Result<std::vector<Engine::StreamRow>> EngineImpl::LoadStreamRows() {
  return index_->LoadStreamRows();
}

}  // namespace sheaf::storage
