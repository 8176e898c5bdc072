#pragma once

#include <algorithm>
#include <vector>

#include "tests/storage/engine/engine_rig.h"

namespace sheaf::storage {

// What a chunk, and the row of the stream that changes it, are to whoever asks the index.
struct ChunkSight {
  std::optional<Bytes> bytes;
  uint64_t version = 0;
  uint64_t sequence = 0;  // of the row; 0: there is none
  bool done = false;
  friend bool operator==(const ChunkSight&, const ChunkSight&) = default;
};

// One chunk with held versions in memory: the plainest thing that does what Engine says. Every
// change has a row, of a stream of the chunk's own.
class HeldModel {
 public:
  explicit HeldModel(const Engine::ChunkKey& key) : key_(key) {}

  const ChunkSight& newest() const { return newest_; }
  const std::optional<Bytes>& At(uint64_t upto) const {
    for (const Version& version : versions_) {
      if (version.ticket > upto) return version.before.bytes;
    }
    return newest_.bytes;
  }
  // 0: nothing is held.
  uint64_t first_ticket() const { return versions_.empty() ? 0 : versions_.front().ticket; }
  uint64_t last_ticket() const { return versions_.empty() ? 0 : versions_.back().ticket; }

  Engine::StreamRow NextRow(bool done) {
    newest_.sequence = ++last_sequence_;
    newest_.done = done;
    return {.chain = key_.chain,
            .incarnation = Incarnation(key_.chunk.data_id.value()),
            .stream = key_.chunk.index,
            .sequence = newest_.sequence,
            .done = done};
  }

  // Takes the change in and gives it its row.
  void Apply(Engine::Change& change) {
    const ChunkSight before = newest_;
    change.row = NextRow(true);
    switch (change.kind) {
      case Engine::Change::Kind::kWrite:
        Write(change.args.offset, change.args.bytes);
        break;
      case Engine::Change::Kind::kTruncate:
        if (!Truncate(change.length, change.extend)) return;
        break;
      case Engine::Change::Kind::kRemove:
        if (!newest_.bytes.has_value()) return;
        newest_.bytes.reset();
        newest_.version = 0;
        break;
      case Engine::Change::Kind::kNote:
        return;
    }
    if (change.ticket != 0) versions_.push_back({change.ticket, before});
  }
  void Release(uint64_t ticket) {
    std::erase_if(versions_, [&](const Version& each) { return each.ticket <= ticket; });
  }
  Engine::StreamRow Revert(uint64_t from) {
    while (!versions_.empty() && versions_.back().ticket >= from) {
      newest_.bytes = versions_.back().before.bytes;
      newest_.version = versions_.back().before.version;
      versions_.pop_back();
    }
    return NextRow(false);
  }
  void Stamp(uint64_t version) { newest_.version = version; }
  void Restart() { versions_.clear(); }

 private:
  struct Version {
    uint64_t ticket;
    ChunkSight before;
  };

  void Write(uint32_t offset, std::span<const uint8_t> bytes) {
    if (!newest_.bytes.has_value()) newest_.bytes.emplace();
    if (newest_.bytes->size() < offset + bytes.size()) newest_.bytes->resize(offset + bytes.size());
    std::copy(bytes.begin(), bytes.end(), newest_.bytes->begin() + offset);
    ++newest_.version;
  }
  bool Truncate(uint32_t length, bool extend) {
    const bool changes = newest_.bytes.has_value() ? newest_.bytes->size() > length ||
                                                         (extend && newest_.bytes->size() < length)
                                                   : extend;
    if (!changes) return false;
    if (!newest_.bytes.has_value()) newest_.bytes.emplace();
    newest_.bytes->resize(length);
    ++newest_.version;
    return true;
  }

  const Engine::ChunkKey key_;
  ChunkSight newest_;
  uint64_t last_sequence_ = 0;
  std::vector<Version> versions_;
};

// What the engine has of `key` and its stream. REQUIRES: nothing of it is held.
inline Result<ChunkSight> Look(EngineRig& rig, const Engine::ChunkKey& key) {
  ChunkSight sight;
  ASSIGN_OR_RETURN(sight.bytes, rig.ReadAll(key));
  ASSIGN_OR_RETURN(const auto answer, rig.Read(key, 0, 1));
  sight.version = answer.state.version.value();
  ASSIGN_OR_RETURN(const auto rows, rig.engine().LoadStreamRows());
  for (const Engine::StreamRow& row : rows) {
    if (row.incarnation.value() != key.chunk.data_id.value() || row.stream != key.chunk.index) {
      continue;
    }
    sight.sequence = row.sequence;
    sight.done = row.done;
  }
  return sight;
}

}  // namespace sheaf::storage
