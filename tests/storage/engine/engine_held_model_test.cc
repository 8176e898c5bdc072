// Random changes with and without tickets, releases and reverts, many in flight, completions in
// random order, against a plain model in memory; the same run for the engine and for the fake that
// stands for it elsewhere. SHEAF_SEED repeats a run.

#include "tests/storage/engine/held_model.h"
#include "tests/support/fake_engine.h"

namespace sheaf::storage {
namespace {

class HeldRun {
 public:
  HeldRun(uint64_t seed, EngineRig::Options options) : random_(seed), rig_(Seeded(options, seed)) {
    for (uint32_t i = 0; i < 4; ++i) {
      const auto key = Key(1, 10 + i / 2, i % 2);
      chunks_.emplace(key, key);
    }
  }

  void RunEngine(int operations) {
    ASSERT_TRUE(rig_.Open().ok());
    restarts_ = true;
    Run(operations);
  }
  void RunFake(int operations) {
    rig_.Use(std::make_unique<sheaf::testing::FakeEngine>());
    Run(operations);
  }

 private:
  struct Change {
    EngineRig::StateFuture done;
    ChunkSight after;
  };

  static EngineRig::Options Seeded(EngineRig::Options options, uint64_t seed) {
    options.seed = seed;
    options.shuffle = true;
    return options;
  }
  uint32_t Below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }
  // Near borders of blocks and pages as often as anywhere.
  uint32_t Position() {
    if (random_() % 2 == 0) return Below(600000);
    return (random_() % 2 == 0 ? 16384 : 262144) * (1 + Below(2)) + Below(3) - 1;
  }

  void Run(int operations) {
    for (int i = 0; i < operations && !::testing::Test::HasFailure(); ++i) {
      Step();
      if (changes_.size() >= 1 + random_() % 16) Settle();
      if (random_() % 200 == 0) CheckAll(/*restart=*/restarts_ && random_() % 2 == 0);
    }
    CheckAll(false);
    Clear();
  }

  void Step() {
    auto at = chunks_.begin();
    std::advance(at, Below(4));
    auto& [key, model] = *at;
    const uint32_t kind = Below(22);
    if (kind < 13) {
      Apply(key, model, kind);
    } else if (kind < 16) {
      Settle();
      const uint64_t ticket = SomeTicket(model);
      rig_.engine().Release(key, ticket);
      model.Release(ticket);
    } else if (kind < 18) {
      Settle();
      const uint64_t from = SomeTicket(model);
      const auto row = model.Revert(from);
      Expect(rig_.Revert(key, from, {row}), model.newest());
    } else if (kind == 18) {
      Settle();
      Stamp(key, model);
    } else if (kind < 21) {
      Rewrite(key, model);
    } else {
      Settle();
      CheckReads(key, model);
    }
  }

  // One of the chunk's, or one that nothing has.
  uint64_t SomeTicket(const HeldModel& model) {
    const uint64_t first = std::max<uint64_t>(model.first_ticket(), 2);
    const uint64_t last = std::max(model.last_ticket(), first);
    return first - 1 + random_() % (last - first + 3);
  }

  void Apply(const Engine::ChunkKey& key, HeldModel& model, uint32_t kind) {
    const uint64_t ticket = random_() % 6 == 0 ? 0 : ++ticket_;
    Engine::Change change;
    if (kind < 8) {
      const uint32_t offset = Position();
      const uint32_t size = 1 + Below(kind < 5 ? 9000 : 300000);
      change = rig_.WriteChange(key, ticket, offset, RandomBytes(size, random_()));
    } else if (kind < 11) {
      const uint32_t length = random_() % 8 == 0 ? 0 : Position();
      change = EngineRig::TruncateChange(key, ticket, length, random_() % 2 == 0);
    } else if (kind == 11) {
      change = EngineRig::RemoveChange(key, ticket);
    } else {
      change = EngineRig::NoteChange(key, ticket);
    }
    model.Apply(change);
    changes_.push_back({rig_.StartApply(std::move(change)), model.newest()});
  }

