#pragma once

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "common/crc32c.h"
#include "storage/engine/engine.h"

namespace sheaf::testing {

// An engine that keeps chunks in memory and answers by Post, as the real one does. Faults: Health
// and a status that every call answers. Thread-safe.
class FakeEngine : public storage::Engine {
 public:
  void FailWith(Status status) {
    std::lock_guard lock(mutex_);
    failure_ = std::move(status);
  }
  void SetHealth(Status status) {
    std::lock_guard lock(mutex_);
    health_ = std::move(status);
  }
  // Calls stay unanswered until Release. For requests that must be under way.
  void Hold() {
    std::lock_guard lock(mutex_);
    holding_ = true;
  }
  void Release() {
    std::vector<std::function<void()>> held;
    {
      std::lock_guard lock(mutex_);
      holding_ = false;
      held.swap(held_);
    }
    for (auto& go : held) go();
  }
  size_t held() const {
    std::lock_guard lock(mutex_);
    return held_.size();
  }

  void Read(storage::IoContext& io, const ChunkKey& key, uint32_t offset, uint32_t length,
            ReadDone done) override {
    Result<ReadAnswer> result = [&]() -> Result<ReadAnswer> {
      std::lock_guard lock(mutex_);
      if (!failure_.ok()) return failure_;
      ReadAnswer answer;
      auto chunk = chunks_.find(key);
      if (chunk == chunks_.end()) return answer;
      const std::vector<uint8_t>& bytes = chunk->second.bytes;
      answer.state = StateOf(chunk->second);
      const size_t begin = std::min<size_t>(offset, bytes.size());
      const size_t count = std::min<size_t>(length, bytes.size() - begin);
      if (count > 0) {
        answer.buffer = io.Allocate(count);
        if (!answer.buffer) return Status{Code::kBusy, "fake engine: no buffer"};
        std::copy_n(bytes.begin() + begin, count, answer.buffer->span().begin());
        answer.bytes = answer.buffer->span().first(count);
      }
      answer.crc32c = Crc32c(answer.bytes);
      return answer;
    }();
    Answer(io, std::move(done), std::move(result));
  }

  void Write(storage::IoContext& io, WriteArgs args, StateDone done) override {
    Result<ChunkState> result = [&]() -> Result<ChunkState> {
      std::lock_guard lock(mutex_);
      if (!failure_.ok()) return failure_;
      if (Crc32c(args.bytes) != args.crc32c)
        return Status{Code::kCorrupt, "fake engine: checksum mismatch"};
      Chunk& chunk = chunks_[args.key];
      if (chunk.bytes.size() < args.offset + args.bytes.size())
        chunk.bytes.resize(args.offset + args.bytes.size());
      std::copy(args.bytes.begin(), args.bytes.end(), chunk.bytes.begin() + args.offset);
      ++chunk.version;
      chunk.chain_version = args.chain_version;
      return StateOf(chunk);
    }();
    Answer(io, std::move(done), std::move(result));
  }

  void Truncate(storage::IoContext& io, const ChunkKey& key, uint32_t length, uint32_t, bool extend,
                ChainVersion chain_version, StateDone done) override {
    Result<ChunkState> result = [&]() -> Result<ChunkState> {
      std::lock_guard lock(mutex_);
      if (!failure_.ok()) return failure_;
      auto chunk = chunks_.find(key);
      if (chunk == chunks_.end() && !extend) return ChunkState{};
      if (chunk == chunks_.end()) chunk = chunks_.emplace(key, Chunk{}).first;
      if (extend || chunk->second.bytes.size() > length) {
        chunk->second.bytes.resize(length);
        ++chunk->second.version;
        chunk->second.chain_version = chain_version;
      }
      return StateOf(chunk->second);
    }();
    Answer(io, std::move(done), std::move(result));
  }

  void Remove(storage::IoContext& io, ChainId chain, DataId data_id, uint32_t first_index,
              uint32_t limit, RemoveDone done) override {
    RemoveAnswer answer;
    {
      std::lock_guard lock(mutex_);
      auto it = chunks_.lower_bound({chain, {data_id, first_index}});
      while (it != chunks_.end() && it->first.chain == chain &&
             it->first.chunk.data_id == data_id) {
        if (answer.removed == limit) {
          answer.more = true;
          break;
        }
        it = chunks_.erase(it);
        ++answer.removed;
      }
    }
    Answer(io, std::move(done), Result<RemoveAnswer>(answer));
  }

  void ListAll(storage::IoContext& io, std::optional<ChunkKey> after, uint32_t limit,
               ListDone done) override {
    std::vector<ListedChunk> page;
    {
      std::lock_guard lock(mutex_);
      for (const auto& [key, chunk] : chunks_) {
        if (page.size() == limit) break;
        if (!after || key > *after) page.push_back({key, StateOf(chunk)});
      }
    }
    Answer(io, std::move(done), Result<std::vector<ListedChunk>>(std::move(page)));
  }
  void List(storage::IoContext& io, ChainId chain, std::optional<ChunkId> after,
            std::optional<DataId> only, uint32_t limit, ListDone done) override {
    std::vector<ListedChunk> page;
    {
      std::lock_guard lock(mutex_);
      for (const auto& [key, chunk] : chunks_) {
        if (page.size() == limit) break;
        if (key.chain != chain || (after && key.chunk <= *after)) continue;
        if (only && key.chunk.data_id != *only) continue;
        page.push_back({key, StateOf(chunk)});
      }
    }
    Answer(io, std::move(done), Result<std::vector<ListedChunk>>(std::move(page)));
  }

  Space GetSpace() const override {
    std::lock_guard lock(mutex_);
    Space space{0, uint64_t{1} << 30};
    for (const auto& [key, chunk] : chunks_) space.used_bytes += chunk.bytes.size();
    return space;
  }
  Status Health() const override {
    std::lock_guard lock(mutex_);
    return health_;
  }
  Faults GetFaults() const override { return {}; }
  Status Check() override { return Status::Ok(); }

 private:
  struct Chunk {
    std::vector<uint8_t> bytes;
    uint64_t version = 0;
    ChainVersion chain_version;
  };

  static ChunkState StateOf(const Chunk& chunk) {
    return {static_cast<uint32_t>(chunk.bytes.size()), ChunkVersion(chunk.version),
            chunk.chain_version, Crc32c(chunk.bytes)};
  }

  template <typename Done, typename Value>
  void Answer(storage::IoContext& io, Done done, Value value) {
    std::function<void()> go = [&io, done = std::move(done), value = std::move(value)] {
      io.Post([done, value] { done(value); });
    };
    {
      std::lock_guard lock(mutex_);
      if (holding_) return held_.push_back(std::move(go));
    }
    go();
  }

  mutable std::mutex mutex_;
  std::map<ChunkKey, Chunk> chunks_;
  Status failure_;
  Status health_;
  bool holding_ = false;
  std::vector<std::function<void()>> held_;
};

}  // namespace sheaf::testing
