#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "common/crc32c.h"
#include "storage/engine/engine.h"
#include "tests/support/fake_disk.h"
#include "tests/support/faulty_env.h"

namespace sheaf::storage {

using sheaf::testing::CrashPoint;
using sheaf::testing::FakeDisk;
using sheaf::testing::FakeIoContext;
using sheaf::testing::FaultyEnv;
using Bytes = std::vector<uint8_t>;

inline uint64_t TestSeed(uint64_t preset) {
  const char* given = std::getenv("SHEAF_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : preset;
  std::printf("SHEAF_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

inline Bytes RandomBytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(size);
  for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

inline Engine::ChunkKey Key(uint32_t chain, uint64_t data_id, uint32_t index) {
  return {ChainId(chain), {DataId(data_id), index}};
}

// An engine over a fake disk and a faulty index environment, with calls that wait.
class EngineRig {
 public:
  struct Options {
    uint64_t seed = 1;
    bool shuffle = false;
    uint64_t slab_bytes = 4 << 20;
    uint64_t capacity_bytes = 64 << 20;
    uint64_t disk_bytes = uint64_t{1} << 40;
    uint64_t index_cache_bytes = 1 << 20;
    size_t buffer_bytes = size_t{256} << 20;
    std::shared_ptr<CrashPoint> crash;
  };

  explicit EngineRig(const Options& options)
      : options_(options),
        crash_(options.crash != nullptr ? options.crash : std::make_shared<CrashPoint>()),
        disk_(std::make_shared<FakeDisk>(FakeDisk::Options{
            .seed = options.seed, .capacity = options.disk_bytes, .crash = crash_})),
        env_(std::make_unique<FaultyEnv>(crash_)) {
    MakeContext();
  }
  // What is found after a crash of `dead`.
  EngineRig(const EngineRig& dead, uint64_t seed,
            std::shared_ptr<CrashPoint> crash = std::make_shared<CrashPoint>())
      : options_(dead.options_),
        crash_(std::move(crash)),
        disk_(dead.disk_->Survivor(seed, crash_)),
        env_(dead.env_->Survivor(seed, crash_)) {
    MakeContext();
  }

  Status Open() {
    Engine::Options options;
    options.index_path = "/index";
    options.slabs = disk_;
    options.slab_bytes = options_.slab_bytes;
    options.capacity_bytes = options_.capacity_bytes;
    options.index_cache_bytes = options_.index_cache_bytes;
    options.index_reserve_bytes = 0;
    options.index_log_bytes = 64 << 10;
    options.env = env_->env();
    auto engine = Engine::Open(options);
    if (engine.ok()) engine_ = std::move(*engine);
    return engine.status();
  }
  void Close() { engine_.reset(); }
  // Another engine in its place.
  void Use(std::unique_ptr<Engine> engine) { engine_ = std::move(engine); }

  Engine& engine() { return *engine_; }
  FakeDisk& disk() { return *disk_; }
  FaultyEnv& env() { return *env_; }
  FakeIoContext& io() { return *io_; }
  CrashPoint& crash() { return *crash_; }
  bool IsOpen() const { return engine_ != nullptr; }

  // Copies `bytes` into a buffer, `misalign` bytes off a page border.
  Engine::WriteArgs Args(const Engine::ChunkKey& key, uint32_t offset, const Bytes& bytes,
                         uint32_t chunk_size = 1 << 20, size_t misalign = 0) {
    Engine::WriteArgs args;
    args.key = key;
    args.offset = offset;
    args.chunk_size = chunk_size;
    args.crc32c = Crc32c(bytes);
    args.chain_version = ChainVersion(1);
    args.buffer = io_->Allocate(bytes.size() + misalign);
    std::copy(bytes.begin(), bytes.end(), args.buffer->span().begin() + misalign);
    args.bytes = args.buffer->span().subspan(misalign, bytes.size());
    return args;
  }

  using StateFuture = std::future<Result<Engine::ChunkState>>;
  StateFuture StartWrite(Engine::WriteArgs args) {
    return Start<Engine::ChunkState>([this, args](auto done) { engine_->Write(*io_, args, done); });
  }
  StateFuture StartTruncate(const Engine::ChunkKey& key, uint32_t length, bool extend,
                            uint32_t chunk_size = 1 << 20) {
    return Start<Engine::ChunkState>([=, this](auto done) {
      engine_->Truncate(*io_, key, length, chunk_size, extend, ChainVersion(1), done);
    });
  }
  std::future<Result<Engine::ReadAnswer>> StartRead(const Engine::ChunkKey& key, uint32_t offset,
                                                    uint32_t length) {
    return Start<Engine::ReadAnswer>(
        [=, this](auto done) { engine_->Read(*io_, key, offset, length, done); });
  }
  std::future<Result<Engine::RemoveAnswer>> StartRemove(uint32_t chain, uint64_t data_id,
                                                        uint32_t first, uint32_t limit) {
    return Start<Engine::RemoveAnswer>([=, this](auto done) {
      engine_->Remove(*io_, ChainId(chain), DataId(data_id), first, limit, done);
    });
  }

  // Of a chain's replica; Apply, Revert, Stamp and Rewrite are called on the test's own thread.
  Engine::Change WriteChange(const Engine::ChunkKey& key, uint64_t ticket, uint32_t offset,
                             const Bytes& bytes) {
    return {.kind = Engine::Change::Kind::kWrite,
            .args = Args(key, offset, bytes),
            .ticket = ticket};
  }
  static Engine::Change TruncateChange(const Engine::ChunkKey& key, uint64_t ticket,
                                       uint32_t length, bool extend) {
    Engine::Change change = ChangeOf(Engine::Change::Kind::kTruncate, key, ticket);
    change.length = length;
    change.extend = extend;
    return change;
  }
  static Engine::Change RemoveChange(const Engine::ChunkKey& key, uint64_t ticket) {
    return ChangeOf(Engine::Change::Kind::kRemove, key, ticket);
  }
  static Engine::Change NoteChange(const Engine::ChunkKey& key, uint64_t ticket) {
    return ChangeOf(Engine::Change::Kind::kNote, key, ticket);
  }
  StateFuture StartApply(Engine::Change change) {
    return StartHere<Result<Engine::ChunkState>>(
        [&](auto done) { engine_->Apply(*io_, std::move(change), done); });
  }
  StateFuture StartRevert(const Engine::ChunkKey& key, uint64_t from,
                          std::vector<Engine::StreamRow> rows = {}) {
    return StartHere<Result<Engine::ChunkState>>(
        [&](auto done) { engine_->Revert(*io_, key, from, std::move(rows), done); });
  }
  Result<Engine::ChunkState> Apply(Engine::Change change) {
    return StartApply(std::move(change)).get();
  }
  Result<Engine::ChunkState> Revert(const Engine::ChunkKey& key, uint64_t from,
                                    std::vector<Engine::StreamRow> rows = {}) {
    return StartRevert(key, from, std::move(rows)).get();
  }
  Result<Engine::ChunkState> Stamp(const Engine::ChunkKey& key, const Engine::ChunkState& want) {
    return StartHere<Result<Engine::ChunkState>>([&](auto done) {
             engine_->Stamp(*io_, key, want, done);
           })
        .get();
  }
  StateFuture StartRewrite(const Engine::ChunkKey& key, uint32_t offset, const Bytes& bytes,
                           size_t misalign = 0) {
    return StartHere<Result<Engine::ChunkState>>([&](auto done) {
      engine_->Rewrite(*io_, Args(key, offset, bytes, 0, misalign), done);
    });
  }
  Result<Engine::ChunkState> Rewrite(const Engine::ChunkKey& key, uint32_t offset,
                                     const Bytes& bytes, size_t misalign = 0) {
    return StartRewrite(key, offset, bytes, misalign).get();
  }
  Status PutRows(std::vector<Engine::StreamRow> rows) {
    return StartHere<Status>([&](auto done) {
             engine_->PutStreamRows(*io_, std::move(rows), done);
           })
        .get();
  }
  Result<Engine::ReadAnswer> ReadAt(const Engine::ChunkKey& key, uint64_t upto, uint32_t offset,
                                    uint32_t length) {
    return Start<Engine::ReadAnswer>([=, this](auto done) {
             engine_->ReadAt(*io_, key, upto, offset, length, done);
           })
        .get();
  }

  Result<Engine::ChunkState> Write(const Engine::ChunkKey& key, uint32_t offset,
                                   const Bytes& bytes, uint32_t chunk_size = 1 << 20,
                                   size_t misalign = 0) {
    return StartWrite(Args(key, offset, bytes, chunk_size, misalign)).get();
  }
  Result<Engine::ChunkState> Truncate(const Engine::ChunkKey& key, uint32_t length, bool extend) {
    return StartTruncate(key, length, extend).get();
  }
  Result<Engine::RemoveAnswer> Remove(uint32_t chain, uint64_t data_id, uint32_t first = 0,
                                      uint32_t limit = 100) {
    return StartRemove(chain, data_id, first, limit).get();
  }
  Result<Engine::ReadAnswer> Read(const Engine::ChunkKey& key, uint32_t offset, uint32_t length) {
    return StartRead(key, offset, length).get();
  }
  // The whole chunk; nothing when it does not exist.
  Result<std::optional<Bytes>> ReadAll(const Engine::ChunkKey& key) {
    return ReadAllAt(key, 0);
  }
  Result<std::optional<Bytes>> ReadAllAt(const Engine::ChunkKey& key, uint64_t upto) {
    auto answer = upto == 0 ? Read(key, 0, UINT32_MAX) : ReadAt(key, upto, 0, UINT32_MAX);
    if (!answer.ok()) return answer.status();
    if (!answer->state.version.IsSet()) return std::optional<Bytes>();
    EXPECT_EQ(answer->state.length, answer->bytes.size());
    EXPECT_EQ(answer->crc32c, Crc32c(answer->bytes));
    return std::optional<Bytes>(Bytes(answer->bytes.begin(), answer->bytes.end()));
  }
  Result<std::vector<Engine::ListedChunk>> List(uint32_t chain,
                                                std::optional<ChunkId> after = std::nullopt,
                                                std::optional<DataId> only = std::nullopt,
                                                uint32_t limit = 100) {
    return Start<std::vector<Engine::ListedChunk>>([=, this](auto done) {
             engine_->List(*io_, ChainId(chain), after, only, limit, done);
           })
        .get();
  }
  Result<std::vector<Engine::ListedChunk>> ListAll() {
    return Start<std::vector<Engine::ListedChunk>>([this](auto done) {
             engine_->ListAll(*io_, std::nullopt, 1000, done);
           })
        .get();
  }

 private:
  void MakeContext() {
    io_ = std::make_unique<FakeIoContext>(
        disk_, FakeIoContext::Options{.seed = options_.seed,
                                      .shuffle = options_.shuffle,
                                      .buffer_bytes = options_.buffer_bytes});
  }
  static Engine::Change ChangeOf(Engine::Change::Kind kind, const Engine::ChunkKey& key,
                                 uint64_t ticket) {
    Engine::Change change{.kind = kind, .ticket = ticket};
    change.args.key = key;
    change.args.chunk_size = 1 << 20;
    change.args.chain_version = ChainVersion(1);
    return change;
  }
  template <typename T, typename Call>
  std::future<T> StartHere(Call call) {
    auto promise = std::make_shared<std::promise<T>>();
    auto future = promise->get_future();
    call([promise](T result) { promise->set_value(std::move(result)); });
    return future;
  }
  template <typename T, typename Call>
  std::future<Result<T>> Start(Call call) {
    auto promise = std::make_shared<std::promise<Result<T>>>();
    auto future = promise->get_future();
    io_->Post([call, promise] {
      call([promise](Result<T> result) { promise->set_value(std::move(result)); });
    });
    return future;
  }

  const Options options_;
  std::shared_ptr<CrashPoint> crash_;
  std::shared_ptr<FakeDisk> disk_;
  std::unique_ptr<FaultyEnv> env_;
  std::unique_ptr<FakeIoContext> io_;
  std::unique_ptr<Engine> engine_;  // goes before the context that answers it
};

// What one chunk has been: a state for each change that was issued. Absent chunks have none.
struct ChunkHistory {
  using State = std::optional<Bytes>;
  std::vector<State> states{State()};
  size_t acked = 0;  // states before this one are over

  const State& latest() const { return states.back(); }
  void Write(uint32_t offset, const Bytes& bytes) {
    Bytes next = latest().value_or(Bytes());
    if (next.size() < offset + bytes.size()) next.resize(offset + bytes.size());
    std::copy(bytes.begin(), bytes.end(), next.begin() + offset);
    states.push_back(std::move(next));
  }
  void Truncate(uint32_t length, bool extend) {
    State next = latest();
    if (next.has_value() ? next->size() > length || extend : extend) {
      if (!next.has_value()) next = Bytes();
      next->resize(length);
    }
    states.push_back(std::move(next));
  }
  void Remove() { states.push_back(std::nullopt); }
  void AckAll() { acked = states.size() - 1; }
  bool Allows(const State& found, size_t first, size_t last) const {
    for (size_t i = first; i <= last && i < states.size(); ++i) {
      if (states[i] == found) return true;
    }
    return false;
  }
  bool AllowsNow(const State& found) const { return Allows(found, acked, states.size()); }
};

inline bool operator<(const Engine::ChunkKey& a, const Engine::ChunkKey& b) {
  return (a <=> b) < 0;
}

}  // namespace sheaf::storage
