// The machine dies at every event that changes what a disk holds, while versions are held, released
// and taken back. A chunk and the row of its stream are found as one change left them both: the
// last that was acknowledged, or one that was under way.

#include "tests/storage/engine/held_model.h"

namespace sheaf::storage {
namespace {

const Engine::ChunkKey kFirst = Key(1, 10, 0);
const Engine::ChunkKey kSecond = Key(1, 10, 1);

class HeldWorkload {
 public:
  explicit HeldWorkload(EngineRig& rig) : rig_(rig) {}

  void Write(const Engine::ChunkKey& key, uint64_t ticket, uint32_t offset, uint32_t size) {
    Start(rig_.WriteChange(key, ticket, offset, RandomBytes(size, ++content_)));
  }
  void Start(Engine::Change change) {
    const auto key = change.args.key;
    Chunk& chunk = ChunkOf(key);
    chunk.model.Apply(change);
    Started(chunk, rig_.StartApply(std::move(change)));
  }
  void Revert(const Engine::ChunkKey& key, uint64_t from) {
    Chunk& chunk = ChunkOf(key);
    const auto row = chunk.model.Revert(from);
    Started(chunk, rig_.StartRevert(key, from, {row}));
  }
  void Release(const Engine::ChunkKey& key, uint64_t ticket) {
    ChunkOf(key).model.Release(ticket);
    rig_.engine().Release(key, ticket);
  }
  bool Stamp(const Engine::ChunkKey& key, uint64_t version) {
    auto want = rig_.ReadAt(key, Engine::kNewest, 0, 1);
    if (!want.ok()) return false;
    want->state.version = ChunkVersion(version);
    Chunk& chunk = ChunkOf(key);
    chunk.model.Stamp(version);
    chunk.sights.push_back(chunk.model.newest());
    if (!rig_.Stamp(key, want->state).ok()) return false;
    chunk.acked = chunk.sights.size() - 1;
    return true;
  }
  // With its own bytes.
  void Rewrite(const Engine::ChunkKey& key) {
    Chunk& chunk = ChunkOf(key);
    const auto& bytes = chunk.model.newest().bytes;
    if (bytes.has_value() && !bytes->empty()) Started(chunk, rig_.StartRewrite(key, 0, *bytes));
  }
  bool PutRow(const Engine::ChunkKey& key) {
    Chunk& chunk = ChunkOf(key);
    const auto row = chunk.model.NextRow(true);
    chunk.sights.push_back(chunk.model.newest());
    if (!rig_.PutRows({row}).ok()) return false;
    chunk.acked = chunk.sights.size() - 1;
    return true;
  }
  bool Restart() {
    rig_.Close();
    for (auto& [key, chunk] : chunks_) chunk.model.Restart();
    return rig_.Open().ok();
  }
  // False once something failed: the machine is dead.
  bool Settle() {
    bool alive = true;
    for (auto& change : changes_) {
      if (change.done.get().ok()) {
        change.chunk->acked = std::max(change.chunk->acked, change.sight);
      } else {
        alive = false;
      }
    }
    changes_.clear();
    return alive;
  }
  HeldModel& ModelOf(const Engine::ChunkKey& key) { return ChunkOf(key).model; }

  // Empty when `after` holds what it may, else what is wrong.
  std::string Judge(EngineRig& after) const {
    const Status opened = after.Open();
    if (!opened.ok()) return "open: " + opened.ToString();
    const Status check = after.engine().Check();
    if (!check.ok()) return "check: " + check.ToString();
    for (const auto& [key, chunk] : chunks_) {
      const auto found = Look(after, key);
      if (!found.ok()) return "look: " + found.status().ToString();
      const auto& sights = chunk.sights;
      const auto first = sights.begin() + static_cast<ptrdiff_t>(chunk.acked);
      if (std::find(first, sights.end(), *found) == sights.end()) {
        return "chunk " + ToString(key.chunk) + " is what it never may be (version " +
               std::to_string(found->version) + ", row " + std::to_string(found->sequence) + ")";
      }
    }
    return {};
  }

 private:
  struct Chunk {
    HeldModel model;
    std::vector<ChunkSight> sights{ChunkSight()};
    size_t acked = 0;  // sights before this one are over
  };
  struct Change {
    Chunk* chunk;
    size_t sight;
    EngineRig::StateFuture done;
  };

