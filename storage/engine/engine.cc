#include "storage/engine/engine.h"

#include <algorithm>
#include <bit>
#include <mutex>

#include "common/log.h"
#include "storage/engine/engine_impl.h"

// What looks at many chunks: opening, checking, listing, removing. Reads and changes of one chunk
// are in engine_impl.cc, versions that are held in engine_held.cc.

namespace sheaf::storage {

Result<std::unique_ptr<Engine>> Engine::Open(const Options& options) {
  ASSIGN_OR_RETURN(auto engine, EngineImpl::Open(options));
  return std::unique_ptr<Engine>(std::move(engine));
}

Result<std::unique_ptr<EngineImpl>> EngineImpl::Open(const Options& options) {
  uint64_t slab_bytes = options.slab_bytes;
  if (options.capacity_bytes != 0) slab_bytes = std::min(slab_bytes, options.capacity_bytes);
  slab_bytes = slab_bytes / kBlockBytes * kBlockBytes;
  if (slab_bytes == 0 || slab_bytes / kBlockBytes > (uint64_t{1} << 31)) {
    return Status(Code::kInvalid, "open engine " + options.index_path + ": slab size " +
                                      std::to_string(options.slab_bytes) +
                                      " is not between 16 KiB and 32 TiB");
  }
  ASSIGN_OR_RETURN(auto index, ChunkIndex::Open(options.index_path, options.env, options.index_log_bytes));
  ASSIGN_OR_RETURN(const uint64_t stored_slab_bytes, index->OpenTarget(slab_bytes));
  if (stored_slab_bytes != slab_bytes) {
    LogInfo("target {} keeps its slab size of {} bytes", options.index_path, stored_slab_bytes);
  }
  std::unique_ptr<EngineImpl> engine(new EngineImpl(options, std::move(index), stored_slab_bytes));
  RETURN_IF_ERROR(engine->space_.Open());
  RETURN_IF_ERROR(engine->RebuildAllocator());
  EngineImpl* raw = engine.get();
  engine->committer_ = std::make_unique<Committer>(
      *raw->index_, raw->space_, raw->pins_, raw->table_,
      [raw](size_t n) {
        raw->changes_ended_ += n;
        raw->End(n);
      },
      options.commit_seconds);
  return engine;
}

// Blocks of damaged entries come last: where such an entry claims what is another's, it is wrong.
Status EngineImpl::RebuildAllocator() {
  const auto view = index_->Snapshot();
  std::vector<BlockNumber> blocks;
  std::vector<BlockNumber> set_aside;
  const auto mark = [&](const ChunkKey& key, const ChunkRecord& record) -> Status {
    blocks.clear();
    AppendBlocks(record, blocks);
    for (BlockNumber block : blocks) {
      const Status marked = space_.allocator().MarkNamed(block);
      if (!marked.ok()) return marked.With("chunk " + ToString(key));
    }
    return Status::Ok();
  };
  const auto put_aside = [&](const ChunkKey& key, const Status& damage, auto named) {
    set_aside_.emplace(key, damage);
    set_aside.insert(set_aside.end(), named.begin(), named.end());
    LogError("chunk {} is set aside, its index entry is damaged: {}", ToString(key),
             damage.ToString());
  };
  RETURN_IF_ERROR(index_->ForEach(*view, mark, put_aside));
  for (BlockNumber block : set_aside) (void)space_.allocator().MarkNamed(block);
  return Status::Ok();
}

Status EngineImpl::Check() {
  std::unique_ptr<ChunkIndex::View> view;
  std::vector<uint64_t> allocated;
  Allocator::Counts counts;
  committer_->BetweenGroups([&] {
    view = index_->Snapshot();
    allocated = space_.allocator().NamedBits();
    counts = space_.allocator().counts();
  });
  if (counts.used != counts.named + counts.pending + counts.retired) {
    return Status(Code::kCorrupt,
                  "check target: " + std::to_string(counts.used) + " blocks are used, but " +
                      std::to_string(counts.named) + " named, " + std::to_string(counts.pending) +
                      " being written and " + std::to_string(counts.retired) + " retired");
  }
  std::vector<BlockNumber> blocks;
  std::vector<BlockNumber> set_aside;
  const auto compare = [&](const ChunkKey& key, const ChunkRecord& record) {
    blocks.clear();
    AppendBlocks(record, blocks);
    for (BlockNumber block : blocks) {
      const uint64_t bit = uint64_t{1} << (block % 64);
      if (block / 64 >= allocated.size() || (allocated[block / 64] & bit) == 0) {
        return Status(Code::kCorrupt, "check chunk " + ToString(key) + ": block " +
                                          std::to_string(block) +
                                          " is not allocated, or named twice");
      }
      allocated[block / 64] &= ~bit;
    }
    return Status::Ok();
  };
  const auto put_aside = [&](const ChunkKey&, const Status&, auto named) {
    set_aside.insert(set_aside.end(), named.begin(), named.end());
  };
  RETURN_IF_ERROR(index_->ForEach(*view, compare, put_aside));
  for (BlockNumber block : set_aside) {
    if (block / 64 < allocated.size()) allocated[block / 64] &= ~(uint64_t{1} << (block % 64));
  }
  for (size_t word = 0; word < allocated.size(); ++word) {
    if (allocated[word] == 0) continue;
    return Status(Code::kCorrupt,
                  "check target: block " +
                      std::to_string(word * 64 + std::countr_zero(allocated[word])) +
                      " is allocated but no chunk names it");
  }
  return Status::Ok();
}

Engine::Space EngineImpl::GetSpace() const { return space_.GetSpace(); }

Engine::Stats EngineImpl::GetStats() const {
  Stats stats;
  stats.calls_under_way = calls_;
  stats.changes_ended = changes_ended_;  // first: no more than have begun
  stats.changes_begun = changes_begun_;
  const Committer::Counts commits = committer_->counts();
  stats.commit_queue = commits.queued;
  stats.commit_groups = commits.groups;
  stats.commit_changes = commits.changes;
  stats.commit_errors = commits.errors;
  stats.worker_queue = workers_.Queued();
  stats.corruptions = corruptions_;
  auto table = table_.Lock();
  stats.cached_chunks = table->size();
  stats.cache_bytes = table->bytes();
  stats.cache_hits = table->hits();
  stats.cache_misses = table->misses();
  return stats;
}

Status EngineImpl::Health() const { return committer_->Health(); }

void EngineImpl::List(IoContext& io, ChainId chain, std::optional<ChunkId> after,
                      std::optional<DataId> only, uint32_t limit, ListDone done) {
  Begin();
  auto answer = [this, &io, done = std::move(done)](Result<std::vector<ListedChunk>> chunks) {
    PostAnswer(io, [done, chunks = std::move(chunks)] { done(chunks); });
  };
  limit = std::min(limit, kMaxListed);
  const bool submitted = workers_.Submit([this, chain, after, only, limit, answer] {
    answer(index_->List(chain, after, only, limit));
  });
  if (!submitted) answer(Status(Code::kBusy, "list chunks: too much work is queued"));
}

void EngineImpl::ListAll(IoContext& io, std::optional<ChunkKey> after, uint32_t limit,
                         ListDone done) {
  Begin();
  auto answer = [this, &io, done = std::move(done)](Result<std::vector<ListedChunk>> chunks) {
    PostAnswer(io, [done, chunks = std::move(chunks)] { done(chunks); });
  };
  limit = std::min(limit, kMaxListed);
  const bool submitted =
      workers_.Submit([this, after, limit, answer] { answer(index_->ListAll(after, limit)); });
  if (!submitted) answer(Status(Code::kBusy, "list chunks: too much work is queued"));
}

Engine::Faults EngineImpl::GetFaults() const {
  return {.damaged_entries = set_aside_.size(), .read_errors = read_errors_.count()};
}

// One Remove call: its chunks go through their queues one by one.
struct EngineImpl::Removal {
  IoContext* io = nullptr;
  RemoveDone done;
  // On io's thread.
  size_t left = 0;
  RemoveAnswer answer;
  Status status;
};

void EngineImpl::Remove(IoContext& io, ChainId chain, DataId data_id, uint32_t first_index,
                        uint32_t limit, RemoveDone done) {
  Begin();
  auto removal = std::make_shared<Removal>();
  removal->io = &io;
  removal->done = std::move(done);
  limit = std::min(limit, kMaxRemoved);
  std::optional<ChunkId> after;
  if (first_index > 0) after = ChunkId{data_id, first_index - 1};
  const bool submitted = workers_.Submit([this, removal, chain, after, data_id, limit] {
    auto chunks = index_->List(chain, after, data_id, limit + 1);
    if (chunks.ok()) {
      removal->answer.more = chunks->size() > limit;
      chunks->resize(std::min<size_t>(chunks->size(), limit));
    }
    // Changes start on their context's thread.
    removal->io->Post([this, removal, chunks = std::move(chunks)] {
      if (chunks.ok() && !chunks->empty()) {
        RemoveListed(removal, *chunks);
        return;
      }
      const auto status = chunks.status();
      PostAnswer(*removal->io, [removal, status] {
        if (status.ok()) {
          removal->done(removal->answer);
        } else {
          removal->done(status);
        }
      });
    });
  });
  if (submitted) return;
  PostAnswer(io, [removal] {
    removal->done(Status(Code::kBusy, "remove chunks: too much work is queued"));
  });
}

void EngineImpl::RemoveListed(const std::shared_ptr<Removal>& removal,
                              const std::vector<ListedChunk>& chunks) {
  removal->left = chunks.size();
  for (size_t i = 0; i < chunks.size(); ++i) Begin();
  End(1);  // from here on each chunk is a call of its own
  for (const ListedChunk& chunk : chunks) {
    auto op = std::make_shared<ChunkOp>();
    op->kind = ChunkOp::Kind::kRemove;
    op->io = removal->io;
    op->args.key = chunk.key;
    op->done = [removal](Result<ChunkState> state) {
      if (state.ok()) {
        ++removal->answer.removed;
      } else if (removal->status.ok()) {
        removal->status = state.status();
      }
      if (--removal->left > 0) return;
      if (removal->status.ok()) {
        removal->done(removal->answer);
      } else {
        removal->done(removal->status);
      }
    };
    Submit(std::move(op), removal->io);
  }
}

}  // namespace sheaf::storage
