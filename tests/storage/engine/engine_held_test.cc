// Versions that are durable and not yet committed, and the stream rows that come with them.

#include <rocksdb/db.h>

#include <thread>

#include "storage/engine/chunk_format.h"
#include "storage/engine/chunk_index.h"
#include "tests/storage/engine/engine_rig.h"
#include "tests/support/eventually.h"

namespace sheaf::storage {
namespace {

using sheaf::testing::Eventually;

constexpr uint32_t kBlock = 16384;

Engine::StreamRow Row(uint64_t incarnation, uint32_t stream, uint64_t sequence, bool done = true) {
  return {.chain = ChainId(7),
          .incarnation = Incarnation(incarnation),
          .stream = stream,
          .sequence = sequence,
          .fingerprint = sequence * 1000,
          .done = done};
}

class EngineHeldTest : public ::testing::Test {
 protected:
  void SetUp() override { Start(); }
  void Start(const EngineRig::Options& options = {}) {
    rig_ = std::make_unique<EngineRig>(options);
    const Status opened = rig_->Open();
    ASSERT_TRUE(opened.ok()) << opened.ToString();
  }
  void Reopen() {
    rig_->Close();
    const Status opened = rig_->Open();
    ASSERT_TRUE(opened.ok()) << opened.ToString();
    ExpectSound();
  }
  void ExpectSound() {
    const Status status = rig_->engine().Check();
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  uint64_t UsedBlocks() { return rig_->engine().GetSpace().used_bytes / kBlock; }

  void Write(uint64_t ticket, uint32_t offset, const Bytes& bytes) {
    const auto state = rig_->Apply(rig_->WriteChange(key_, ticket, offset, bytes));
    ASSERT_TRUE(state.ok()) << state.status().ToString();
    model_.Write(offset, bytes);
  }
  void Truncate(uint64_t ticket, uint32_t length, bool extend) {
    const auto state = rig_->Apply(rig_->TruncateChange(key_, ticket, length, extend));
    ASSERT_TRUE(state.ok()) << state.status().ToString();
    model_.Truncate(length, extend);
  }
  void Remove(uint64_t ticket) {
    const auto state = rig_->Apply(rig_->RemoveChange(key_, ticket));
    ASSERT_TRUE(state.ok()) << state.status().ToString();
    EXPECT_FALSE(state->version.IsSet());
    model_.Remove();
  }
  void Release(uint64_t ticket) { rig_->engine().Release(key_, ticket); }
  // The chunk is what it was after `changes` of the model's.
  void ExpectAt(uint64_t upto, size_t changes) {
    const auto found = rig_->ReadAllAt(key_, upto);
    ASSERT_TRUE(found.ok()) << found.status().ToString();
    EXPECT_TRUE(*found == model_.states.at(changes)) << "through ticket " << upto;
  }
  void RevertTo(uint64_t from, size_t changes) {
    const auto state = rig_->Revert(key_, from);
    ASSERT_TRUE(state.ok()) << state.status().ToString();
    const auto& want = model_.states.at(changes);
    EXPECT_EQ(state->version.IsSet(), want.has_value());
    EXPECT_EQ(state->length, want.has_value() ? want->size() : 0);
    model_.states.resize(changes + 1);
    ExpectAt(Engine::kNewest, changes);
    ExpectSound();
  }
  std::vector<Engine::StreamRow> Rows() {
    auto rows = rig_->engine().LoadStreamRows();
    EXPECT_TRUE(rows.ok()) << rows.status().ToString();
    return rows.ok() ? *rows : std::vector<Engine::StreamRow>();
  }

  std::unique_ptr<EngineRig> rig_;
  ChunkHistory model_;
  const Engine::ChunkKey key_ = Key(7, 42, 3);
};

TEST_F(EngineHeldTest, AHeldVersionIsSeenByThoseWhoAskForItOnly) {
  Write(0, 0, RandomBytes(50000, 1));
  Write(5, 1000, RandomBytes(20000, 2));
  ExpectAt(0, 1);
  ExpectAt(4, 1);
  ExpectAt(5, 2);
  ExpectAt(Engine::kNewest, 2);
  EXPECT_EQ(rig_->Read(key_, 0, 1)->state.version.value(), 1u);
  EXPECT_EQ(rig_->ReadAt(key_, 5, 0, 1)->state.version.value(), 2u);
  EXPECT_EQ(rig_->List(7)->front().state.version.value(), 2u);  // what the index names
  ExpectSound();
  Release(5);
  ExpectAt(0, 2);
  ExpectSound();
}

TEST_F(EngineHeldTest, ReadAtWithNothingHeldIsARead) {
  ExpectAt(Engine::kNewest, 0);
  Write(0, 0, RandomBytes(5000, 1));
  ExpectAt(3, 1);
  ExpectAt(Engine::kNewest, 1);
  Reopen();
  ExpectAt(Engine::kNewest, 1);
}

TEST_F(EngineHeldTest, SeveralHeldVersionsAreEachReadable) {
  Write(0, 0, RandomBytes(600000, 1));
  Write(3, 5000, RandomBytes(4096, 2));
  Write(5, 6000, RandomBytes(40000, 3));
  Truncate(8, 300001, false);
  Write(9, 280000, RandomBytes(400000, 4));
  Remove(11);
  Write(12, 100, RandomBytes(10, 5));
  const auto expect_all = [&] {
    ExpectAt(2, 1);
    ExpectAt(4, 2);
    ExpectAt(7, 3);
    ExpectAt(8, 4);
    ExpectAt(10, 5);
    ExpectAt(11, 6);
    ExpectAt(12, 7);
  };
  expect_all();
  ExpectAt(0, 1);
  ExpectSound();
  // Others take no block of theirs.
  ASSERT_TRUE(rig_->Write(Key(7, 1, 1), 0, RandomBytes(1 << 20, 9)).ok());
  expect_all();
  Release(8);
  ExpectAt(0, 4);
  ExpectAt(9, 5);
  ExpectSound();
  Release(12);
  ExpectAt(0, 7);
  EXPECT_EQ(UsedBlocks(), 64u + 1u);
  ExpectSound();
}

TEST_F(EngineHeldTest, ReleaseFreesWhatAHeldVersionReplaced) {
  Write(0, 0, RandomBytes(4 * kBlock, 1));
  EXPECT_EQ(UsedBlocks(), 4u);
  Write(1, 0, RandomBytes(2 * kBlock, 2));
  EXPECT_EQ(UsedBlocks(), 6u);
  Write(2, kBlock, RandomBytes(kBlock, 3));
  EXPECT_EQ(UsedBlocks(), 7u);
  Release(1);
  EXPECT_EQ(UsedBlocks(), 5u);
  Release(2);
  EXPECT_EQ(UsedBlocks(), 4u);
  Remove(3);
  EXPECT_EQ(UsedBlocks(), 4u);
  ExpectAt(0, 3);
  ExpectSound();
  Release(3);
  EXPECT_EQ(UsedBlocks(), 0u);
  ExpectAt(0, 4);
  ExpectSound();
}

TEST_F(EngineHeldTest, ReleaseOfWhatIsNotHeldDoesNothing) {
  Release(5);
  Write(5, 0, RandomBytes(5000, 1));
  Release(4);
  ExpectAt(0, 0);
  Release(5);
  Release(5);
  ExpectAt(0, 1);
  ExpectSound();
}

TEST_F(EngineHeldTest, AReadUnderWayKeepsBlocksThatAreReleased) {
  Write(0, 0, RandomBytes(4 * kBlock, 1));
  FakeIoContext other(std::shared_ptr<FakeDisk>(&rig_->disk(), [](FakeDisk*) {}), {});
  std::promise<Result<Engine::ReadAnswer>> promise;
  other.HoldTransfers();
  Write(1, 0, RandomBytes(4 * kBlock, 2));
  other.RunAndWait([&] {
    rig_->engine().Read(other, key_, 0, 4 * kBlock,
                        [&](Result<Engine::ReadAnswer> answer) { promise.set_value(answer); });
  });
  Release(1);
  EXPECT_EQ(UsedBlocks(), 8u);
  ASSERT_TRUE(rig_->Write(Key(7, 1, 1), 0, RandomBytes(1 << 20, 9)).ok());
  other.ReleaseTransfers();
  const auto answer = promise.get_future().get();
  ASSERT_TRUE(answer.ok()) << answer.status().ToString();
  EXPECT_TRUE(std::equal(answer->bytes.begin(), answer->bytes.end(), model_.states[1]->begin()));
  EXPECT_TRUE(Eventually([&] { return UsedBlocks() == 64 + 4; }));
  ExpectSound();
}

TEST_F(EngineHeldTest, RevertTakesBackOneVersion) {
  Write(0, 0, RandomBytes(100000, 1));
  Write(5, 3000, RandomBytes(30000, 2));
  RevertTo(5, 1);
  EXPECT_EQ(UsedBlocks(), 7u);
  ExpectAt(0, 1);
  Write(5, 100, RandomBytes(100, 3));  // the ticket is free again
  ExpectAt(0, 1);
  Release(5);
  ExpectAt(0, 2);
  ExpectSound();
}

TEST_F(EngineHeldTest, RevertTakesBackTheNewestOfSeveralThatShareBlocks) {
  Write(0, 0, RandomBytes(40 * kBlock, 1));
  Write(1, 0, RandomBytes(10 * kBlock, 2));
  Write(2, 5 * kBlock, RandomBytes(10 * kBlock, 3));
  Write(3, 7 * kBlock + 5, RandomBytes(2 * kBlock, 4));
  Truncate(4, 6 * kBlock + 1, false);
  RevertTo(3, 3);
  EXPECT_EQ(UsedBlocks(), 60u);
  ExpectAt(1, 2);
  ExpectAt(0, 1);
  RevertTo(1, 1);
  EXPECT_EQ(UsedBlocks(), 40u);
  ExpectAt(0, 1);
  Reopen();
  ExpectAt(0, 1);
  EXPECT_EQ(UsedBlocks(), 40u);
}

TEST_F(EngineHeldTest, RevertAfterAReleaseKeepsWhatWasReleased) {
  Write(0, 0, RandomBytes(4 * kBlock, 1));
  Write(1, 0, RandomBytes(2 * kBlock, 2));
  Write(2, 0, RandomBytes(3 * kBlock, 3));
  Release(1);
  RevertTo(2, 2);
  ExpectAt(0, 2);
  EXPECT_EQ(UsedBlocks(), 4u);
}

TEST_F(EngineHeldTest, RevertOfACreationLeavesNoChunk) {
  Write(1, 0, RandomBytes(400000, 1));
  Write(2, 1000, RandomBytes(4000, 2));
  ExpectAt(0, 0);
  RevertTo(1, 0);
  EXPECT_EQ(UsedBlocks(), 0u);
  EXPECT_TRUE(rig_->List(7)->empty());
  Reopen();
  ExpectAt(0, 0);
  EXPECT_EQ(UsedBlocks(), 0u);
}

TEST_F(EngineHeldTest, RevertOfARemovalBringsTheChunkBack) {
  Write(0, 0, RandomBytes(700000, 1));
  Remove(1);
  ExpectAt(0, 1);
  Write(2, 10, RandomBytes(100, 2));
  RevertTo(1, 1);
  EXPECT_EQ(UsedBlocks(), 43u);
  Reopen();
  ExpectAt(0, 1);
}

TEST_F(EngineHeldTest, RevertOfATruncateBringsTheTailBack) {
  Write(0, 0, RandomBytes(700000, 1));
  Truncate(1, 300001, false);
  Truncate(2, 900000, true);
  Truncate(3, 0, false);
  RevertTo(2, 2);
  RevertTo(1, 1);
  Reopen();
  ExpectAt(0, 1);
}

// Without its own synced index write the version that was taken back would be the one that is found.
TEST_F(EngineHeldTest, ARevertIsDurableWhenItIsAnswered) {
  Write(0, 0, RandomBytes(50000, 1));
  Write(1, 0, RandomBytes(50000, 2));
  const auto row = Row(3, 1, 9, /*done=*/false);
  ASSERT_TRUE(rig_->Revert(key_, 1, {row}).ok());
  rig_->crash().Kill();
  rig_->Close();
  for (uint64_t seed = 0; seed < 16; ++seed) {
    EngineRig after(*rig_, seed);
    const Status opened = after.Open();
    ASSERT_TRUE(opened.ok()) << opened.ToString();
    EXPECT_TRUE(*after.ReadAll(key_) == model_.states[1]);
    EXPECT_EQ(*after.engine().LoadStreamRows(), std::vector{row});
    EXPECT_TRUE(after.engine().Check().ok());
  }
}

TEST_F(EngineHeldTest, AFailedIndexWriteOfARevertTakesTheTargetOutOfService) {
  Write(0, 0, RandomBytes(50000, 1));
  Write(1, 0, RandomBytes(50000, 2));
  rig_->env().FailSyncs(true);
  EXPECT_EQ(rig_->Revert(key_, 1).status().code(), Code::kIo);
  EXPECT_EQ(rig_->engine().Health().code(), Code::kIo);
  rig_->env().FailSyncs(false);
  EXPECT_FALSE(rig_->Revert(key_, 1).ok());
  ExpectAt(0, 1);  // reads go on
  ExpectAt(1, 2);
}

TEST_F(EngineHeldTest, ARestartCommitsWhatWasHeld) {
  Write(0, 0, RandomBytes(20 * kBlock, 1));
  Write(1, 0, RandomBytes(10 * kBlock, 2));
  Write(2, 0, RandomBytes(5 * kBlock, 3));
  EXPECT_EQ(UsedBlocks(), 35u);
  Reopen();
  ExpectAt(0, 3);
  EXPECT_EQ(UsedBlocks(), 20u);
}

TEST_F(EngineHeldTest, HeldVersionsStayWhenTheCacheForgets) {
  Start({.index_cache_bytes = 1});
  Write(0, 0, RandomBytes(300000, 1));
  Write(1, 5, RandomBytes(10, 2));
  for (uint32_t i = 0; i < 30; ++i) {
    ASSERT_TRUE(rig_->Write(Key(7, 99, i), 0, RandomBytes(1000, i)).ok());
  }
  ExpectAt(0, 1);
  ExpectAt(1, 2);
  RevertTo(1, 1);
  for (uint32_t i = 0; i < 30; ++i) {
    ASSERT_TRUE(rig_->Write(Key(7, 99, i), 0, RandomBytes(1000, i)).ok());
  }
  EXPECT_LE(rig_->engine().GetStats().cached_chunks, 2u);
  ExpectAt(0, 1);
}

TEST_F(EngineHeldTest, AChangeWithoutATicketSharesTheFateOfTheVersionsBeforeIt) {
  Write(0, 0, RandomBytes(4 * kBlock, 1));
  Write(1, 0, RandomBytes(kBlock, 2));
  ASSERT_TRUE(rig_->Write(key_, 0, RandomBytes(2 * kBlock, 3)).ok());
  model_.Write(0, RandomBytes(2 * kBlock, 3));
  ExpectAt(0, 1);
  ExpectAt(1, 3);
  RevertTo(1, 1);
  EXPECT_EQ(UsedBlocks(), 4u);
}

TEST_F(EngineHeldTest, RowsComeWithTheirChange) {
  const auto apply = [&](Engine::Change change, const Engine::StreamRow& row) {
    change.row = row;
    const auto state = rig_->Apply(std::move(change));
    EXPECT_TRUE(state.ok()) << state.status().ToString();
  };
  std::vector<Engine::StreamRow> want;
  for (uint32_t stream = 0; stream < 7; ++stream) want.push_back(Row(5, stream, 10 + stream));
  apply(rig_->WriteChange(key_, 1, 0, RandomBytes(5000, 1)), want[0]);
  want[0].version = ChunkVersion(1);
  want[0].chunk_length = 5000;
  apply(rig_->TruncateChange(key_, 2, 4000, false), want[1]);
  want[1].version = ChunkVersion(2);
  want[1].chunk_length = 4000;
  apply(rig_->TruncateChange(key_, 3, 6000, false), want[2]);  // no change
  want[2].version = ChunkVersion(2);
  want[2].chunk_length = 4000;
  apply(rig_->NoteChange(key_, 4), want[3]);
  want[4].removed = 1;
  want[4].more = true;
  apply(rig_->RemoveChange(key_, 5), want[4]);
  apply(rig_->RemoveChange(key_, 6), want[5]);                  // there is none
  apply(rig_->TruncateChange(key_, 7, 6000, false), want[6]);  // nor then
  EXPECT_EQ(Rows(), want);
  Reopen();
  EXPECT_EQ(Rows(), want);
  // Of one stream the last stays.
  want[2].sequence = 99;
  want[2].version = ChunkVersion(1);
  want[2].chunk_length = 10;
  apply(rig_->WriteChange(key_, 8, 0, Bytes(10)), Row(5, 2, 98));
  EXPECT_EQ(rig_->Apply(rig_->RemoveChange(key_, 9)).ok(), true);
  auto last = Row(5, 2, 99);
  last.fingerprint = want[2].fingerprint;
  apply(rig_->WriteChange(key_, 10, 0, Bytes(10)), last);
  Reopen();
  EXPECT_EQ(Rows(), want);
}

TEST_F(EngineHeldTest, NotesAndChangesOfNothingAreNotHeld) {
  Write(0, 0, RandomBytes(5000, 1));
  ASSERT_TRUE(rig_->Apply(rig_->NoteChange(key_, 1)).ok());
  ASSERT_TRUE(rig_->Apply(rig_->TruncateChange(key_, 2, 9000, false)).ok());
  ASSERT_TRUE(rig_->Write(key_, 0, RandomBytes(5000, 2)).ok());  // would join one that is held
  model_.Write(0, RandomBytes(5000, 2));
  ExpectAt(0, 2);
}

TEST_F(EngineHeldTest, ARevertReplacesTheRowsOfItsChanges) {
  Write(0, 0, RandomBytes(5000, 1));
  for (uint64_t ticket : {1, 2}) {
    auto change = rig_->WriteChange(key_, ticket, 0, RandomBytes(5000, 1 + ticket));
    change.row = Row(5, static_cast<uint32_t>(ticket), 10);
    ASSERT_TRUE(rig_->Apply(std::move(change)).ok());
  }
  const std::vector undone{Row(5, 1, 10, false), Row(5, 2, 10, false)};
  ASSERT_TRUE(rig_->Revert(key_, 1, undone).ok());
  EXPECT_EQ(Rows(), undone);
  Reopen();
  EXPECT_EQ(Rows(), undone);
  ExpectAt(0, 1);
}

TEST_F(EngineHeldTest, ARevertOfWhatIsNotHeldWritesTheRowsOnly) {
  const auto first = rig_->Revert(key_, 1, {Row(5, 1, 10, false)});
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  EXPECT_FALSE(first->version.IsSet());
  Write(3, 0, RandomBytes(5000, 1));
  const auto second = rig_->Revert(key_, 4, {Row(5, 2, 10, false)});
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  EXPECT_EQ(second->version.value(), 1u);
  ExpectAt(0, 0);
  ExpectAt(3, 1);
  Reopen();
  EXPECT_EQ(Rows().size(), 2u);
  ExpectAt(0, 1);
}

TEST_F(EngineHeldTest, AChangeThatFailsIsAsIfItHadNotBeenCalled) {
  Start({.slab_bytes = 1 << 20, .capacity_bytes = 1 << 20});
  Write(1, 0, RandomBytes(500000, 1));
  auto full = rig_->WriteChange(key_, 2, 0, RandomBytes(900000, 2));
  full.row = Row(5, 1, 10);
  EXPECT_EQ(rig_->Apply(std::move(full)).status().code(), Code::kNoSpace);
  auto wrong = rig_->WriteChange(key_, 3, 0, RandomBytes(5000, 2));
  wrong.args.crc32c ^= 1;
  wrong.row = Row(5, 1, 11);
  EXPECT_EQ(rig_->Apply(std::move(wrong)).status().code(), Code::kCorrupt);
  auto past = rig_->TruncateChange(key_, 4, 2 << 20, true);
  past.row = Row(5, 1, 12);
  EXPECT_EQ(rig_->Apply(std::move(past)).status().code(), Code::kInvalid);
  EXPECT_TRUE(Rows().empty());
  ExpectAt(Engine::kNewest, 1);
  ASSERT_TRUE(rig_->Revert(key_, 2, {Row(5, 1, 12, false)}).ok());
  EXPECT_EQ(Rows().size(), 1u);
  Truncate(5, 100, false);
  ExpectAt(1, 1);
  ExpectAt(5, 2);
  ExpectSound();
}

TEST_F(EngineHeldTest, ChangesFromAForeignThreadTakeEffectInTheOrderOfTheCalls) {
  Start({.seed = 5, .shuffle = true});
  std::vector<EngineRig::StateFuture> changes;
  std::thread caller([&] {
    for (uint32_t i = 0; i < 200; ++i) {
      if (i % 17 == 5) {
        model_.Truncate(i * 977 % 60000, i % 2 == 0);
        changes.push_back(rig_->StartApply(
            rig_->TruncateChange(key_, i + 1, i * 977 % 60000, i % 2 == 0)));
        continue;
      }
      const Bytes bytes = RandomBytes(1 + i * 37 % 20000, i);
      const uint32_t offset = i * 7919 % 100000;
      model_.Write(offset, bytes);
      changes.push_back(rig_->StartApply(rig_->WriteChange(key_, i + 1, offset, bytes)));
    }
  });
  caller.join();
  for (auto& change : changes) ASSERT_TRUE(change.get().ok());
  for (uint32_t i = 0; i <= 200; i += 9) ExpectAt(i, i);
  ExpectSound();
  Release(100);
  ExpectAt(0, 100);
  RevertTo(151, 150);
  ExpectAt(140, 140);
  Release(200);
  ExpectAt(0, 150);
  ExpectSound();
}

using EngineHeldDeathTest = EngineHeldTest;

TEST_F(EngineHeldDeathTest, ARevertWhileTheChunkChangesStops) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a fork has the caller's thread only
  Write(1, 0, RandomBytes(5000, 1));
  rig_->env().HoldLogSyncs();
  auto write = rig_->StartApply(rig_->WriteChange(key_, 2, 0, RandomBytes(5000, 2)));
  EXPECT_TRUE(Eventually([&] { return rig_->env().held_log_syncs() == 1; }));
  EXPECT_DEATH(rig_->StartRevert(key_, 1), "taken back while it changes");
  rig_->env().ReleaseLogSyncs();
  EXPECT_TRUE(write.get().ok());
}

TEST_F(EngineHeldTest, StampGivesAChunkItsNumbers) {
  Write(0, 0, RandomBytes(400000, 1));
  auto want = rig_->Read(key_, 0, 1)->state;
  want.version = ChunkVersion(77);
  want.chain_version = ChainVersion(9);
  const auto stamped = rig_->Stamp(key_, want);
  ASSERT_TRUE(stamped.ok()) << stamped.status().ToString();
  EXPECT_EQ(stamped->version.value(), 77u);
  ASSERT_TRUE(rig_->Stamp(key_, want).ok());  // again
  Reopen();
  ExpectAt(0, 1);
  const auto state = rig_->Read(key_, 0, 1)->state;
  EXPECT_EQ(state.version.value(), 77u);
  EXPECT_EQ(state.chain_version.value(), 9u);
  EXPECT_EQ(state.checksum, want.checksum);
  Write(0, 0, RandomBytes(10, 2));
  EXPECT_EQ(rig_->Read(key_, 0, 1)->state.version.value(), 78u);
  ExpectSound();
}

TEST_F(EngineHeldTest, StampRefusesAnotherChunk) {
  EXPECT_EQ(rig_->Stamp(key_, {.version = ChunkVersion(5)}).status().code(), Code::kNotFound);
  Write(0, 0, RandomBytes(400000, 1));
  const auto have = rig_->Read(key_, 0, 1)->state;
  auto want = have;
  want.version = ChunkVersion(77);
  ++want.length;
  EXPECT_EQ(rig_->Stamp(key_, want).status().code(), Code::kCorrupt);
  want.length = have.length;
  want.checksum ^= 1;
  EXPECT_EQ(rig_->Stamp(key_, want).status().code(), Code::kCorrupt);
  EXPECT_EQ(rig_->Stamp(key_, {.length = have.length, .checksum = have.checksum}).status().code(),
            Code::kInvalid);
  EXPECT_EQ(rig_->Read(key_, 0, 1)->state.version, have.version);
}

TEST_F(EngineHeldTest, RowsArePutAndForgotten) {
  const std::vector rows{Row(3, 1, 5), Row(3, 2, 6), Row(4, 1, 7), Row(5, 1, 8, false)};
  ASSERT_TRUE(rig_->PutRows({rows[3], rows[1], rows[0], rows[2]}).ok());
  ASSERT_TRUE(rig_->PutRows({}).ok());
  EXPECT_EQ(Rows(), rows);
  rig_->engine().ForgetStreamRows([](Incarnation each) { return each.value() == 3; });
  EXPECT_TRUE(Eventually([&] { return Rows().size() == 2; }));
  EXPECT_EQ(Rows(), (std::vector{rows[2], rows[3]}));
  Reopen();
  EXPECT_EQ(Rows(), (std::vector{rows[2], rows[3]}));
}

TEST_F(EngineHeldTest, RowsThatWerePutAreDurable) {
  const std::vector rows{Row(3, 1, 5), Row(3, 2, 6)};
  ASSERT_TRUE(rig_->PutRows(rows).ok());
  rig_->crash().Kill();
  rig_->Close();
  for (uint64_t seed = 0; seed < 16; ++seed) {
    EngineRig after(*rig_, seed);
    ASSERT_TRUE(after.Open().ok());
    EXPECT_EQ(*after.engine().LoadStreamRows(), rows);
  }
}

TEST_F(EngineHeldTest, NothingIsPutOnceTheTargetIsOutOfService) {
  rig_->disk().FailSyncs(true);
  EXPECT_FALSE(rig_->Apply(rig_->WriteChange(key_, 1, 0, Bytes(10))).ok());
  rig_->disk().FailSyncs(false);
  EXPECT_EQ(rig_->PutRows({Row(3, 1, 5)}).code(), Code::kIo);
  EXPECT_TRUE(Rows().empty());
}

TEST_F(EngineHeldTest, ListsEndBeforeTheRows) {
  const auto last = Key(UINT32_MAX, UINT64_MAX, UINT32_MAX);
  ASSERT_TRUE(rig_->Write(last, 0, RandomBytes(600000, 1)).ok());
  ASSERT_TRUE(rig_->PutRows({Row(3, 1, 5), {}}).ok());
  EXPECT_EQ(rig_->ListAll()->size(), 1u);
  EXPECT_EQ(rig_->List(UINT32_MAX)->size(), 1u);
  EXPECT_TRUE(rig_->List(UINT32_MAX, last.chunk)->empty());
  EXPECT_EQ(rig_->Remove(UINT32_MAX, UINT64_MAX)->removed, 1u);
  ExpectSound();
  Reopen();
  EXPECT_TRUE(rig_->ListAll()->empty());
  EXPECT_EQ(Rows().size(), 2u);
}

TEST_F(EngineHeldTest, ADamagedRowIsLeftOut) {
  ASSERT_TRUE(rig_->PutRows({Row(3, 1, 5), Row(3, 2, 6), Row(3, 3, 7)}).ok());
  rig_->Close();
  {
    rocksdb::Options options;
    options.env = rig_->env().env();
    rocksdb::DB* db = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(options, "/index", &db).ok());
    const std::unique_ptr<rocksdb::DB> owned(db);
    const std::string key = StreamRowKey(Row(3, 2, 6));
    ASSERT_TRUE(db->Put({}, key, std::string(44, 'x')).ok());
    ASSERT_TRUE(db->Put({}, FirstStreamRowKey() + "abc", "").ok());
  }
  Reopen();
  EXPECT_EQ(Rows(), (std::vector{Row(3, 1, 5), Row(3, 3, 7)}));
  rig_->engine().ForgetStreamRows([](Incarnation) { return true; });
  EXPECT_TRUE(Eventually([&] { return Rows().empty(); }));
}

}  // namespace
}  // namespace sheaf::storage
