#pragma once

#include <atomic>

#include "proto/cluster.pb.h"
#include "tests/support/fake_engine.h"

namespace sheaf::fuzz {

inline constexpr uint32_t kMaxChunkBytes = 64 << 10;  // that the engine in memory keeps
inline constexpr int kMaxWrites = 1000;
inline constexpr uint32_t kChain = 7;
inline constexpr uint32_t kChainVersion = 3;

// Of `kChain` and target 1, this server's; and of two chains of which target 2, which is nowhere, is
// the head, and target 1 the tail of one and brought up to date in the other.
inline proto::ClusterMap MapOfOneChain() {
  proto::ClusterMap map;
  map.set_version(1);
  proto::Target* target = map.add_targets();
  target->set_id(1);
  target->set_node_id(1);
  target->set_uuid("a");
  proto::Chain* chain = map.add_chains();
  chain->set_id(kChain);
  chain->set_version(kChainVersion);
  proto::ChainMember* member = chain->add_members();
  member->set_target_id(1);
  member->set_state(proto::SERVING);
  target = map.add_targets();
  target->set_id(2);
  target->set_node_id(2);
  target->set_uuid("elsewhere");
  for (const auto state : {proto::SERVING, proto::SYNCING}) {
    chain = map.add_chains();
    chain->set_id(state == proto::SERVING ? kChain + 1 : kChain + 2);
    chain->set_version(kChainVersion);
    member = chain->add_members();
    member->set_target_id(2);
    member->set_state(proto::SERVING);
    member = chain->add_members();
    member->set_target_id(1);
    member->set_state(state);
  }
  proto::IncarnationRange* fenced = map.add_fenced();
  fenced->set_first(66);
  fenced->set_last(66);
  return map;
}

// The engine in memory, which takes what it is told: here it is looked at first.
class WatchedEngine : public testing::FakeEngine {
 public:
  void Apply(storage::IoContext& io, Change change, StateDone done) override {
    const Status status = Watch(change);
    if (!status.ok()) return io.Post([done = std::move(done), status] { done(status); });
    FakeEngine::Apply(io, std::move(change), std::move(done));
  }
  void Write(storage::IoContext& io, WriteArgs args, StateDone done) override {
    const Status status = WatchWrite(args);
    if (!status.ok()) return done(status);
    FakeEngine::Write(io, std::move(args), std::move(done));
  }
  void Truncate(storage::IoContext& io, const ChunkKey& key, uint32_t length, uint32_t chunk_size,
                bool extend, ChainVersion version, StateDone done) override {
    const Status status = WatchTruncate(key, length, chunk_size);
    if (!status.ok()) return done(status);
    FakeEngine::Truncate(io, key, length, chunk_size, extend, version, std::move(done));
  }
  void List(storage::IoContext& io, ChainId chain, std::optional<ChunkId> after,
            std::optional<DataId> only, uint32_t limit, ListDone done) override {
    CHECK(limit >= 1 && limit <= 4096, "a list without bounds");
    FakeEngine::List(io, chain, after, only, limit, std::move(done));
  }

 private:
  Status Watch(const Change& change) {
    switch (change.kind) {
      case Change::Kind::kWrite:
        return WatchWrite(change.args);
      case Change::Kind::kTruncate:
        return WatchTruncate(change.args.key, change.length, change.args.chunk_size);
      case Change::Kind::kRemove:
      case Change::Kind::kNote:
        break;
    }
    return Status::Ok();
  }
  Status WatchWrite(const WriteArgs& args) {
    CHECK(args.key.chunk.data_id.IsSet() && !args.bytes.empty() &&
              args.bytes.size() <= kMaxChunkBytes &&
              uint64_t{args.offset} + args.bytes.size() <= args.chunk_size,
          "a write out of its chunk");
    // What it keeps must not grow with what an offset says, nor with the time it runs.
    if (args.offset > kMaxChunkBytes || ++writes_ > kMaxWrites) return Full();
    return Status::Ok();
  }
  Status WatchTruncate(const ChunkKey& key, uint32_t length, uint32_t chunk_size) {
    CHECK(key.chunk.data_id.IsSet() && length <= chunk_size, "a truncate out of its chunk");
    return length > kMaxChunkBytes ? Full() : Status::Ok();
  }
  static Status Full() { return Status(Code::kNoSpace, "fuzz: full"); }

  std::atomic<int> writes_ = 0;
};

}  // namespace sheaf::fuzz