  void Stamp(const Engine::ChunkKey& key, HeldModel& model) {
    auto want = rig_.ReadAt(key, Engine::kNewest, 0, 1)->state;
    want.version = ChunkVersion(1000 + Below(1000));
    want.chain_version = ChainVersion(9);
    const auto stamped = rig_.Stamp(key, want);
    if (!model.newest().bytes.has_value()) {
      EXPECT_EQ(stamped.status().code(), Code::kNotFound);
      return;
    }
    model.Stamp(want.version.value());
    Expect(stamped, model.newest());
  }

  // With its own bytes, while others are under way: nothing that can be seen changes.
  void Rewrite(const Engine::ChunkKey& key, const HeldModel& model) {
    const auto& bytes = model.newest().bytes;
    if (!bytes.has_value() || bytes->empty()) return;
    const auto size = static_cast<uint32_t>(bytes->size());
    const uint32_t offset = Below(size) / 16384 * 16384;
    const uint32_t end = std::min(size, offset + 16384 * (1 + Below(20)));
    const Bytes part(bytes->begin() + offset, bytes->begin() + end);
    changes_.push_back({rig_.StartRewrite(key, offset, part), model.newest()});
  }

  static void Expect(const Result<Engine::ChunkState>& state, const ChunkSight& want) {
    ASSERT_TRUE(state.ok()) << state.status().ToString();
    EXPECT_EQ(state->version.value(), want.version);
    EXPECT_EQ(state->length, want.bytes.has_value() ? want.bytes->size() : 0);
  }
  void Settle() {
    for (auto& change : changes_) Expect(change.done.get(), change.after);
    changes_.clear();
  }

  void CheckReads(const Engine::ChunkKey& key, const HeldModel& model) {
    ASSERT_TRUE(*rig_.ReadAll(key) == model.At(0));
    ASSERT_TRUE(*rig_.ReadAllAt(key, Engine::kNewest) == model.newest().bytes);
    for (int i = 0; i < 3; ++i) {
      const uint64_t upto = SomeTicket(model);
      ASSERT_TRUE(*rig_.ReadAllAt(key, upto) == model.At(upto)) << "through ticket " << upto;
    }
  }

  void CheckAll(bool restart) {
    Settle();
    if (restart) {
      rig_.Close();
      ASSERT_TRUE(rig_.Open().ok());
    }
    for (auto& [key, model] : chunks_) {
      if (restart) model.Restart();
      CheckReads(key, model);
      const auto found = Look(rig_, key);
      ASSERT_TRUE(found.ok()) << found.status().ToString();
      EXPECT_EQ(found->sequence, model.newest().sequence);
      EXPECT_EQ(found->done, model.newest().done);
    }
    const Status check = rig_.engine().Check();
    ASSERT_TRUE(check.ok()) << check.ToString();
  }

  // Nothing is left of what was held.
  void Clear() {
    for (auto& [key, model] : chunks_) {
      ASSERT_TRUE(rig_.Apply(EngineRig::RemoveChange(key, ++ticket_)).ok());
      rig_.engine().Release(key, ticket_);
      ASSERT_TRUE(rig_.ReadAll(key)->has_value() == false);
    }
    EXPECT_EQ(rig_.engine().GetSpace().used_bytes, 0u);
    EXPECT_TRUE(rig_.engine().Check().ok());
  }

  std::mt19937_64 random_;
  EngineRig rig_;
  bool restarts_ = false;
  std::map<Engine::ChunkKey, HeldModel> chunks_;
  std::vector<Change> changes_;
  uint64_t ticket_ = 0;
};

TEST(EngineHeldModelTest, AgreesWithAModel) {
  HeldRun(TestSeed(78001), {.slab_bytes = 2 << 20, .capacity_bytes = 1 << 30}).RunEngine(4000);
}

TEST(EngineHeldModelTest, AgreesWithAModelWhileTheCacheForgets) {
  HeldRun(TestSeed(78002),
          {.slab_bytes = 2 << 20, .capacity_bytes = 1 << 30, .index_cache_bytes = 1})
      .RunEngine(2000);
}

TEST(EngineHeldModelTest, TheFakeAgreesWithTheModelToo) {
  HeldRun(TestSeed(78003), {}).RunFake(4000);
}

}  // namespace
}  // namespace sheaf::storage
