// Damaged bytes of a chunk are put right, and nothing else of it changes.

#include "tests/storage/engine/engine_rig.h"

namespace sheaf::storage {
namespace {

constexpr uint32_t kBlock = 16384;
constexpr uint32_t kPage = 262144;

Bytes Part(const Bytes& bytes, size_t begin, size_t end) {
  return {bytes.begin() + static_cast<ptrdiff_t>(begin),
          bytes.begin() + static_cast<ptrdiff_t>(end)};
}

class EngineRewriteTest : public ::testing::Test {
 protected:
  EngineRewriteTest() { Start({}); }
  void Start(const EngineRig::Options& options) {
    rig_ = std::make_unique<EngineRig>(options);
    EXPECT_TRUE(rig_->Open().ok());
  }
  // The only chunk of an empty disk, so that its bytes lie from the disk's first on.
  void WriteChunk(uint32_t size) {
    bytes_ = RandomBytes(size, 1);
    ASSERT_TRUE(rig_->Write(key_, 0, bytes_).ok());
    before_ = Facts();
  }
  Engine::ChunkState Facts() {
    const auto listed = rig_->List(7);
    EXPECT_TRUE(listed.ok() && listed->size() == 1);
    return listed->front().state;
  }
  Code ReadCode() { return rig_->ReadAll(key_).status().code(); }
  Result<Engine::ChunkState> Rewrite(uint32_t begin, uint32_t end, size_t misalign = 0) {
    return rig_->Rewrite(key_, begin, Part(bytes_, begin, end), misalign);
  }
  EngineRig::StateFuture StartRewrite(uint32_t begin, uint32_t end) {
    return rig_->StartRewrite(key_, begin, Part(bytes_, begin, end));
  }
  uint64_t UsedBlocks() { return rig_->engine().GetSpace().used_bytes / kBlock; }
  // As before the damage, now and after a restart.
  void ExpectWhole() {
    for (int i = 0; i < 2; ++i) {
      const auto found = rig_->ReadAll(key_);
      ASSERT_TRUE(found.ok()) << found.status().ToString();
      EXPECT_TRUE(*found == bytes_);
      const Engine::ChunkState now = Facts();
      EXPECT_EQ(now.version, before_.version);
      EXPECT_EQ(now.chain_version, before_.chain_version);
      EXPECT_EQ(now.length, before_.length);
      EXPECT_EQ(now.checksum, before_.checksum);
      EXPECT_EQ(now.chunk_size, before_.chunk_size);
      const Status check = rig_->engine().Check();
      EXPECT_TRUE(check.ok()) << check.ToString();
      rig_->Close();
      ASSERT_TRUE(rig_->Open().ok());
    }
  }

