// Random changes and reads of odd sizes, many in flight, completions in random order, against a
// map in memory. SHEAF_SEED repeats a run.

#include "tests/storage/engine/engine_rig.h"

namespace sheaf::storage {
namespace {

class ModelRun {
 public:
  ModelRun(uint64_t seed, EngineRig::Options options) : random_(seed), rig_(Seeded(options, seed)) {}

  void Run(int operations) {
    ASSERT_TRUE(rig_.Open().ok());
    for (int i = 0; i < operations && !::testing::Test::HasFailure(); ++i) {
      Issue();
      if (changes_.size() + reads_.size() >= 1 + random_() % 32) Settle();
      if (random_() % 150 == 0) CheckAll(/*reopen=*/random_() % 2 == 0);
    }
    CheckAll(true);
  }

 private:
  struct Change {
    Engine::ChunkKey key;
    EngineRig::StateFuture done;
    size_t state;
  };
  struct Read {
    Engine::ChunkKey key;
    uint32_t offset;
    uint32_t length;
    size_t first_state;
    std::future<Result<Engine::ReadAnswer>> done;
  };

  static EngineRig::Options Seeded(EngineRig::Options options, uint64_t seed) {
    options.seed = seed;
    options.shuffle = true;
    return options;
  }

  uint32_t Below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }
  // Near borders of units, blocks and pages as often as anywhere.
  uint32_t Position() {
    static constexpr uint32_t kBorders[] = {4096, 16384, 65536, 262144};
    if (random_() % 2 == 0) return Below(700000);
    return std::max(kBorders[Below(4)] * (1 + Below(2)) + Below(3), 1u) - 1;
  }

  void Issue() {
    const auto key = Key(1 + Below(2), 10 + Below(2), Below(3));
    ChunkHistory& history = chunks_[key];
    const uint32_t kind = Below(20);
    if (kind < 9) {
      const uint32_t offset = Position();
      const uint32_t size = std::min<uint32_t>((1 << 20) - offset, 1 + (kind < 5 ? Below(9000)
                                                                                : Below(300000)));
      const Bytes bytes = RandomBytes(size, random_());
      history.Write(offset, bytes);
      changes_.push_back({key,
                          rig_.StartWrite(rig_.Args(key, offset, bytes, 1 << 20,
                                                    random_() % 2 * Below(4096))),
                          history.states.size() - 1});
    } else if (kind < 12) {
      const uint32_t length = random_() % 8 == 0 ? 0 : Position();
      const bool extend = random_() % 2 == 0;
      history.Truncate(length, extend);
      changes_.push_back(
          {key, rig_.StartTruncate(key, length, extend), history.states.size() - 1});
    } else if (kind == 12) {
      Settle();  // a removal lists what is committed
      history.Remove();
      ASSERT_TRUE(
          rig_.Remove(key.chain.value(), key.chunk.data_id.value(), key.chunk.index, 1).ok());
      // At most the one chunk: the next index of the same file may be the first that is there.
      Resync(key);
    } else {
      const uint32_t offset = Position();
      const uint32_t length = 1 + Below(random_() % 2 == 0 ? 5000 : 400000);
      reads_.push_back({key, offset, length, history.acked, rig_.StartRead(key, offset, length)});
    }
  }

  // Remove with limit 1 takes the first chunk at or after the index: find out which.
  void Resync(const Engine::ChunkKey& key) {
    chunks_[key].states.pop_back();
    for (uint32_t index = key.chunk.index; index < 3; ++index) {
      ChunkHistory& history = chunks_[{key.chain, {key.chunk.data_id, index}}];
      if (!history.latest().has_value()) continue;
      history.Remove();
      history.AckAll();
      return;
    }
  }

  void Settle() {
    for (auto& change : changes_) {
      auto state = change.done.get();
      ASSERT_TRUE(state.ok()) << state.status().ToString();
      auto& history = chunks_[change.key];
      history.acked = change.state;
      const auto& want = history.states[change.state];
      EXPECT_EQ(state->length, want.has_value() ? want->size() : 0);
    }
    changes_.clear();
    for (auto& read : reads_) CheckRead(read);
    reads_.clear();
  }

  // The answer is one of the versions between the call and now.
  void CheckRead(Read& read) {
    auto answer = read.done.get();
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    EXPECT_EQ(answer->crc32c, Crc32c(answer->bytes));
    const ChunkHistory& history = chunks_[read.key];
    for (size_t i = read.first_state; i < history.states.size(); ++i) {
      const Bytes whole = history.states[i].value_or(Bytes());
      const size_t begin = std::min<size_t>(read.offset, whole.size());
      const size_t end = std::min<size_t>(begin + read.length, whole.size());
      if (std::equal(answer->bytes.begin(), answer->bytes.end(), whole.begin() + begin,
                     whole.begin() + end)) {
        return;
      }
    }
    ADD_FAILURE() << "a read of chunk " << ToString(read.key.chunk) << " at " << read.offset
                  << " answered what the chunk never held";
  }

  void CheckAll(bool reopen) {
    Settle();
    if (reopen) {
      rig_.Close();
      ASSERT_TRUE(rig_.Open().ok());
    }
    uint64_t chunks = 0;
    for (auto& [key, history] : chunks_) {
      auto found = rig_.ReadAll(key);
      ASSERT_TRUE(found.ok()) << found.status().ToString();
      ASSERT_TRUE(*found == history.latest()) << "chunk " << ToString(key.chunk);
      chunks += history.latest().has_value() ? 1 : 0;
      const auto latest = history.latest();
      history.states = {latest};
      history.acked = 0;
    }
    EXPECT_EQ(rig_.List(1)->size() + rig_.List(2)->size(), chunks);
    const Status check = rig_.engine().Check();
    ASSERT_TRUE(check.ok()) << check.ToString();
  }

  std::mt19937_64 random_;
  EngineRig rig_;
  std::map<Engine::ChunkKey, ChunkHistory> chunks_;
  std::vector<Change> changes_;
  std::vector<Read> reads_;
};

TEST(EngineModelTest, AgreesWithAMapInMemory) {
  ModelRun(TestSeed(77001), {.slab_bytes = 2 << 20}).Run(3000);
}

TEST(EngineModelTest, AgreesWithAMapInMemoryWhileTheCacheForgets) {
  ModelRun(TestSeed(77002), {.slab_bytes = 2 << 20, .index_cache_bytes = 1}).Run(1500);
}

}  // namespace
}  // namespace sheaf::storage
