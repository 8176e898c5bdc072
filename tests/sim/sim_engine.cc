#include "tests/sim/sim_engine.h"

#include <algorithm>

namespace sheaf::sim {
namespace {

LocalState StateOf(const Image& image) {
  return {image.version, image.content.length, image.checksum()};
}

Status Broken() { return {Code::kIo, "engine: out of service"}; }

}  // namespace

void SimEngine::Lose() {
  Crash();
  chunks_.clear();
  rows_.clear();
  rotten_.clear();
}

void SimEngine::Crash() {
  ++mount_;
  dying_ = true;
  for (auto& [key, chunk] : chunks_) {
    while (!chunk.pending.empty() && random_.Percent(50)) RunFirst(key);
  }
  dying_ = broken_ = false;
  pending_ = 0;
  for (auto& [key, chunk] : chunks_) {
    chunk.base = chunk.newest();
    chunk.held.clear();
    chunk.pending.clear();
  }
}

Time SimEngine::Delay() {
  if (random_.Percent(timing_.slow_percent)) return random_.Between(1, timing_.slow);
  return random_.Between(timing_.fast / 4, timing_.fast);
}

void SimEngine::Enqueue(const Key& key, Action action) {
  chunks_[key].pending.push_back(std::move(action));
  ++pending_;
  scheduler_.At(scheduler_.now() + Delay(), [this, key, mount = mount_] {
    if (mount == mount_) RunFirst(key);
  });
}

// Times are drawn one by one and served in order: whose time comes first runs whoever is first.
void SimEngine::RunFirst(const Key& key) {
  Chunk& chunk = chunks_.at(key);
  const Action action = std::move(chunk.pending.front());
  chunk.pending.pop_front();
  --pending_;
  action();
}

Status SimEngine::Writable(const Key& key, bool partial) {
  if (full_ || random_.Percent(flaky_percent_)) return {Code::kNoSpace, "engine: the disk is full"};
  if (partial && rotten_.contains(key)) return {Code::kCorrupt, "engine: checksum mismatch"};
  return Status::Ok();
}

void SimEngine::Apply(ChainId chain, uint64_t ticket, const ChainOpRef& op, StateDone done) {
  const Key key{chain, op->chunk};
  Enqueue(key, [this, key, ticket, op, done = std::move(done)] {
    Tell(done, ApplyNow(key, ticket, *op));
  });
}

Result<LocalState> SimEngine::ApplyNow(const Key& key, uint64_t ticket, const ChainOp& op) {
  if (broken_) return Broken();
  Chunk& chunk = chunks_.at(key);
  Image next = chunk.newest();
  storage::MutationResult result = op.note;
  bool changed = true;
  switch (op.kind) {
    case ChainOp::Kind::kWrite: {
      const bool partial = op.offset > 0 || op.length < next.content.length;
      RETURN_IF_ERROR(Writable(key, partial));
      next.content.Write(op.offset, op.length, static_cast<uint16_t>(op.crc32c));
      if (!partial) rotten_.erase(key);
      break;
    }
    case ChainOp::Kind::kTruncate:
      RETURN_IF_ERROR(Writable(key, true));
      changed = next.content.Truncate(op.length, op.extend);
      break;
    case ChainOp::Kind::kRemove:
      changed = next.content.exists;
      next.content.Remove();
      rotten_.erase(key);
      break;
    default:
      changed = false;
  }
  if (changed) {
    next.version = ChunkVersion(next.content.exists ? next.version.value() + 1 : 0);
    next.chain_version = next.content.exists ? op.proposed : ChainVersion();
    chunk.held.push_back({ticket, next});
  }
  if (op.kind != ChainOp::Kind::kNote) result = {next.version, next.content.length, 0, false};
  if (op.name.IsNamed())
    PutRow(key.first, op.name, {op.name.sequence, op.fingerprint, 0, true, result}, next_order_++);
  return StateOf(next);
}

void SimEngine::Release(ChainId chain, ChunkId id, uint64_t ticket) {
  const auto found = chunks_.find({chain, id});
  if (found == chunks_.end()) return;
  Chunk& chunk = found->second;
  size_t released = 0;
  while (released < chunk.held.size() && chunk.held[released].ticket <= ticket) ++released;
  if (released == 0) return;
  chunk.base = chunk.held[released - 1].image;
  chunk.held.erase(chunk.held.begin(), chunk.held.begin() + static_cast<ptrdiff_t>(released));
}

void SimEngine::Revert(ChainId chain, ChunkId id, uint64_t from,
                       std::vector<StreamTable::Name> undone, StatusDone done) {
  const Key key{chain, id};
  Enqueue(key, [this, key, from, undone = std::move(undone), done = std::move(done)] {
    if (broken_) return Tell(done, Broken());
    Chunk& chunk = chunks_.at(key);
    std::erase_if(chunk.held, [&](const Held& held) { return held.ticket >= from; });
    for (const StreamTable::Name& name : undone)
      PutRow(key.first, name, {name.sequence, 0, 0, false, {}}, next_order_++);
    Tell(done, Status::Ok());
  });
}

Result<Image> SimEngine::ReadAt(ChainId chain, ChunkId id, uint64_t upto) const {
  if (broken_) return Broken();
  const auto found = chunks_.find({chain, id});
  if (found == chunks_.end()) return Image{};
  if (rotten_.contains({chain, id})) return Status(Code::kCorrupt, "engine: checksum mismatch");
  const Chunk& chunk = found->second;
  for (auto held = chunk.held.rbegin(); held != chunk.held.rend(); ++held)
    if (held->ticket <= upto) return held->image;
  return chunk.base;
}

void SimEngine::WritePiece(ChainId chain, ChunkId id, bool first, const Content& cells,
                           uint32_t begin, uint32_t end, StatusDone done) {
  const Key key{chain, id};
  Enqueue(key, [this, key, first, cells, begin, end, done = std::move(done)] {
    if (broken_) return Tell(done, Broken());
    if (Status status = Writable(key, !first); !status.ok()) return Tell(done, status);
    Chunk& chunk = chunks_.at(key);
    Image next = first ? Image{} : chunk.newest();
    if (first) rotten_.erase(key);
    for (uint32_t cell = begin; cell < end; ++cell) next.content.Write(cell, 1, cells.cells[cell]);
    if (begin == end) next.content.Truncate(0, /*extend=*/true);
    next.version = ChunkVersion(next.version.value() + 1);
    chunk.base = next;
    chunk.held.clear();
    Tell(done, Status::Ok());
  });
}

void SimEngine::Stamp(ChainId chain, const storage::ChunkFacts& facts, StatusDone done) {
  const Key key{chain, facts.chunk};
  Enqueue(key, [this, key, facts, done = std::move(done)] {
    if (broken_) return Tell(done, Broken());
    Chunk& chunk = chunks_.at(key);
    Image next = chunk.newest();
    if (!next.content.exists) return Tell(done, Status(Code::kNotFound, "engine: no such chunk"));
    if (next.content.length != facts.length || next.checksum() != facts.checksum)
      return Tell(done, Status(Code::kCorrupt, "engine: not the same chunk"));
    next.version = facts.version;
    next.chain_version = facts.chain_version;
    chunk.base = next;
    chunk.held.clear();
    Tell(done, Status::Ok());
  });
}

void SimEngine::Remove(ChainId chain, ChunkId id, StatusDone done) {
  const Key key{chain, id};
  Enqueue(key, [this, key, done = std::move(done)] {
    if (broken_) return Tell(done, Broken());
    chunks_.at(key).base = {};
    chunks_.at(key).held.clear();
    rotten_.erase(key);
    Tell(done, Status::Ok());
  });
}

storage::ListPage SimEngine::List(ChainId chain, const storage::ChunkRange& range,
                                  uint32_t limit) const {
  storage::ListPage page;
  for (auto at = chunks_.lower_bound({chain, ChunkId{}});
       at != chunks_.end() && at->first.first == chain; ++at) {
    const Image& image = at->second.newest();
    if (!image.content.exists || !range.Contains(at->first.second)) continue;
    if (page.chunks.size() == limit) return page;
    page.chunks.push_back({at->first.second, image.content.length, image.version,
                           image.chain_version, image.checksum()});
  }
  page.end = true;
  return page;
}

std::vector<ChunkId> SimEngine::AnyVersion(ChainId chain) const {
  std::vector<ChunkId> chunks;
  for (const auto& [key, chunk] : chunks_) {
    const bool held = std::any_of(chunk.held.begin(), chunk.held.end(),
                                  [](const Held& each) { return each.image.content.exists; });
    if (key.first == chain && (held || chunk.base.content.exists)) chunks.push_back(key.second);
  }
  return chunks;
}

void SimEngine::PutRow(ChainId chain, const StreamTable::Name& name,
                       const StreamTable::Stream& stream, uint64_t order) {
  StoredRow& row = rows_[{chain, {name.incarnation, name.stream}}];
  if (row.order <= order) row = {name, stream, order};
}

void SimEngine::PutRows(ChainId chain, std::vector<Row> rows, StatusDone done) {
  ++pending_;
  scheduler_.At(scheduler_.now() + Delay(), [this, chain, rows = std::move(rows), mount = mount_,
                                             order = next_order_++, done = std::move(done)] {
    if (mount != mount_) return;
    --pending_;
    if (broken_) return Tell(done, Broken());
    for (const Row& row : rows) PutRow(chain, row.first, row.second, order);
    Tell(done, Status::Ok());
  });
}

void SimEngine::ForgetRows(ChainId chain, const StreamTable::Predicate& over) {
  std::erase_if(rows_, [&](const auto& entry) {
    return entry.first.first == chain && over(entry.second.name.incarnation);
  });
}

std::vector<SimEngine::Row> SimEngine::LoadRows(ChainId chain) const {
  std::vector<Row> rows;
  for (const auto& [key, row] : rows_)
    if (key.first == chain) rows.emplace_back(row.name, row.stream);
  return rows;
}

}  // namespace sheaf::sim