  Chunk& ChunkOf(const Engine::ChunkKey& key) {
    return chunks_.try_emplace(key, Chunk{.model = HeldModel(key)}).first->second;
  }
  void Started(Chunk& chunk, EngineRig::StateFuture done) {
    chunk.sights.push_back(chunk.model.newest());
    changes_.push_back({&chunk, chunk.sights.size() - 1, std::move(done)});
  }

  EngineRig& rig_;
  std::map<Engine::ChunkKey, Chunk> chunks_;
  std::vector<Change> changes_;
  uint64_t content_ = 0;
};

// One change at a time: with the k-th boundary the run is the same each time. Each but the releases
// has one index write.
using Step = std::function<bool(EngineRig&, HeldWorkload&)>;
std::vector<Step> SequentialSteps() {
  const auto start = [](Engine::Change change) {
    return [change](EngineRig&, HeldWorkload& work) {
      work.Start(change);
      return work.Settle();
    };
  };
  const auto write = [](Engine::ChunkKey key, uint64_t ticket, uint32_t offset, uint32_t size) {
    return [=](EngineRig&, HeldWorkload& work) {
      work.Write(key, ticket, offset, size);
      return work.Settle();
    };
  };
  const auto truncate = [&](Engine::ChunkKey key, uint64_t ticket, uint32_t length, bool extend) {
    return start(EngineRig::TruncateChange(key, ticket, length, extend));
  };
  const auto remove = [&](Engine::ChunkKey key, uint64_t ticket) {
    return start(EngineRig::RemoveChange(key, ticket));
  };
  const auto note = [&](Engine::ChunkKey key, uint64_t ticket) {
    return start(EngineRig::NoteChange(key, ticket));
  };
  const auto revert = [](Engine::ChunkKey key, uint64_t from) {
    return [=](EngineRig&, HeldWorkload& work) {
      work.Revert(key, from);
      return work.Settle();
    };
  };
  const auto release = [](Engine::ChunkKey key, uint64_t ticket) {
    return [=](EngineRig&, HeldWorkload& work) {
      work.Release(key, ticket);
      return true;
    };
  };
  const auto stamp = [](Engine::ChunkKey key, uint64_t version) {
    return [=](EngineRig&, HeldWorkload& work) { return work.Stamp(key, version); };
  };
  const auto rewrite = [](Engine::ChunkKey key) {
    return [=](EngineRig&, HeldWorkload& work) {
      work.Rewrite(key);
      return work.Settle();
    };
  };
  const auto put_row = [](Engine::ChunkKey key) {
    return [=](EngineRig&, HeldWorkload& work) { return work.PutRow(key); };
  };
  const auto restart = [](EngineRig&, HeldWorkload& work) { return work.Restart(); };
  return {
      write(kFirst, 1, 0, 400000),
      write(kFirst, 2, 5000, 30000),
      revert(kFirst, 2),
      write(kSecond, 3, 0, 20000),
      revert(kSecond, 3),  // a creation
      note(kSecond, 4),
      write(kFirst, 5, 262144, 70000),
      truncate(kFirst, 6, 300001, false),
      put_row(kSecond),
      write(kFirst, 7, 290000, 100000),
      revert(kFirst, 6),
      stamp(kFirst, 50),
      // The first reopening syncs again: what is above is looked at sync by sync.
      restart,
      release(kFirst, 5),
      write(kSecond, 8, 0, 50000),
      release(kSecond, 8),
      remove(kSecond, 9),
      write(kFirst, 10, 1, 100000),
      revert(kSecond, 9),  // a removal
      rewrite(kFirst),
      revert(kFirst, 10),
      rewrite(kFirst),
      write(kFirst, 10, 1, 100000),
      rewrite(kFirst),
      truncate(kFirst, 11, 0, false),
      release(kFirst, 10),
      write(kFirst, 12, 0, 30000),
      truncate(kFirst, 13, 900000, false),  // changes nothing
      revert(kFirst, 1),
      restart,
      write(kFirst, 14, 400000, 10),
      release(kFirst, 14),
  };
}
constexpr size_t kStepsToFirstRestart = 12;

TEST(EngineHeldCrashTest, EveryWriteBoundary) {
  const uint64_t seed = TestSeed(20361);
  uint64_t boundary = 0;
  for (bool completed = false; !completed; ++boundary) {
    ASSERT_LT(boundary, 5000u);
    EngineRig rig({.slab_bytes = 1 << 20, .crash = std::make_shared<CrashPoint>(boundary)});
    HeldWorkload work(rig);
    bool alive = rig.Open().ok();
    for (const Step& step : SequentialSteps()) alive = alive && step(rig, work);
    rig.Close();
    completed = alive && !rig.crash().dead();
    EngineRig after(rig, seed + boundary);
    ASSERT_EQ(work.Judge(after), "") << "boundary " << boundary << ", seed " << seed;
    // And it works on: blocks that only held versions had are free again.
    ASSERT_TRUE(after.Write(Key(3, 99, 0), 0, RandomBytes(100000, 1)).ok());
    ASSERT_TRUE(after.engine().Check().ok());
  }
  std::printf("%llu boundaries\n", static_cast<unsigned long long>(boundary));
  EXPECT_GT(boundary, 80u);
}

TEST(EngineHeldCrashTest, ManyChangesInFlight) {
  const uint64_t seed = TestSeed(20363);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 60; ++round) {
    EngineRig rig({.seed = random(),
                   .shuffle = true,
                   .slab_bytes = 1 << 20,
                   .capacity_bytes = 256 << 20,
                   .crash = std::make_shared<CrashPoint>(30 + random() % 400)});
    HeldWorkload work(rig);
    bool alive = rig.Open().ok();
    uint64_t ticket = 0;
    for (int batch = 0; alive && batch < 20; ++batch) {
      for (int i = 0; i < 8; ++i) {
        const auto key = Key(1, 10 + random() % 3, static_cast<uint32_t>(random() % 2));
        const auto at = static_cast<uint32_t>(random() % 300000);
        switch (random() % 7) {
          case 0:
            work.Start(EngineRig::TruncateChange(key, ++ticket, at, random() % 2 == 0));
            break;
          case 1:
            work.Start(EngineRig::RemoveChange(key, ++ticket));
            break;
          case 2:
            work.Rewrite(key);
            break;
          default:
            work.Write(key, ++ticket, at, 1 + static_cast<uint32_t>(random() % 60000));
        }
      }
      alive = work.Settle();
      // Half of what is held is committed or taken back, each chunk beside the others.
      for (uint64_t file = 10; alive && file < 13; ++file) {
        for (uint32_t index = 0; index < 2; ++index) {
          const auto key = Key(1, file, index);
          const uint64_t middle = ticket - random() % 12;
          if (random() % 2 == 0) work.Release(key, middle);
          if (random() % 2 == 0) work.Revert(key, middle + 1);
        }
      }
      alive = work.Settle() && alive;
    }
    rig.Close();
    EngineRig after(rig, random());
    ASSERT_EQ(work.Judge(after), "") << "round " << round << ", seed " << seed;
  }
}

// Runs the steps with one index sync that does nothing, dies right after the answer that relied on
// it, and says whether the loss is seen.
bool LossIsSeen(uint64_t ignored, bool& relied_on) {
  EngineRig rig({.slab_bytes = 1 << 20});
  HeldWorkload work(rig);
  EXPECT_TRUE(rig.Open().ok());
  const uint64_t base = rig.env().log_syncs();
  rig.env().IgnoreLogSync(base + ignored);
  relied_on = false;
  const auto steps = SequentialSteps();
  for (size_t i = 0; i < kStepsToFirstRestart && !relied_on; ++i) {
    EXPECT_TRUE(steps[i](rig, work));
    relied_on = rig.env().log_syncs() > base + ignored;
  }
  rig.crash().Kill();
  rig.Close();
  for (uint64_t seed = 0; seed < 16; ++seed) {
    EngineRig after(rig, seed);
    if (!work.Judge(after).empty()) return true;
  }
  return false;
}

TEST(EngineHeldCrashTest, IgnoringOneIndexSyncIsFound) {
  uint64_t syncs = 0;
  for (bool relied_on = true;; ++syncs) {
    const bool seen = LossIsSeen(syncs, relied_on);
    if (!relied_on) break;
    EXPECT_TRUE(seen) << "index sync " << syncs << " is not needed";
  }
  EXPECT_EQ(syncs, kStepsToFirstRestart);
}

}  // namespace
}  // namespace sheaf::storage
