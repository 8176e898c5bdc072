#include "storage/engine/engine.h"

#include "tests/storage/engine/engine_rig.h"
#include "tests/support/eventually.h"

namespace sheaf::storage {
namespace {

constexpr uint32_t kKiB = 1024;

class EngineTest : public ::testing::Test {
 protected:
  void Start(const EngineRig::Options& options = {}) {
    rig_ = std::make_unique<EngineRig>(options);
    const Status opened = rig_->Open();
    ASSERT_TRUE(opened.ok()) << opened.ToString();
  }
  void Reopen() {
    rig_->Close();
    const Status opened = rig_->Open();
    ASSERT_TRUE(opened.ok()) << opened.ToString();
  }
  void ExpectBytes(const Engine::ChunkKey& key, const Bytes& want) {
    auto got = rig_->ReadAll(key);
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    ASSERT_TRUE(got->has_value());
    EXPECT_TRUE(**got == want) << "sizes " << (*got)->size() << " and " << want.size();
  }
  void ExpectSound() {
    const Status status = rig_->engine().Check();
    EXPECT_TRUE(status.ok()) << status.ToString();
  }

  std::unique_ptr<EngineRig> rig_;
  const Engine::ChunkKey key_ = Key(7, 42, 3);
};

TEST_F(EngineTest, ReadsBackWhatWasWritten) {
  Start();
  const Bytes bytes = RandomBytes(1 << 20, 1);
  auto state = rig_->Write(key_, 0, bytes);
  ASSERT_TRUE(state.ok()) << state.status().ToString();
  EXPECT_EQ(state->length, bytes.size());
  EXPECT_EQ(state->version.value(), 1u);
  ExpectBytes(key_, bytes);
  ExpectSound();
  Reopen();
  ExpectBytes(key_, bytes);
  ExpectSound();
}

TEST_F(EngineTest, AChunkThatDoesNotExistReadsAsEmpty) {
  Start();
  auto answer = rig_->Read(key_, 0, 100);
  ASSERT_TRUE(answer.ok());
  EXPECT_FALSE(answer->state.version.IsSet());
  EXPECT_TRUE(answer->bytes.empty());
}

TEST_F(EngineTest, ReadsStopAtTheLength) {
  Start();
  const Bytes bytes = RandomBytes(10000, 1);
  ASSERT_TRUE(rig_->Write(key_, 0, bytes).ok());
  auto answer = rig_->Read(key_, 9990, 100);
  ASSERT_TRUE(answer.ok());
  EXPECT_TRUE(std::equal(answer->bytes.begin(), answer->bytes.end(), bytes.begin() + 9990,
                         bytes.end()));
  answer = rig_->Read(key_, 10000, 100);
  ASSERT_TRUE(answer.ok());
  EXPECT_TRUE(answer->bytes.empty());
  EXPECT_EQ(answer->state.length, 10000u);
}

TEST_F(EngineTest, OverwritesOfOddRangesKeepTheRest) {
  Start();
  ChunkHistory model;
  const auto write = [&](uint32_t offset, uint32_t size, size_t misalign) {
    const Bytes bytes = RandomBytes(size, offset + size);
    ASSERT_TRUE(rig_->Write(key_, offset, bytes, 1 << 20, misalign).ok());
    model.Write(offset, bytes);
    ExpectBytes(key_, *model.latest());
  };
  write(0, 300000, 0);
  write(1, 1, 0);
  write(4096, 4096, 0);
  write(16383, 2, 0);
  write(16384, 16384, 0);
  write(16384, 65536, 512);  // whole blocks from memory that is not aligned
  write(5000, 200001, 3);
  write(299999, 50000, 0);
  write(700000, 10, 0);  // beyond a hole
  ExpectSound();
  Reopen();
  ExpectBytes(key_, *model.latest());
}

TEST_F(EngineTest, ASmallOverwriteWritesOneBlock) {
  Start();
  ASSERT_TRUE(rig_->Write(key_, 0, RandomBytes(1 << 20, 1)).ok());
  const uint64_t writes = rig_->disk().writes();
  ASSERT_TRUE(rig_->Write(key_, 500 * kKiB, RandomBytes(4096, 2)).ok());
  EXPECT_EQ(rig_->disk().writes(), writes + 1);
  EXPECT_EQ(rig_->engine().GetSpace().used_bytes, uint64_t{1} << 20);
}

TEST_F(EngineTest, TruncationCutsAndZeroesAndExtensionLeavesAHole) {
  Start();
  ChunkHistory model;
  const Bytes bytes = RandomBytes(600 * kKiB, 1);
  ASSERT_TRUE(rig_->Write(key_, 0, bytes).ok());
  model.Write(0, bytes);
  for (uint32_t length : {500001u, 600000u, 491520u, 4097u, 4096u, 900000u, 100u, 0u, 50u}) {
    auto state = rig_->Truncate(key_, length, true);
    ASSERT_TRUE(state.ok()) << state.status().ToString();
    EXPECT_EQ(state->length, length);
    model.Truncate(length, true);
    ExpectBytes(key_, *model.latest());
    ExpectSound();
  }
  Reopen();
  ExpectBytes(key_, *model.latest());
  EXPECT_EQ(rig_->engine().GetSpace().used_bytes, 0u);
}

TEST_F(EngineTest, TruncationWithoutExtendLeavesShorterAndAbsentChunksAlone) {
  Start();
  auto state = rig_->Truncate(key_, 100, false);
  ASSERT_TRUE(state.ok());
  EXPECT_FALSE(state->version.IsSet());
  ASSERT_TRUE(rig_->Write(key_, 0, RandomBytes(50, 1)).ok());
  state = rig_->Truncate(key_, 100, false);
  ASSERT_TRUE(state.ok());
  EXPECT_EQ(state->length, 50u);
  EXPECT_EQ(state->version.value(), 1u);
}

TEST_F(EngineTest, ChecksumIsThatOfTheBytesWhereverTheyLie) {
  Start();
  const Bytes bytes = RandomBytes(400 * kKiB, 1);
  auto whole = rig_->Write(key_, 0, bytes);
  ASSERT_TRUE(whole.ok());
  const auto other = Key(7, 43, 0);
  ASSERT_TRUE(rig_->Truncate(other, 400 * kKiB, true).ok());
  Result<Engine::ChunkState> pieces = Status(Code::kIo, "none");
  for (uint32_t at = 0; at < bytes.size(); at += 50 * kKiB) {
    pieces = rig_->Write(other, at, Bytes(bytes.begin() + at, bytes.begin() + at + 50 * kKiB));
    ASSERT_TRUE(pieces.ok());
  }
  EXPECT_EQ(whole->checksum, pieces->checksum);
  // Zeros and a hole are the same bytes.
  auto zeros = rig_->Write(Key(7, 44, 0), 0, Bytes(100 * kKiB));
  auto hole = rig_->Truncate(Key(7, 45, 0), 100 * kKiB, true);
  EXPECT_EQ(zeros->checksum, hole->checksum);
}

TEST_F(EngineTest, RemoveAnswersMoreAndListPages) {
  Start();
  for (uint32_t i = 0; i < 10; ++i) {
    ASSERT_TRUE(rig_->Write(Key(7, 42, i), 0, RandomBytes(5000, i)).ok());
  }
  ASSERT_TRUE(rig_->Write(Key(7, 43, 0), 0, RandomBytes(1 << 20, 1)).ok());
  ASSERT_TRUE(rig_->Write(Key(8, 42, 0), 0, RandomBytes(5000, 1)).ok());

  auto page = rig_->List(7, std::nullopt, std::nullopt, 4);
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->size(), 4u);
  EXPECT_EQ(page->front().key, Key(7, 42, 0));
  EXPECT_EQ(page->front().state.length, 5000u);
  page = rig_->List(7, page->back().key.chunk);
  ASSERT_EQ(page->size(), 7u);
  EXPECT_EQ(page->back().key, Key(7, 43, 0));
  EXPECT_EQ(rig_->List(7, std::nullopt, DataId(42))->size(), 10u);

