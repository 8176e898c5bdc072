#include "storage/engine/engine_impl.h"

#include <algorithm>
#include <bit>

#include "storage/engine/payload_crc.h"
#include "storage/engine/read_io.h"
#include "storage/engine/rewrite_io.h"
#include "storage/engine/write_io.h"

namespace sheaf::storage {

namespace {

Status CheckChunkSize(const std::string& what, uint32_t chunk_size, uint64_t end) {
  if (!std::has_single_bit(chunk_size) || chunk_size < kMinChunkBytes ||
      chunk_size > kMaxChunkBytes) {
    return Status(Code::kInvalid, what + ": chunk size " + std::to_string(chunk_size) +
                                      " is not a power of two from 64 KiB to 64 MiB");
  }
  if (end > chunk_size) {
    return Status(Code::kInvalid, what + ": past the chunk's end (" + std::to_string(end) + " > " +
                                      std::to_string(chunk_size) + ")");
  }
  return Status::Ok();
}

// What needs no look at the chunk. Takes the checksums of a write's units on the way.
Status CheckArgs(ChunkOp& op) {
  if (op.kind == ChunkOp::Kind::kTruncate) {
    return CheckChunkSize("truncate chunk " + ToString(op.key()), op.args.chunk_size, op.length);
  }
  if (op.kind != ChunkOp::Kind::kWrite) return Status::Ok();
  const std::string what = "write chunk " + ToString(op.key());
  RETURN_IF_ERROR(CheckChunkSize(what, op.args.chunk_size,
                                 uint64_t{op.args.offset} + op.args.bytes.size()));
  if (op.args.bytes.empty()) return Status(Code::kInvalid, what + ": no bytes");
  PayloadCrcs crcs = ComputePayloadCrcs(op.args.offset, op.args.bytes);
  if (crcs.total != op.args.crc32c) {
    return Status(Code::kCorrupt, what + ": the payload is not what its checksum says");
  }
  op.unit_crcs = std::move(crcs.units);
  return Status::Ok();
}

ChunkOp::Kind KindOf(Engine::Change::Kind kind) {
  switch (kind) {
    case Engine::Change::Kind::kWrite:
      return ChunkOp::Kind::kWrite;
    case Engine::Change::Kind::kTruncate:
      return ChunkOp::Kind::kTruncate;
    case Engine::Change::Kind::kRemove:
      return ChunkOp::Kind::kRemove;
    case Engine::Change::Kind::kNote:
      break;
  }
  return ChunkOp::Kind::kNote;
}

}  // namespace

EngineImpl::EngineImpl(const Options& options, std::unique_ptr<ChunkIndex> index,
                       uint64_t slab_bytes)
    : index_(std::move(index)),
      workers_(kWorkers),
      space_({options.slabs, slab_bytes, options.capacity_bytes, options.index_reserve_bytes},
             workers_),
      read_errors_([this](const Status& status) { committer_->Fail(status); }),
      pins_([this](std::span<const BlockNumber> blocks) { space_.allocator().Release(blocks); }),
      table_(options.index_cache_bytes) {}

EngineImpl::~EngineImpl() {
  {
    std::unique_lock lock(idle_mutex_);
    idle_.wait(lock, [this] { return calls_ == 0; });
  }
  workers_.Stop();
  committer_.reset();
}

void EngineImpl::End(size_t calls) {
  std::lock_guard lock(idle_mutex_);
  calls_ -= calls;
  if (calls_ == 0) idle_.notify_all();
}

void EngineImpl::PostAnswer(IoContext& io, std::function<void()> answer) {
  io.Post(std::move(answer));
  End(1);
}

void EngineImpl::Read(IoContext& io, const ChunkKey& key, uint32_t offset, uint32_t length,
                      ReadDone done) {
  ReadAt(io, key, /*upto=*/0, offset, length, std::move(done));  // no version has ticket 0
}

void EngineImpl::ReadAt(IoContext& io, const ChunkKey& key, uint64_t upto, uint32_t offset,
                        uint32_t length, ReadDone done) {
  Begin();
  auto pin = std::make_shared<ReadPins::Pin>(pins_.Hold());
  auto answer = [this, done = std::move(done)](Result<ReadAnswer> result) {
    if (result.status().code() == Code::kCorrupt) ++corruptions_;
    End(1);  // first: `done` may be the last that its owner waits for
    done(std::move(result));
  };
  auto start = [this, &io, key, offset, length, pin, answer](Result<RecordRef> record) {
    if (!record.ok()) {
      answer(record.status());
      return;
    }
    std::make_shared<ReadIo>(space_, read_errors_, io, key, std::move(*record), std::move(*pin), answer)
        ->Start(offset, length);
  };
  FindRecord(io, key, upto, start);
}

void EngineImpl::FindRecord(IoContext& io, const ChunkKey& key, uint64_t upto,
                            std::function<void(Result<RecordRef>)> then) {
  RecordRef record;
  Status status;
  {
    auto table = table_.Lock();
    SlotRef slot = table->LookUp(key);
    if (slot->loaded) {
      record = slot->At(upto);
    } else {
      status = slot->waiters.size() < ChunkSlot::kMaxWaiters
                   ? StartLoad(slot)
                   : Status(Code::kBusy, "read chunk " + ToString(key) + ": too many wait");
      if (status.ok()) {
        slot->waiters.push_back([&io, then = std::move(then)](Result<RecordRef> loaded) {
          io.Post([then, loaded = std::move(loaded)] { then(loaded); });
        });
        return;
      }
    }
  }
  if (status.ok()) {
    then(std::move(record));
  } else {
    io.Post([then = std::move(then), status] { then(status); });
  }
}

void EngineImpl::Write(IoContext& io, WriteArgs args, StateDone done) {
  Change change;
  change.kind = Change::Kind::kWrite;
  change.args = std::move(args);
  StartChange(io, std::move(change), std::move(done), &io);
}

void EngineImpl::Truncate(IoContext& io, const ChunkKey& key, uint32_t length, uint32_t chunk_size,
                          bool extend, ChainVersion chain_version, StateDone done) {
  Change change;
  change.kind = Change::Kind::kTruncate;
  change.args.key = key;
  change.args.chunk_size = chunk_size;
  change.args.chain_version = chain_version;
  change.length = length;
  change.extend = extend;
  StartChange(io, std::move(change), std::move(done), &io);
}

void EngineImpl::StartChange(IoContext& io, Change change, StateDone done, IoContext* current) {
  Begin();
  auto op = std::make_shared<ChunkOp>();
  op->kind = KindOf(change.kind);
  op->io = &io;
  op->done = std::move(done);
  op->args = std::move(change.args);
  op->length = change.length;
  op->extend = change.extend;
  op->ticket = change.ticket;
  if (change.row.has_value()) op->rows.push_back(*change.row);
  const Status status = CheckArgs(*op);
  if (!status.ok()) {
    Reject(op, status);
    return;
  }
  Submit(std::move(op), current);
}

void EngineImpl::Reject(const OpRef& op, const Status& status) {
  if (op->submitted) ++changes_ended_;
  PostAnswer(*op->io, [op, status] { op->done(status); });
}

void EngineImpl::Submit(OpRef op, IoContext* current) {
  op->submitted = true;
  ++changes_begun_;
  Status status = committer_->Health();
  if (!status.ok()) {
    Reject(op, status.With("the target is out of service"));
    return;
  }
  std::vector<OpRef> runnable;
  {
    auto table = table_.Lock();
    SlotRef slot = table->LookUp(op->key());
    CHECK(op->kind != ChunkOp::Kind::kRevert || !slot->IsChanging(),
          "chunk " + ToString(op->key()) + " is taken back while it changes");
    if (op->kind == ChunkOp::Kind::kRevert && slot->rewrites > 0) {
      status = Status(Code::kBusy, "take back chunk " + ToString(op->key()) + ": it is rewritten");
    } else if (slot->queue.size() >= ChunkSlot::kMaxQueued) {
      status = Status(Code::kBusy, "change chunk " + ToString(op->key()) + ": its queue is full");
    } else if (!slot->loaded) {
      status = StartLoad(slot);
    }
    if (status.ok()) {
      slot->queue.push_back(op);
      if (op->kind == ChunkOp::Kind::kRewrite) ++slot->rewrites;
      runnable = slot->TakeRunnable();
    }
    table->Settle(*slot);
  }
  if (!status.ok()) {
    Reject(op, status);
    return;
  }
  RunOps(std::move(runnable), current);
}

void EngineImpl::RunOps(std::vector<OpRef> ops, IoContext* current) {
  for (OpRef& op : ops) {
    if (op->io == current) {
      RunOp(std::move(op));
    } else {
      IoContext* io = op->io;
      io->Post([this, op = std::move(op)] { RunOp(op); });
    }
  }
}

void EngineImpl::RunOp(OpRef op) {
  auto finished = [this, op] { OpFinished(op); };
  if (op->kind == ChunkOp::Kind::kRewrite) {
    std::make_shared<RewriteIo>(space_, op, std::move(finished))->Start();
  } else {
    std::make_shared<WriteIo>(space_, op, std::move(finished))->Start();
  }
}

void EngineImpl::OpFinished(const OpRef& op) {
  Begin();  // the op may be answered by the committer before this returns
  if (!op->status.ok()) {
    if (op->write_failed) committer_->Fail(op->status);
    if (op->status.code() == Code::kCorrupt) ++corruptions_;
    space_.allocator().Abandon(op->blocks);
  }
  std::vector<OpRef> runnable;
  {
    auto table = table_.Lock();
    SlotRef slot = table->FindOrAdd(op->key());
    if (op->status.ok()) {
      op->finished = true;
    } else {
      std::erase(slot->queue, op);
      if (op->kind == ChunkOp::Kind::kRewrite) --slot->rewrites;
    }
    while (!slot->queue.empty() && slot->queue.front()->finished) {
      Stage(slot, slot->queue.front());
      slot->queue.pop_front();
    }
    runnable = slot->TakeRunnable();
    table->Settle(*slot);
  }
  RunOps(std::move(runnable), op->io);
  if (!op->status.ok()) Reject(op, op->status);
  End(1);
}

// Under the table's lock, which keeps the committer's queue in the order of the chunk's.
void EngineImpl::Stage(const SlotRef& slot, const OpRef& op) {
  Committer::Item item;
  item.slot = slot;
  item.io = op->io;
  item.is_rewrite = op->kind == ChunkOp::Kind::kRewrite;
  item.after = slot->staged;
  if (!op->no_change) {
    switch (op->kind) {
      case ChunkOp::Kind::kStamp:
        StageStamp(*slot, *op, item);
        break;
      case ChunkOp::Kind::kRevert:
        StageRevert(*slot, *op, item);
        break;
      case ChunkOp::Kind::kRewrite:
        StageRewrite(*slot, *op, item);
        break;
      default:
        StageVersion(*slot, *op, item);
    }
  }
  slot->staged = item.after;
  ++slot->commits_in_flight;
  const ChunkState state = StateOf(item.after.get());
  item.rows = std::move(op->rows);
  if (op->kind == ChunkOp::Kind::kWrite || op->kind == ChunkOp::Kind::kTruncate) {
    for (StreamRow& row : item.rows) {
      row.version = state.version;
      row.chunk_length = state.length;
    }
  }
  item.done = [op, state](const Status& status) {
    if (status.ok()) {
      op->done(state);
    } else {
      op->done(status);
    }
  };
  committer_->Add(std::move(item));
}

void EngineImpl::StageVersion(const ChunkSlot& slot, ChunkOp& op, Committer::Item& item) {
  item.ticket = op.ticket;
  if (op.kind == ChunkOp::Kind::kRemove) {
    item.after = nullptr;
    AppendBlocks(*slot.staged, item.dropped);
    return;
  }
  RecordChange change;
  const uint32_t old_length = slot.staged != nullptr ? slot.staged->length : 0;
  change.chunk_size = op.args.chunk_size;
  change.chain_version = op.args.chain_version;
  change.length =
      op.kind == ChunkOp::Kind::kTruncate ? op.length : std::max(old_length, op.end());
  change.blocks = std::move(op.updates);
  item.after = NextRecord(slot.staged.get(), change, item.dropped);
  AddBlocks(op, item);
}

void EngineImpl::AddBlocks(ChunkOp& op, Committer::Item& item) const {
  for (BlockNumber block : op.blocks) {
    const uint32_t slab = block / space_.allocator().blocks_per_slab();
    if (item.slabs.empty() || item.slabs.back() != slab) item.slabs.push_back(slab);
  }
  item.added = std::move(op.blocks);
}

Status EngineImpl::StartLoad(const SlotRef& slot) {
  if (slot->loading) return Status::Ok();
  if (!workers_.Submit([this, slot] { Load(slot); })) {
    return Status(Code::kBusy, "load chunk " + ToString(slot->key) + ": too much work is queued");
  }
  slot->loading = true;
  return Status::Ok();
}

void EngineImpl::Load(const SlotRef& slot) {
  const auto damaged = set_aside_.find(slot->key);
  auto record = damaged == set_aside_.end() ? index_->Load(slot->key)
                                            : Result<RecordRef>(damaged->second);
  std::vector<ChunkSlot::Waiter> waiters;
  std::vector<OpRef> runnable;
  std::list<OpRef> failed;
  {
    auto table = table_.Lock();
    slot->loading = false;
    waiters.swap(slot->waiters);
    if (record.ok()) {
      slot->loaded = true;
      slot->indexed = slot->staged = *record;
      runnable = slot->TakeRunnable();
    } else {
      failed.swap(slot->queue);
      slot->rewrites = 0;  // nothing is committed before the record is there
    }
    table->Settle(*slot);
  }
  for (const auto& waiter : waiters) waiter(record);
  for (const OpRef& op : failed) Reject(op, record.status());
  RunOps(std::move(runnable), nullptr);
}

}  // namespace sheaf::storage
