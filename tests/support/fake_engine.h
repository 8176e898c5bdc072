#pragma once

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "common/crc32c.h"
#include "storage/engine/engine.h"

namespace sheaf::testing {

// An engine that keeps chunks in memory and answers by Post, as the real one does: what is answered
// is durable, changes of one chunk take effect in the order of the calls, and versions with a
// ticket are held until Release. Faults: Health, a status that every call answers, and rot: bytes that
// cannot be read until they are rewritten, overwritten or removed; a write beside them is refused.
// Thread-safe.
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
  // The unit of the chunk around `offset`.
  void Rot(const ChunkKey& key, uint32_t offset) {
    std::lock_guard lock(mutex_);
    rotten_.insert({key, offset / kUnit});
  }
  size_t rotten() const {
    std::lock_guard lock(mutex_);
    return rotten_.size();
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
    ReadAt(io, key, /*upto=*/0, offset, length, std::move(done));
  }
  void ReadAt(storage::IoContext& io, const ChunkKey& key, uint64_t upto, uint32_t offset,
              uint32_t length, ReadDone done) override {
    Result<ReadAnswer> result = [&]() -> Result<ReadAnswer> {
      std::lock_guard lock(mutex_);
      if (!failure_.ok()) return failure_;
      ReadAnswer answer;
      const Version chunk = At(key, upto);
      if (!chunk.has_value()) return answer;
      const std::vector<uint8_t>& bytes = chunk->bytes;
      answer.state = StateOf(chunk);
      const size_t begin = std::min<size_t>(offset, bytes.size());
      const size_t count = std::min<size_t>(length, bytes.size() - begin);
      if (count > 0 && IsRotten(key, begin, begin + count))
        return Status{Code::kCorrupt, "fake engine: checksum mismatch"};
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
    Change change;
    change.kind = Change::Kind::kWrite;
    change.args = std::move(args);
    Answer(io, std::move(done), Take(change));
  }

  void Truncate(storage::IoContext& io, const ChunkKey& key, uint32_t length, uint32_t chunk_size,
                bool extend, ChainVersion chain_version, StateDone done) override {
    Change change;
    change.kind = Change::Kind::kTruncate;
    change.args.key = key;
    change.args.chunk_size = chunk_size;
    change.args.chain_version = chain_version;
    change.length = length;
    change.extend = extend;
    Answer(io, std::move(done), Take(change));
  }

  void Apply(storage::IoContext& io, Change change, StateDone done) override {
    Answer(io, std::move(done), Take(change));
  }

  void Release(const ChunkKey& key, uint64_t ticket) override {
    std::lock_guard lock(mutex_);
    auto versions = versions_.find(key);
    if (versions == versions_.end()) return;
    std::erase_if(versions->second, [&](const HeldVersion& each) { return each.ticket <= ticket; });
    if (versions->second.empty()) versions_.erase(versions);
  }

  void Revert(storage::IoContext& io, const ChunkKey& key, uint64_t from,
              std::vector<StreamRow> rows, StateDone done) override {
    Result<ChunkState> result = [&]() -> Result<ChunkState> {
      std::lock_guard lock(mutex_);  // what refuses changes still takes them back
      auto& versions = versions_[key];
      while (!versions.empty() && versions.back().ticket >= from) {
        Set(key, std::move(versions.back().before));
        versions.pop_back();
      }
      if (versions.empty()) versions_.erase(key);
      PutRows(rows);
      return StateOf(Newest(key));
    }();
    Answer(io, std::move(done), std::move(result));
  }

  void Stamp(storage::IoContext& io, const ChunkKey& key, const ChunkState& want,
             StateDone done) override {
    Result<ChunkState> result = [&]() -> Result<ChunkState> {
      std::lock_guard lock(mutex_);
      if (!failure_.ok()) return failure_;
      auto chunk = chunks_.find(key);
      if (chunk == chunks_.end()) return Status{Code::kNotFound, "fake engine: no such chunk"};
      const ChunkState have = StateOf(chunk->second);
      if (have.length != want.length || have.checksum != want.checksum)
        return Status{Code::kCorrupt, "fake engine: the chunk is another"};
      chunk->second.version = want.version.value();
      chunk->second.chain_version = want.chain_version;
      return StateOf(chunk->second);
    }();
    Answer(io, std::move(done), std::move(result));
  }

  void Rewrite(storage::IoContext& io, WriteArgs args, StateDone done) override {
    Result<ChunkState> result = [&]() -> Result<ChunkState> {
      std::lock_guard lock(mutex_);
      if (!failure_.ok()) return failure_;
      const Version chunk = Newest(args.key);
      if (!chunk.has_value()) return Status{Code::kNotFound, "fake engine: no such chunk"};
      const auto& bytes = chunk->bytes;
      bool fits = false;
      for (size_t at = 0; at < args.bytes.size() && args.offset + at < bytes.size(); at += kBlock) {
        const auto part = args.bytes.subspan(at, std::min(kBlock, args.bytes.size() - at));
        const auto begin = bytes.begin() + static_cast<ptrdiff_t>(args.offset + at);
        const size_t left = std::min<size_t>(kBlock, static_cast<size_t>(bytes.end() - begin));
        if (part.size() != left || !std::equal(part.begin(), part.end(), begin)) continue;
        fits = true;
        for (size_t unit = 0; unit < kBlock / kUnit; ++unit)
          rotten_.erase({args.key, (args.offset + at) / kUnit + unit});
      }
      if (!fits) return Status{Code::kCorrupt, "fake engine: these are not its bytes"};
      return StateOf(chunk);
    }();
    Answer(io, std::move(done), std::move(result));
  }

  void ListUnits(storage::IoContext& io, const ChunkKey& key, UnitsDone done) override {
    Result<std::vector<uint32_t>> result = [&]() -> Result<std::vector<uint32_t>> {
      std::lock_guard lock(mutex_);
      if (!failure_.ok()) return failure_;
      std::vector<uint32_t> units;
      const Version chunk = Newest(key);
      for (size_t at = 0; chunk.has_value() && at < chunk->bytes.size(); at += 4096) {
        std::vector<uint8_t> unit(4096);
        std::copy_n(chunk->bytes.begin() + at, std::min<size_t>(4096, chunk->bytes.size() - at),
                    unit.begin());
        units.push_back(Crc32c(unit));
      }
      return units;
    }();
    Answer(io, std::move(done), std::move(result));
  }

  void PutStreamRows(storage::IoContext& io, std::vector<StreamRow> rows,
                     std::function<void(Status)> done) override {
    Status status;
    {
      std::lock_guard lock(mutex_);
      status = failure_;
      if (status.ok()) PutRows(rows);
    }
    Answer(io, std::move(done), std::move(status));
  }
  void ForgetStreamRows(std::function<bool(Incarnation)> over) override {
    std::lock_guard lock(mutex_);
    std::erase_if(rows_, [&](const auto& row) { return over(row.second.incarnation); });
  }
  Result<std::vector<StreamRow>> LoadStreamRows() override {
    std::lock_guard lock(mutex_);
    if (!failure_.ok()) return failure_;
    std::vector<StreamRow> rows;
    for (const auto& [key, row] : rows_) rows.push_back(row);
    return rows;
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
    uint32_t chunk_size = 0;
  };

  using Version = std::optional<Chunk>;  // none: the chunk does not exist
  struct HeldVersion {
    uint64_t ticket = 0;
    Version before;
  };
  using RowKey = std::tuple<ChainId, Incarnation, uint32_t>;

  static ChunkState StateOf(const Version& chunk) {
    return chunk.has_value() ? StateOf(*chunk) : ChunkState{};
  }
  static ChunkState StateOf(const Chunk& chunk) {
    return {static_cast<uint32_t>(chunk.bytes.size()), ChunkVersion(chunk.version),
            chunk.chain_version, Crc32c(chunk.bytes), chunk.chunk_size};
  }

  static constexpr size_t kUnit = 4096;    // of rot
  static constexpr size_t kBlock = 16384;  // what a change makes anew

  // All of these with the mutex held, but Take.
  bool IsRotten(const ChunkKey& key, size_t begin, size_t end) const {
    return std::any_of(rotten_.begin(), rotten_.end(), [&](const auto& rot) {
      return rot.first == key && rot.second * kUnit < end && begin < (rot.second + 1) * kUnit;
    });
  }
  Status WriteOver(const WriteArgs& args) {
    const size_t end = args.offset + args.bytes.size();
    for (auto rot = rotten_.begin(); rot != rotten_.end();) {
      const size_t unit = rot->second * kUnit;
      const size_t block = unit / kBlock * kBlock;
      if (rot->first != args.key || block >= end || block + kBlock <= args.offset) {
        ++rot;
      } else if (args.offset <= unit && unit + kUnit <= end) {
        rot = rotten_.erase(rot);
      } else {
        return {Code::kCorrupt, "fake engine: what is beside it cannot be read"};
      }
    }
    return Status::Ok();
  }
  Version Newest(const ChunkKey& key) const {
    const auto chunk = chunks_.find(key);
    return chunk != chunks_.end() ? Version(chunk->second) : std::nullopt;
  }
  // What a version was is what the next one has before it.
  Version At(const ChunkKey& key, uint64_t upto) const {
    const auto versions = versions_.find(key);
    if (versions == versions_.end()) return Newest(key);
    for (const HeldVersion& version : versions->second) {
      if (version.ticket > upto) return version.before;
    }
    return Newest(key);
  }
  void Set(const ChunkKey& key, Version version) {
    if (version.has_value()) {
      chunks_[key] = std::move(*version);
    } else {
      chunks_.erase(key);
      std::erase_if(rotten_, [&](const auto& rot) { return rot.first == key; });
    }
  }
  void PutRows(const std::vector<StreamRow>& rows) {
    for (const StreamRow& row : rows) rows_[{row.chain, row.incarnation, row.stream}] = row;
  }

  // The chunk as `change` leaves it; as it is when it changes nothing.
  static Result<Version> Next(const Version& chunk, const Change& change) {
    const WriteArgs& args = change.args;
    Chunk next = chunk.value_or(Chunk{});
    switch (change.kind) {
      case Change::Kind::kWrite:
        if (Crc32c(args.bytes) != args.crc32c)
          return Status{Code::kCorrupt, "fake engine: checksum mismatch"};
        next.bytes.resize(std::max(next.bytes.size(), args.offset + args.bytes.size()));
        std::copy(args.bytes.begin(), args.bytes.end(), next.bytes.begin() + args.offset);
        break;
      case Change::Kind::kTruncate:
        if (chunk.has_value() ? change.length == next.bytes.size() ||
                                    (change.length > next.bytes.size() && !change.extend)
                              : !change.extend) {
          return chunk;
        }
        next.bytes.resize(change.length);
        break;
      case Change::Kind::kRemove:
        return Version();
      case Change::Kind::kNote:
        return chunk;
    }
    ++next.version;
    next.chain_version = args.chain_version;
    next.chunk_size = args.chunk_size;
    return Version(std::move(next));
  }

  Result<ChunkState> Take(const Change& change) {
    std::lock_guard lock(mutex_);
    if (!failure_.ok()) return failure_;
    const ChunkKey& key = change.args.key;
    Version before = Newest(key);
    if (change.kind == Change::Kind::kWrite) RETURN_IF_ERROR(WriteOver(change.args));
    ASSIGN_OR_RETURN(Version after, Next(before, change));
    const ChunkState state = StateOf(after);
    const bool changed = state.version != StateOf(before).version;
    if (changed) Set(key, std::move(after));
    if (changed && change.ticket != 0) versions_[key].push_back({change.ticket, std::move(before)});
    if (change.row.has_value()) {
      StreamRow row = *change.row;
      if (change.kind == Change::Kind::kWrite || change.kind == Change::Kind::kTruncate) {
        row.version = state.version;
        row.chunk_length = state.length;
      }
      PutRows({row});
    }
    return state;
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
  std::map<ChunkKey, Chunk> chunks_;  // the newest versions
  std::map<ChunkKey, std::vector<HeldVersion>> versions_;
  std::map<RowKey, StreamRow> rows_;
  std::set<std::pair<ChunkKey, size_t>> rotten_;  // chunk and unit
  Status failure_;
  Status health_;
  bool holding_ = false;
  std::vector<std::function<void()>> held_;
};

}  // namespace sheaf::testing
