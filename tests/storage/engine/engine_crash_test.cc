// The machine dies at every event that changes what a disk holds, and the engine is opened on what
// is left. What was acknowledged must be there, what was not must be there whole or not at all,
// and index and allocator must agree.

#include "storage/engine/chunk_index.h"
#include "tests/storage/engine/engine_rig.h"

namespace sheaf::storage {
namespace {

constexpr uint32_t kChunkSize = 1 << 20;

// Issues changes of a few chunks and knows what each chunk may hold after a crash.
class Workload {
 public:
  explicit Workload(EngineRig& rig) : rig_(rig) {}

  // Each call issues one change; Settle waits for all of them.
  void Write(const Engine::ChunkKey& key, uint32_t offset, uint32_t size, size_t misalign = 0) {
    const Bytes bytes = RandomBytes(size, ++content_);
    histories_[key].Write(offset, bytes);
    changes_.push_back({key, rig_.StartWrite(rig_.Args(key, offset, bytes, kChunkSize, misalign)),
                        histories_[key].states.size() - 1});
  }
  void Truncate(const Engine::ChunkKey& key, uint32_t length, bool extend) {
    histories_[key].Truncate(length, extend);
    changes_.push_back({key, rig_.StartTruncate(key, length, extend, kChunkSize),
                        histories_[key].states.size() - 1});
  }
  // False once something failed: the machine is dead.
  bool Settle() {
    bool alive = true;
    for (auto& change : changes_) {
      if (!change.done.get().ok()) {
        alive = false;
      } else if (alive) {
        histories_[change.key].acked = change.state;
      } else {
        // Acknowledged after something else had failed: still a promise.
        auto& history = histories_[change.key];
        history.acked = std::max(history.acked, change.state);
      }
    }
    changes_.clear();
    return alive;
  }
  bool Remove(const Engine::ChunkKey& key) {
    histories_[key].Remove();
    auto answer = rig_.Remove(key.chain.value(), key.chunk.data_id.value(), key.chunk.index, 1);
    if (answer.ok()) histories_[key].AckAll();
    return answer.ok();
  }

  // Empty when `after` holds what it may, else what is wrong.
  std::string Judge(EngineRig& after) const {
    const Status opened = after.Open();
    if (!opened.ok()) return "open: " + opened.ToString();
    const Status check = after.engine().Check();
    if (!check.ok()) return "check: " + check.ToString();
    for (const auto& [key, history] : histories_) {
      auto found = after.ReadAll(key);
      if (!found.ok()) return "read: " + found.status().ToString();
      if (!history.AllowsNow(*found)) {
        return "chunk " + ToString(key.chunk) + " holds what it never may (" +
               (found->has_value() ? std::to_string((*found)->size()) : "no") + " bytes)";
      }
    }
    return {};
  }