  std::unique_ptr<EngineRig> rig_;
  const Engine::ChunkKey key_ = Key(7, 42, 3);
  Bytes bytes_;
  Engine::ChunkState before_;
};

TEST_F(EngineRewriteTest, APageIsPutRight) {
  WriteChunk(3 * kPage);
  rig_->disk().RotBits(0, kPage + 5000);
  ASSERT_EQ(ReadCode(), Code::kCorrupt);
  const uint64_t used = UsedBlocks();
  const auto state = Rewrite(kPage, 2 * kPage);
  ASSERT_TRUE(state.ok()) << state.status().ToString();
  EXPECT_EQ(state->version, before_.version);
  EXPECT_EQ(UsedBlocks(), used);
  ExpectWhole();
}

TEST_F(EngineRewriteTest, AWholeChunkAtOnceFromAnywhereInMemory) {
  WriteChunk(3 * kPage);
  for (uint32_t at = 0; at < 3 * kPage; at += 4096) rig_->disk().RotBits(0, at);
  ASSERT_TRUE(Rewrite(0, 3 * kPage, /*misalign=*/100).ok());
  ExpectWhole();
}

TEST_F(EngineRewriteTest, WhatTheDiskRefusesToReadIsNotRead) {
  WriteChunk(2 * kPage);
  rig_->disk().FailReadsAt(0, 8192);
  ASSERT_EQ(ReadCode(), Code::kIo);
  ASSERT_TRUE(Rewrite(0, kPage).ok());
  const auto found = rig_->ReadAll(key_);
  ASSERT_TRUE(found.ok());
  EXPECT_TRUE(*found == bytes_);
  EXPECT_TRUE(rig_->engine().Health().ok());
}

TEST_F(EngineRewriteTest, TheTailOfAChunkEndsInZeros) {
  constexpr uint32_t kLength = kPage + 37857;
  WriteChunk(kLength);
  rig_->disk().RotBits(0, kLength - 1);
  rig_->disk().RotBits(0, kLength + 7);  // past the end, in the last unit
  ASSERT_EQ(ReadCode(), Code::kCorrupt);
  ASSERT_TRUE(Rewrite(kPage, kLength).ok());
  ExpectWhole();
  ASSERT_TRUE(rig_->Truncate(key_, kLength + 5000, true).ok());
  bytes_.resize(kLength + 5000);
  const auto found = rig_->ReadAll(key_);
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  EXPECT_TRUE(*found == bytes_);
}

TEST_F(EngineRewriteTest, HolesStayHoles) {
  WriteChunk(kBlock);
  ASSERT_TRUE(rig_->Write(key_, 3 * kBlock, RandomBytes(100, 2)).ok());
  ASSERT_TRUE(rig_->Truncate(key_, 2 * kPage, true).ok());
  const auto all = rig_->ReadAll(key_);
  bytes_ = **all;
  before_ = Facts();
  const uint64_t used = UsedBlocks();
  rig_->disk().RotBits(0, 20);
  ASSERT_TRUE(Rewrite(0, 2 * kPage).ok());
  EXPECT_EQ(UsedBlocks(), used);
  const uint64_t writes = rig_->disk().writes();
  ASSERT_TRUE(Rewrite(kPage, 2 * kPage).ok());  // nothing but a hole
  EXPECT_EQ(rig_->disk().writes(), writes);
  ExpectWhole();
}

TEST_F(EngineRewriteTest, OtherBytesAreRefused) {
  WriteChunk(2 * kPage);
  const uint64_t used = UsedBlocks();
  const uint64_t writes = rig_->disk().writes();
  Bytes wrong = Part(bytes_, kPage, kPage + kBlock);
  wrong[kBlock - 1] ^= 1;
  EXPECT_EQ(rig_->Rewrite(key_, kPage, wrong).status().code(), Code::kCorrupt);
  EXPECT_EQ(Rewrite(kPage, kPage + kBlock - 4096).status().code(), Code::kCorrupt);
  // Where there is a hole there is nothing to put right.
  ASSERT_TRUE(rig_->Truncate(key_, 3 * kPage, true).ok());
  EXPECT_TRUE(rig_->Rewrite(key_, 2 * kPage, RandomBytes(kPage, 3)).ok());
  EXPECT_EQ(UsedBlocks(), used);
  EXPECT_EQ(rig_->disk().writes(), writes);
  bytes_.resize(3 * kPage);
  before_ = Facts();
  ExpectWhole();
}

TEST_F(EngineRewriteTest, OnlyTheBlocksThatFitAreTaken) {
  WriteChunk(kPage);
  rig_->disk().RotBits(0, 3 * kBlock);
  rig_->disk().RotBits(0, 5 * kBlock);
  Bytes bytes = bytes_;
  bytes[5 * kBlock + 77] ^= 1;
  bytes.resize(kPage + 1000);  // and it has become longer there
  ASSERT_TRUE(rig_->Rewrite(key_, 0, bytes).ok());
  EXPECT_TRUE(rig_->Read(key_, 0, 5 * kBlock).ok());
  EXPECT_EQ(rig_->Read(key_, 5 * kBlock, kBlock).status().code(), Code::kCorrupt);
  ASSERT_TRUE(Rewrite(5 * kBlock, 6 * kBlock).ok());
  ExpectWhole();
}

TEST_F(EngineRewriteTest, OnlyFromTheBeginOfABlock) {
  WriteChunk(kPage);
  EXPECT_EQ(Rewrite(4096, kBlock).status().code(), Code::kInvalid);
  EXPECT_EQ(rig_->Rewrite(key_, 0, {}).status().code(), Code::kInvalid);
  ASSERT_TRUE(rig_->Remove(7, 42).ok());
  EXPECT_EQ(Rewrite(0, kPage).status().code(), Code::kNotFound);
}

// It is put right in the version that is held too, and stays so when that one is committed.
TEST_F(EngineRewriteTest, AVersionThatIsHeldIsPutRight) {
  WriteChunk(kPage);
  const uint64_t used = UsedBlocks();
  ASSERT_TRUE(rig_->Apply(rig_->WriteChange(key_, 5, 100, RandomBytes(10, 2))).ok());
  bytes_ = **rig_->ReadAllAt(key_, Engine::kNewest);
  before_ = Facts();
  rig_->disk().RotBits(0, 30000);
  ASSERT_TRUE(Rewrite(0, kPage).ok());
  EXPECT_TRUE(rig_->ReadAllAt(key_, Engine::kNewest).ok());
  EXPECT_EQ(ReadCode(), Code::kCorrupt);  // the one before
  rig_->engine().Release(key_, 5);
  ASSERT_TRUE(rig_->Read(key_, 0, 1).ok());  // the blocks that nobody reads any more go
  EXPECT_EQ(UsedBlocks(), used);
  ExpectWhole();
}

// With the version that it was put into it goes, and what was damaged is as before.
TEST_F(EngineRewriteTest, AVersionThatIsTakenBackTakesItAlong) {
  WriteChunk(2 * kPage);
  const uint64_t used = UsedBlocks();
  const Bytes patch = RandomBytes(kBlock, 2);
  ASSERT_TRUE(rig_->Apply(rig_->WriteChange(key_, 5, kBlock, patch)).ok());
  const Bytes newest = **rig_->ReadAllAt(key_, Engine::kNewest);
  rig_->disk().RotBits(0, 30000);  // of the one before
  rig_->disk().RotBits(0, kPage + 5);
  ASSERT_TRUE(rig_->Rewrite(key_, 0, newest).ok());
  ASSERT_TRUE(rig_->ReadAllAt(key_, Engine::kNewest).ok());
  ASSERT_TRUE(rig_->Revert(key_, 5).ok());
  EXPECT_EQ(ReadCode(), Code::kCorrupt);
  EXPECT_EQ(UsedBlocks(), used);
  ASSERT_TRUE(rig_->engine().Check().ok());
  ASSERT_TRUE(Rewrite(0, 2 * kPage).ok());
  ExpectWhole();
}

// Its commit is not over when the rewrite comes to its turn.
TEST_F(EngineRewriteTest, WhatIsBeingCommittedIsPutRight) {
  WriteChunk(kPage);
  rig_->disk().HoldSyncs();
  const Bytes patch = RandomBytes(10, 2);
  auto change = rig_->StartApply(rig_->WriteChange(key_, 5, 100, patch));
  while (rig_->disk().held_syncs() == 0) std::this_thread::yield();
  std::copy(patch.begin(), patch.end(), bytes_.begin() + 100);
  auto rewritten = StartRewrite(0, kPage);
  rig_->disk().ReleaseSyncs();
  EXPECT_TRUE(change.get().ok());
  EXPECT_TRUE(rewritten.get().ok());
  rig_->engine().Release(key_, 5);
  before_ = Facts();
  ExpectWhole();
}

// Whoever takes changes back knows of those that it has asked for, and not of this.
TEST_F(EngineRewriteTest, NothingIsTakenBackWhileItIsUnderWay) {
  WriteChunk(kPage);
  ASSERT_TRUE(rig_->Apply(rig_->WriteChange(key_, 5, 100, RandomBytes(10, 2))).ok());
  const Bytes before = bytes_;
  bytes_ = **rig_->ReadAllAt(key_, Engine::kNewest);
  rig_->disk().HoldSyncs();
  auto rewritten = StartRewrite(0, kPage);
  EXPECT_EQ(rig_->Revert(key_, 5).status().code(), Code::kBusy);
  while (rig_->disk().held_syncs() == 0) std::this_thread::yield();
  EXPECT_EQ(rig_->Revert(key_, 5).status().code(), Code::kBusy);
  rig_->disk().ReleaseSyncs();
  EXPECT_TRUE(rewritten.get().ok());
  ASSERT_TRUE(rig_->Revert(key_, 5).ok());
  // Nor while one that comes to nothing is.
  EXPECT_EQ(rig_->Rewrite(key_, 0, RandomBytes(kBlock, 9)).status().code(), Code::kCorrupt);
  EXPECT_TRUE(rig_->Revert(key_, 5).ok());
  bytes_ = before;
  ExpectWhole();
}

// Those that come after it build on what it leaves, and it goes back with none of them.
TEST_F(EngineRewriteTest, ChangesBehindItWait) {
  WriteChunk(2 * kPage);
  rig_->disk().RotBits(0, 40000);
  rig_->disk().HoldSyncs();
  auto rewritten = StartRewrite(0, kPage);
  // It reads what the rewrite puts right.
  auto patch = rig_->StartApply(rig_->WriteChange(key_, 5, 40100, RandomBytes(10, 2)));
  while (rig_->disk().held_syncs() == 0) std::this_thread::yield();
  rig_->disk().ReleaseSyncs();
  EXPECT_TRUE(rewritten.get().ok());
  ASSERT_TRUE(patch.get().ok());
  ASSERT_TRUE(rig_->Revert(key_, 5).ok());
  ExpectWhole();
}

TEST_F(EngineRewriteTest, AFullDiskIsRepairedPageByPage) {
  Start({.slab_bytes = 4 << 20, .capacity_bytes = 4 << 20});
  WriteChunk(4 * kPage);
  for (uint64_t file = 1; rig_->Write(Key(7, 100 + file, 0), 0, RandomBytes(kBlock, file)).ok();) {
    ++file;
  }
  for (uint32_t page = 0; page < 4; ++page) rig_->disk().RotBits(0, page * kPage + 100);
  for (uint32_t page = 0; page < 4; ++page) {
    const auto state = Rewrite(page * kPage, (page + 1) * kPage);
    ASSERT_TRUE(state.ok()) << state.status().ToString();
  }
  const auto found = rig_->ReadAll(key_);
  ASSERT_TRUE(found.ok());
  EXPECT_TRUE(*found == bytes_);
}

// The machine dies at every event that changes what a disk holds: the chunk is the same chunk,
// whose damage is there or gone; once it was answered, gone.
TEST(EngineRewriteCrashTest, EveryWriteBoundary) {
  const uint64_t seed = TestSeed(20377);
  const auto key = Key(7, 42, 3);
  const Bytes bytes = RandomBytes(2 * kPage + 5000, 1);
  uint64_t boundary = 0;
  uint64_t rewrites_cut = 0;
  for (bool completed = false; !completed; ++boundary) {
    ASSERT_LT(boundary, 1000u);
    EngineRig rig({.slab_bytes = 1 << 20, .crash = std::make_shared<CrashPoint>(boundary)});
    bool alive = rig.Open().ok();
    const bool written = alive && rig.Write(key, 0, bytes).ok();
    if (written) {
      rig.disk().RotBits(0, 5000);
      rig.disk().RotBits(0, 2 * kPage + 100);
    }
    const bool first = written && rig.Rewrite(key, 0, Part(bytes, 0, kPage)).ok();
    const bool second =
        first && rig.Rewrite(key, 2 * kPage, Part(bytes, 2 * kPage, bytes.size())).ok();
    rig.Close();
    completed = second && !rig.crash().dead();
    if (written && !second) ++rewrites_cut;
    EngineRig after(rig, seed + boundary);
    ASSERT_TRUE(after.Open().ok()) << "boundary " << boundary;
    ASSERT_TRUE(after.engine().Check().ok()) << "boundary " << boundary;
    const auto listed = after.List(7);
    ASSERT_TRUE(listed.ok());
    if (written) {
      ASSERT_EQ(listed->size(), 1u) << "boundary " << boundary;
      EXPECT_EQ(listed->front().state.version, ChunkVersion(1));
      EXPECT_EQ(listed->front().state.length, bytes.size());
    }
    for (uint32_t page = 0; written && page < 3; ++page) {
      const auto read = after.Read(key, page * kPage, kPage);
      const bool whole = read.ok();
      if (whole) {
        EXPECT_TRUE(
            std::equal(read->bytes.begin(), read->bytes.end(), bytes.begin() + page * kPage));
      }
      const bool must = page == 0 ? first : page == 1 || second;
      EXPECT_TRUE(whole || !must) << "boundary " << boundary << ", page " << page << ": "
                                  << read.status().ToString();
    }
  }
  EXPECT_GT(rewrites_cut, 5u);
}

}  // namespace
}  // namespace sheaf::storage