  auto removed = rig_->Remove(7, 42, 2, 5);
  ASSERT_TRUE(removed.ok());
  EXPECT_EQ(removed->removed, 5u);
  EXPECT_TRUE(removed->more);
  removed = rig_->Remove(7, 42, 2, 5);
  EXPECT_EQ(removed->removed, 3u);
  EXPECT_FALSE(removed->more);
  removed = rig_->Remove(7, 42, 2, 5);
  EXPECT_EQ(removed->removed, 0u);
  EXPECT_EQ(rig_->List(7)->size(), 3u);
  ExpectSound();
  ASSERT_TRUE(rig_->Remove(7, 42).ok());
  ASSERT_TRUE(rig_->Remove(7, 43).ok());
  ASSERT_TRUE(rig_->Remove(8, 42).ok());
  EXPECT_EQ(rig_->engine().GetSpace().used_bytes, 0u);
  ExpectSound();
}

TEST_F(EngineTest, RefusesAPayloadThatIsNotWhatItsChecksumSays) {
  Start();
  auto args = rig_->Args(key_, 0, RandomBytes(5000, 1));
  args.crc32c ^= 1;
  EXPECT_EQ(rig_->StartWrite(args).get().status().code(), Code::kCorrupt);
  EXPECT_FALSE(rig_->ReadAll(key_)->has_value());
  EXPECT_EQ(rig_->engine().GetSpace().used_bytes, 0u);
}

TEST_F(EngineTest, RefusesRangesAndSizesThatDoNotFit) {
  Start();
  EXPECT_EQ(rig_->Write(key_, 1 << 20, Bytes(1)).status().code(), Code::kInvalid);
  EXPECT_EQ(rig_->Write(key_, UINT32_MAX, Bytes(10)).status().code(), Code::kInvalid);
  EXPECT_EQ(rig_->Write(key_, 0, Bytes(1), 100000).status().code(), Code::kInvalid);
  EXPECT_EQ(rig_->Truncate(key_, (1 << 20) + 1, true).status().code(), Code::kInvalid);
  ASSERT_TRUE(rig_->Write(key_, 0, Bytes(1)).ok());
  EXPECT_EQ(rig_->Write(key_, 0, Bytes(1), 1 << 21).status().code(), Code::kInvalid);
}

TEST_F(EngineTest, BitRotIsFoundAndNamed) {
  Start();
  const Bytes bytes = RandomBytes(100 * kKiB, 1);
  ASSERT_TRUE(rig_->Write(key_, 0, bytes).ok());
  rig_->disk().RotBits(0, 20 * kKiB + 5);
  auto answer = rig_->Read(key_, 0, 100 * kKiB);
  EXPECT_EQ(answer.status().code(), Code::kCorrupt);
  EXPECT_NE(answer.status().message().find("7/42.3"), std::string::npos);
  EXPECT_NE(answer.status().message().find("slab 0, offset 20480"), std::string::npos)
      << answer.status().message();
  // The other units are good, and a write beside the bad one does not carry it on.
  EXPECT_TRUE(rig_->Read(key_, 0, 20 * kKiB).ok());
  EXPECT_EQ(rig_->Write(key_, 16 * kKiB, Bytes(10)).status().code(), Code::kCorrupt);
  // Writing over the whole unit mends it.
  EXPECT_TRUE(rig_->Write(key_, 20 * kKiB, Bytes(4096)).ok());
  EXPECT_TRUE(rig_->Read(key_, 0, 100 * kKiB).ok());
  EXPECT_TRUE(rig_->engine().Health().ok());
  ExpectSound();
}

TEST_F(EngineTest, AFullDiskRefusesWritesWholeAndStillRemoves) {
  Start({.slab_bytes = 1 << 20, .capacity_bytes = 3 << 20});
  uint32_t written = 0;
  Status status;
  while (status.ok()) {
    status = rig_->Write(Key(7, 42, written), 0, RandomBytes(200 * kKiB, written)).status();
    if (status.ok()) ++written;
    ASSERT_LT(written, 100u);
  }
  EXPECT_EQ(status.code(), Code::kNoSpace) << status.ToString();
  EXPECT_GE(written, 13u);
  ExpectSound();
  EXPECT_FALSE(rig_->ReadAll(Key(7, 42, written))->has_value());
  EXPECT_TRUE(rig_->engine().Health().ok());
  // Cutting a chunk needs a block for its tail: reserved.
  EXPECT_TRUE(rig_->Truncate(Key(7, 42, 0), 199 * kKiB, false).ok());
  EXPECT_EQ(rig_->Remove(7, 42, 1)->removed, written - 1);
  EXPECT_TRUE(rig_->Write(Key(7, 43, 0), 0, RandomBytes(1 << 20, 9)).ok());
  ExpectSound();
}

TEST_F(EngineTest, ADiskSmallerThanTheCapacityIsFullToo) {
  Start({.slab_bytes = 1 << 20, .capacity_bytes = 0, .disk_bytes = 5 << 19});
  EXPECT_EQ(rig_->engine().GetSpace().total_bytes, uint64_t{2} << 20);
  EXPECT_TRUE(rig_->Write(key_, 0, RandomBytes(1 << 20, 1)).ok());
  EXPECT_EQ(rig_->Write(Key(7, 43, 0), 0, RandomBytes(1 << 20, 1)).status().code(),
            Code::kNoSpace);
}

TEST_F(EngineTest, ManyWritesInFlightGrowTheTargetOnce) {
  Start({.shuffle = true, .slab_bytes = 1 << 20, .capacity_bytes = 64 << 20});
  std::vector<EngineRig::StateFuture> writes;
  for (uint32_t i = 0; i < 100; ++i) {
    writes.push_back(rig_->StartWrite(rig_->Args(Key(7, 42, i), 0, RandomBytes(400 * kKiB, i))));
  }
  for (auto& write : writes) EXPECT_TRUE(write.get().ok());
  for (uint32_t i = 0; i < 100; ++i) ExpectBytes(Key(7, 42, i), RandomBytes(400 * kKiB, i));
  ExpectSound();
}

TEST_F(EngineTest, WritesToOneChunkTakeEffectInTheOrderOfTheCalls) {
  Start({.seed = 5, .shuffle = true});
  std::vector<EngineRig::StateFuture> writes;
  ChunkHistory model;
  for (uint32_t i = 0; i < 200; ++i) {
    const Bytes bytes = RandomBytes(1 + i * 37 % 20000, i);
    const uint32_t offset = i * 7919 % 100000;
    model.Write(offset, bytes);
    writes.push_back(rig_->StartWrite(rig_->Args(key_, offset, bytes)));
  }
  uint64_t version = 0;
  for (auto& write : writes) {
    auto state = write.get();
    ASSERT_TRUE(state.ok());
    EXPECT_EQ(state->version.value(), ++version);
  }
  ExpectBytes(key_, *model.latest());
  ExpectSound();
}

TEST_F(EngineTest, ReadKeepsItsVersionWhileTheChunkIsOverwritten) {
  Start({.slab_bytes = 1 << 20, .capacity_bytes = 2 << 20});
  const Bytes old_bytes = RandomBytes(512 * kKiB, 1);
  ASSERT_TRUE(rig_->Write(key_, 0, old_bytes).ok());
  // The read is planned and its transfer held, while the engine's own thread commits new versions
  // whose blocks would otherwise be the old ones.
  FakeIoContext other(std::shared_ptr<FakeDisk>(&rig_->disk(), [](FakeDisk*) {}), {});
  std::promise<Result<Engine::ReadAnswer>> promise;
  other.HoldTransfers();
  other.RunAndWait([&] {
    rig_->engine().Read(other, key_, 0, 512 * kKiB,
                        [&](Result<Engine::ReadAnswer> answer) { promise.set_value(answer); });
  });
  for (int i = 0; i < 3; ++i) {
    const auto overwritten = rig_->Write(key_, 0, RandomBytes(512 * kKiB, 10 + i));
    EXPECT_TRUE(overwritten.ok() || overwritten.status().code() == Code::kNoSpace);
  }
  other.ReleaseTransfers();
  auto answer = promise.get_future().get();
  ASSERT_TRUE(answer.ok()) << answer.status().ToString();
  EXPECT_TRUE(std::equal(answer->bytes.begin(), answer->bytes.end(), old_bytes.begin()));
  EXPECT_TRUE(rig_->Write(key_, 0, RandomBytes(512 * kKiB, 20)).ok());
  ExpectSound();
}

TEST_F(EngineTest, FailedSyncTakesTheTargetOutOfService) {
  Start();
  const Bytes bytes = RandomBytes(5000, 1);
  ASSERT_TRUE(rig_->Write(key_, 0, bytes).ok());
  rig_->disk().FailSyncs(true);
  EXPECT_EQ(rig_->Write(key_, 0, RandomBytes(5000, 2)).status().code(), Code::kIo);
  EXPECT_EQ(rig_->engine().Health().code(), Code::kIo);
  rig_->disk().FailSyncs(false);
  EXPECT_FALSE(rig_->Write(key_, 0, RandomBytes(5000, 3)).ok());
  ExpectBytes(key_, bytes);  // reads go on
  EXPECT_TRUE(sheaf::testing::Eventually([&] {  // what failed is not under way
    const Engine::Stats stats = rig_->engine().GetStats();
    return stats.changes_begun >= 3 && stats.changes_begun == stats.changes_ended;
  }));
  Reopen();
  EXPECT_TRUE(rig_->engine().Health().ok());
  ExpectSound();
}

TEST_F(EngineTest, FailedIndexWriteTakesTheTargetOutOfService) {
  Start();
  ASSERT_TRUE(rig_->Write(key_, 0, RandomBytes(5000, 1)).ok());
  rig_->env().FailSyncs(true);
  EXPECT_FALSE(rig_->Write(key_, 0, RandomBytes(5000, 2)).ok());
  EXPECT_FALSE(rig_->engine().Health().ok());
}

TEST_F(EngineTest, FailedBlockWriteTakesTheTargetOutOfServiceButAFailedReadDoesNot) {
  Start();
  ASSERT_TRUE(rig_->Write(key_, 0, RandomBytes(5000, 1)).ok());
  rig_->disk().FailReads(true);
  EXPECT_EQ(rig_->Read(key_, 0, 10).status().code(), Code::kIo);
  EXPECT_EQ(rig_->Write(key_, 1, Bytes(1)).status().code(), Code::kIo);
  EXPECT_TRUE(rig_->engine().Health().ok());
  rig_->disk().FailReads(false);
  EXPECT_TRUE(rig_->Write(key_, 1, Bytes(1)).ok());
  rig_->disk().FailWrites(true);
  EXPECT_EQ(rig_->Write(key_, 1, Bytes(1)).status().code(), Code::kIo);
  EXPECT_FALSE(rig_->engine().Health().ok());
  ExpectSound();
}

TEST_F(EngineTest, AnEmptyBufferPoolAnswersBusyAndLeavesNothing) {
  Start({.buffer_bytes = 64 * kKiB});
  auto args = rig_->Args(key_, 1, RandomBytes(60 * kKiB, 1));
  EXPECT_EQ(rig_->StartWrite(args).get().status().code(), Code::kBusy);
  args = {};
  EXPECT_EQ(rig_->engine().GetSpace().used_bytes, 0u);
  EXPECT_TRUE(rig_->Write(key_, 0, RandomBytes(4 * kKiB, 1)).ok());
  EXPECT_TRUE(rig_->Truncate(key_, 512 * kKiB, true).ok());
  EXPECT_EQ(rig_->Read(key_, 0, 512 * kKiB).status().code(), Code::kBusy);
  EXPECT_TRUE(rig_->Read(key_, 0, 10).ok());
  ExpectSound();
}

TEST_F(EngineTest, RecordsComeBackFromTheIndexWhenTheCacheForgotThem) {
  Start({.index_cache_bytes = 1});
  for (uint32_t i = 0; i < 50; ++i) {
    ASSERT_TRUE(rig_->Write(Key(7, 42, i), 0, RandomBytes(300 * kKiB + i, i)).ok());
  }
  for (uint32_t i = 0; i < 50; ++i) ExpectBytes(Key(7, 42, i), RandomBytes(300 * kKiB + i, i));
  ASSERT_TRUE(rig_->Write(Key(7, 42, 9), 5, RandomBytes(10, 1)).ok());
  ExpectSound();
}

TEST_F(EngineTest, TheSlabSizeOfTheTargetStays) {
  Start({.slab_bytes = 2 << 20});
  ASSERT_TRUE(rig_->Write(key_, 0, RandomBytes(1 << 20, 1)).ok());
  rig_->Close();
  Engine::Options options;
  options.index_path = "/index";
  options.slabs = std::shared_ptr<FakeDisk>(&rig_->disk(), [](FakeDisk*) {});
  options.slab_bytes = 1 << 20;
  options.env = rig_->env().env();
  auto engine = Engine::Open(options);
  ASSERT_TRUE(engine.ok()) << engine.status().ToString();
  EXPECT_TRUE((*engine)->Check().ok());
}

TEST_F(EngineTest, AnIndexWithoutItsSlabsIsCorrupt) {
  Start();
  ASSERT_TRUE(rig_->Write(key_, 0, RandomBytes(1 << 20, 1)).ok());
  ASSERT_TRUE(rig_->Write(Key(7, 43, 0), 0, RandomBytes(1 << 20, 1)).ok());
  rig_->Close();
  Engine::Options options;
  options.index_path = "/index";
  options.slabs = std::make_shared<FakeDisk>(FakeDisk::Options{.capacity = 0});
  options.env = rig_->env().env();
  EXPECT_FALSE(Engine::Open(options).ok());
}

}  // namespace
}  // namespace sheaf::storage