 private:
  struct Change {
    Engine::ChunkKey key;
    EngineRig::StateFuture done;
    size_t state;  // of the chunk's history
  };
  EngineRig& rig_;
  std::map<Engine::ChunkKey, ChunkHistory> histories_;
  std::vector<Change> changes_;
  uint64_t content_ = 0;
};

// One change at a time: with the k-th boundary the run is the same each time.
using Step = std::function<bool(EngineRig&, Workload&)>;
std::vector<Step> SequentialSteps() {
  const auto a = Key(1, 10, 0);
  const auto b = Key(1, 10, 1);
  const auto c = Key(2, 11, 0);
  const auto write = [](Engine::ChunkKey key, uint32_t offset, uint32_t size, size_t misalign = 0) {
    return [=](EngineRig&, Workload& work) {
      work.Write(key, offset, size, misalign);
      return work.Settle();
    };
  };
  const auto truncate = [](Engine::ChunkKey key, uint32_t length, bool extend) {
    return [=](EngineRig&, Workload& work) {
      work.Truncate(key, length, extend);
      return work.Settle();
    };
  };
  const auto remove = [](Engine::ChunkKey key) {
    return [=](EngineRig&, Workload& work) { return work.Remove(key); };
  };
  const auto reopen = [](EngineRig& rig, Workload&) {
    rig.Close();
    return rig.Open().ok();
  };
  return {
      write(a, 0, 400000),      write(a, 5000, 4096), write(b, 0, 16384),
      truncate(a, 300001, false), write(c, 100, 10),    truncate(c, 50000, true),
      write(a, 262144, 65536),  reopen,               write(a, 1, 100000, 3),
      remove(b),                write(b, 8192, 40000), truncate(a, 4096, false),
      write(c, 40000, 300000),  remove(a),            write(a, 0, 20000),
      reopen,                   truncate(c, 0, false), write(c, 0, 5000),
  };
}

// True when the run ended before the machine died.
bool RunSequential(EngineRig& rig, Workload& work) {
  if (!rig.Open().ok()) return false;
  for (const Step& step : SequentialSteps()) {
    if (!step(rig, work)) return false;
  }
  rig.Close();
  return !rig.crash().dead();
}

TEST(EngineCrashTest, EveryWriteBoundary) {
  const uint64_t seed = TestSeed(20261);
  uint64_t boundary = 0;
  for (bool completed = false; !completed; ++boundary) {
    ASSERT_LT(boundary, 5000u);
    EngineRig rig({.slab_bytes = 1 << 20, .crash = std::make_shared<CrashPoint>(boundary)});
    Workload work(rig);
    completed = RunSequential(rig, work);
    rig.Close();
    EngineRig after(rig, seed + boundary);
    const std::string wrong = work.Judge(after);
    ASSERT_EQ(wrong, "") << "boundary " << boundary << ", seed " << seed;
    // And it works on: blocks that the dead machine had allocated are free again.
    ASSERT_TRUE(after.Write(Key(3, 99, 0), 0, RandomBytes(100000, 1)).ok());
    ASSERT_TRUE(after.engine().Check().ok());
  }
  std::printf("%llu boundaries\n", static_cast<unsigned long long>(boundary));
  EXPECT_GT(boundary, 80u);
}

// Dying twice: what the first start after a crash leaves is as good as what the crash left.
TEST(EngineCrashTest, EveryBoundaryOfTheStartAfterACrash) {
  const uint64_t seed = TestSeed(20262);
  EngineRig rig({.slab_bytes = 1 << 20});
  Workload work(rig);
  ASSERT_TRUE(rig.Open().ok());
  const auto steps = SequentialSteps();
  for (size_t i = 0; i < 13; ++i) ASSERT_TRUE(steps[i](rig, work));
  rig.crash().Kill();
  rig.Close();
  for (uint64_t boundary = 0;; ++boundary) {
    ASSERT_LT(boundary, 500u);
    EngineRig second(rig, seed, std::make_shared<CrashPoint>(boundary));
    const bool opened = second.Open().ok();
    second.Close();
    const bool completed = opened && !second.crash().dead();
    EngineRig after(second, seed + boundary);
    ASSERT_EQ(work.Judge(after), "") << "boundary " << boundary << ", seed " << seed;
    if (completed) break;
  }
}

TEST(EngineCrashTest, ManyChangesInFlight) {
  const uint64_t seed = TestSeed(20263);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 60; ++round) {
    EngineRig rig({.seed = random(),
                   .shuffle = true,
                   .slab_bytes = 1 << 20,
                   .crash = std::make_shared<CrashPoint>(30 + random() % 400)});
    Workload work(rig);
    bool alive = rig.Open().ok();
    for (int batch = 0; alive && batch < 20; ++batch) {
      for (int i = 0; i < 8; ++i) {
        const auto key = Key(1, 10 + random() % 3, static_cast<uint32_t>(random() % 2));
        if (random() % 5 == 0) {
          work.Truncate(key, static_cast<uint32_t>(random() % 400000), random() % 2 == 0);
        } else {
          work.Write(key, static_cast<uint32_t>(random() % 300000),
                     1 + static_cast<uint32_t>(random() % 60000), random() % 2 * 7);
        }
      }
      alive = work.Settle();
    }
    rig.Close();
    EngineRig after(rig, random());
    ASSERT_EQ(work.Judge(after), "") << "round " << round << ", seed " << seed;
  }
}

// Runs the steps with one sync that does nothing, dies right after the answer that relied on it,
// and says whether the loss is seen.
enum class SyncKind { kSlab, kIndex };
bool LossIsSeen(SyncKind kind, uint64_t ignored, bool& relied_on) {
  EngineRig rig({.slab_bytes = 1 << 20});
  Workload work(rig);
  EXPECT_TRUE(rig.Open().ok());
  const uint64_t base = rig.env().log_syncs();
  if (kind == SyncKind::kSlab) rig.disk().IgnoreSync(ignored);
  if (kind == SyncKind::kIndex) rig.env().IgnoreLogSync(base + ignored);
  const auto done = [&] {
    return kind == SyncKind::kSlab ? rig.disk().syncs() > ignored
                                   : rig.env().log_syncs() > base + ignored;
  };
  relied_on = false;
  const auto steps = SequentialSteps();
  for (size_t i = 0; i < 7 && !relied_on; ++i) {  // to the first reopening, which syncs again
    EXPECT_TRUE(steps[i](rig, work));
    relied_on = done();
  }
  rig.crash().Kill();
  rig.Close();
  for (uint64_t seed = 0; seed < 16; ++seed) {
    EngineRig after(rig, seed);
    if (!work.Judge(after).empty()) return true;
  }
  return false;
}

TEST(EngineCrashTest, IgnoringOneSlabSyncIsFound) {
  uint64_t syncs = 0;
  for (bool relied_on = true;; ++syncs) {
    const bool seen = LossIsSeen(SyncKind::kSlab, syncs, relied_on);
    if (!relied_on) break;
    EXPECT_TRUE(seen) << "slab sync " << syncs << " is not needed";
  }
  EXPECT_GE(syncs, 6u);
}

TEST(EngineCrashTest, IgnoringOneIndexSyncIsFound) {
  uint64_t syncs = 0;
  for (bool relied_on = true;; ++syncs) {
    const bool seen = LossIsSeen(SyncKind::kIndex, syncs, relied_on);
    if (!relied_on) break;
    EXPECT_TRUE(seen) << "index sync " << syncs << " is not needed";
  }
  EXPECT_GE(syncs, 7u);
}

TEST(EngineCrashTest, TheSlabSizeStaysFromTheFirstOpeningOn) {
  EngineRig rig({.slab_bytes = 2 << 20});
  ASSERT_TRUE(rig.Open().ok());
  rig.crash().Kill();
  rig.Close();
  for (uint64_t seed = 0; seed < 16; ++seed) {
    const auto env = rig.env().Survivor(seed, std::make_shared<CrashPoint>());
    const auto index = ChunkIndex::Open("/index", env->env(), 64 << 10);
    ASSERT_TRUE(index.ok()) << index.status().ToString() << ", seed " << seed;
    const auto slab_bytes = (*index)->ReadTarget();
    ASSERT_TRUE(slab_bytes.ok()) << slab_bytes.status().ToString() << ", seed " << seed;
    EXPECT_EQ(*slab_bytes, uint64_t{2} << 20);
  }
}

}  // namespace
}  // namespace sheaf::storage
