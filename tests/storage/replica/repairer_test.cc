#include "storage/replica/repairer.h"

#include <deque>

#include "tests/storage/replica/chain_rig.h"

namespace sheaf::storage {
namespace {

using proto::SERVING;
constexpr uint32_t kPage = 256 << 10;
const ChunkId kChunk{DataId(42), 0};
const Engine::ChunkKey kKey{kChain, kChunk};

// Three replicas that hold one chunk of three pages.
class RepairerTest : public ::testing::Test {
 protected:
  RepairerTest() { EXPECT_TRUE(rig_.Write(kChunk, 0, bytes_).ok()); }
  bool IsRepaired(size_t node) {
    return rig_.Eventually([&] { return CountsOf(node).repaired == 1; });
  }
  Repairer::Counts CountsOf(size_t node) { return rig_.node(node).repairer.counts(); }
  void Rot(size_t node, uint32_t offset) { rig_.node(node).engine.Rot(kKey, offset); }
  Code ReadCode(size_t node) { return rig_.Read(node, kChunk).status().code(); }

  ChainRig rig_{{SERVING, SERVING, SERVING}};
  const Bytes bytes_ = RandomBytes(600'000, 1);
};

TEST_F(RepairerTest, AReadThatMeetsDamageIsRefusedAndBringsARepair) {
  const Engine::ChunkState before = rig_.StateAt(1, kChunk);
  Rot(1, 0);
  Rot(1, 599'999);
  EXPECT_EQ(ReadCode(1), Code::kCorrupt);
  ASSERT_TRUE(IsRepaired(1));
  EXPECT_EQ(rig_.node(1).engine.rotten(), 0u);
  EXPECT_EQ(rig_.node(1).told, 1);
  EXPECT_EQ(CountsOf(1).failed, 0u);
  EXPECT_EQ(rig_.StateAt(1, kChunk).version, before.version);
  rig_.ExpectEverywhere(kChunk, bytes_);
}

TEST_F(RepairerTest, HeadAndTailAreRepairedToo) {
  Rot(0, kPage);
  Rot(2, kPage);
  EXPECT_TRUE(rig_.node(0).replica->RequestRepair(kChunk));
  EXPECT_TRUE(rig_.node(2).replica->RequestRepair(kChunk));
  ASSERT_TRUE(IsRepaired(0) && IsRepaired(2));
  rig_.ExpectEverywhere(kChunk, bytes_);
}

TEST_F(RepairerTest, EachPageComesFromWhoeverCanReadIt) {
  Rot(1, 0);
  Rot(1, kPage);
  Rot(0, 0);
  Rot(2, kPage);
  EXPECT_TRUE(rig_.node(1).replica->RequestRepair(kChunk));
  ASSERT_TRUE(IsRepaired(1));
  EXPECT_EQ(rig_.node(1).engine.rotten(), 0u);
}

// Nobody has the page, nor the block, as a whole.
TEST_F(RepairerTest, EachUnitComesFromWhoeverCanReadIt) {
  for (uint32_t node = 0; node < 3; ++node) Rot(node, node * 4096);
  for (uint32_t node = 0; node < 3; ++node) Rot(node, 599'999 - node * 4096);
  EXPECT_EQ(ReadCode(1), Code::kCorrupt);
  ASSERT_TRUE(IsRepaired(1));
  EXPECT_EQ(rig_.node(1).engine.rotten(), 0u);
  // The others are asked for the damaged ones, and so come upon their own.
  ASSERT_TRUE(IsRepaired(0) && IsRepaired(2));
  rig_.ExpectEverywhere(kChunk, bytes_);
}

TEST_F(RepairerTest, WhatCanBeRepairedIsBesideWhatCannot) {
  for (uint32_t node = 0; node < 3; ++node) Rot(node, 20'000);
  Rot(1, 0);
  Rot(1, 40'000);
  Rot(1, kPage);
  EXPECT_TRUE(rig_.node(1).replica->RequestRepair(kChunk));
  ASSERT_TRUE(rig_.Eventually([&] { return CountsOf(1).failed > 0; }));
  EXPECT_EQ(rig_.node(1).engine.rotten(), 1u);
  EXPECT_EQ(CountsOf(1).repaired, 0u);
}

TEST_F(RepairerTest, DamageEverywhereIsGivenUpAndTakenUpLater) {
  for (size_t node = 0; node < 3; ++node) Rot(node, 0);
  EXPECT_EQ(ReadCode(1), Code::kCorrupt);
  ASSERT_TRUE(rig_.Eventually([&] { return CountsOf(1).failed > 0; }));
  rig_.node(0).engine.Rewrite(rig_.node(0).io,
                              {.key = kKey, .bytes = std::span(bytes_).first(kPage)}, [](auto) {});
  ASSERT_TRUE(rig_.Eventually([&] { return ReadCode(1) == Code::kOk; }));
  EXPECT_TRUE(IsRepaired(1));
}

// Each reads it from the others, which begin a repair for that.
TEST(RepairerRestTest, ReplicasThatAreAllDamagedDoNotKeepOneAnotherBusy) {
  ChainRig rig({SERVING, SERVING, SERVING}, std::chrono::hours(1));
  ASSERT_TRUE(rig.Write(kChunk, 0, RandomBytes(1000, 1)).ok());
  for (size_t node = 0; node < 3; ++node) rig.node(node).engine.Rot(kKey, 0);
  EXPECT_FALSE(rig.Read(0, kChunk).ok());
  const auto counts = [&](size_t node) { return rig.node(node).repairer.counts(); };
  for (size_t node = 0; node < 3; ++node) {
    ASSERT_TRUE(rig.Eventually([&] { return counts(node).failed == 1; }));
  }
  for (size_t node = 0; node < 3; ++node) {
    EXPECT_FALSE(rig.Read(node, kChunk).ok());
    EXPECT_EQ(counts(node).queued, 0u);
    EXPECT_EQ(counts(node).failed, 1u);
  }
}

TEST(RepairerRestTest, AWriteBesideWhatNobodyHasIsRefused) {
  ChainRig rig({SERVING, SERVING, SERVING}, std::chrono::hours(1));
  ASSERT_TRUE(rig.Write(kChunk, 0, RandomBytes(40'000, 1)).ok());
  for (size_t node = 0; node < 3; ++node) rig.node(node).engine.Rot(kKey, 0);
  const auto write = [&] { return rig.Write(kChunk, 100, RandomBytes(100, 3)).code(); };
  EXPECT_EQ(write(), Code::kBusy);
  ASSERT_TRUE(rig.Eventually([&] { return write() == Code::kCorrupt; }));
  // Over it, all is well.
  EXPECT_TRUE(rig.Write(kChunk, 0, RandomBytes(16384, 4)).ok());
  EXPECT_EQ(write(), Code::kOk);
}

TEST_F(RepairerTest, OtherBytesAreNotTaken) {
  // The head's chunk has the same number and is another.
  Engine::Change change;
  change.kind = Engine::Change::Kind::kRemove;
  change.args.key = kKey;
  rig_.node(0).engine.Apply(rig_.node(0).io, change, [](auto) {});
  const Bytes other = RandomBytes(600'000, 2);
  change.kind = Engine::Change::Kind::kWrite;
  change.args.crc32c = Crc32c(other);
  change.args.bytes = other;
  rig_.node(0).engine.Apply(rig_.node(0).io, change, [](auto) {});
  Rot(1, 0);
  (void)rig_.node(1).replica->RequestRepair(kChunk);
  ASSERT_TRUE(IsRepaired(1));
  EXPECT_TRUE(*rig_.Read(1, kChunk) == bytes_);
}

TEST_F(RepairerTest, AWriteThatMeetsDamageIsUndoneAndCanBeMadeOnceThatIsRepaired) {
  for (uint32_t node = 0; node < 3; ++node) {
    Rot(node, 0);
    EXPECT_EQ(rig_.Write(kChunk, 100, RandomBytes(100, 3)).code(), Code::kBusy);
    ASSERT_TRUE(IsRepaired(node));
  }
  rig_.ExpectEverywhere(kChunk, bytes_);
  EXPECT_TRUE(rig_.Write(kChunk, 100, RandomBytes(100, 3)).ok());
}

// A payload that was damaged on the way says nothing of the chunk.
TEST_F(RepairerTest, AWriteOfDamagedBytesBringsNoRepair) {
  ChainRig::Future<MutationResult> write =
      rig_.OnNode<MutationResult>(0, [](ChainRig::Node& node, auto done) {
        ChainOp op;
        op.chunk = kChunk;
        op.chunk_size = kChunkSize;
        op.crc32c = 1;
        op.buffer = node.io.Allocate(1);
        op.bytes = op.buffer->span().first(1);
        node.replica->Mutate(
            node.io, std::move(op), [] { return Status::Ok(); }, done);
      });
  EXPECT_EQ(rig_.Wait(std::move(write)).status().code(), Code::kCorrupt);
  EXPECT_EQ(CountsOf(0).queued, 0u);
}

// It is never without a change that is not committed, nor the same for long.
TEST_F(RepairerTest, AChunkThatIsWrittenAllTheTimeIsRepaired) {
  Rot(1, 0);
  Rot(1, 500'000);
  EXPECT_TRUE(rig_.node(1).replica->RequestRepair(kChunk));
  std::deque<ChainRig::Future<MutationResult>> writes;
  Bytes want = bytes_;
  uint64_t count = 0;
  ASSERT_TRUE(rig_.Eventually([&] {
    while (writes.size() < 8) {
      const Bytes patch = RandomBytes(1000, ++count);
      const auto at = static_cast<uint32_t>(20'000 + count * 1000 % 400'000);
      std::copy(patch.begin(), patch.end(), want.begin() + at);
      writes.push_back(rig_.StartWrite(kChunk, at, patch));
    }
    EXPECT_TRUE(rig_.Wait(std::move(writes.front())).ok());
    writes.pop_front();
    return CountsOf(1).repaired == 1;
  }));
  for (auto& write : writes) EXPECT_TRUE(rig_.Wait(std::move(write)).ok());
  EXPECT_EQ(rig_.node(1).engine.rotten(), 0u);
  rig_.ExpectEverywhere(kChunk, want);
}

// What the others have committed cannot be told.
TEST_F(RepairerTest, AReplicaThatCannotBeReachedIsWaitedFor) {
  rig_.peers().Cut(TargetId(3), true);
  const Bytes patch = RandomBytes(kPage, 3);
  auto write = rig_.StartWrite(kChunk, kPage, patch);
  ASSERT_TRUE(rig_.Eventually([&] { return rig_.StateAt(1, kChunk).version.value() == 2; }));
  Rot(1, 0);
  (void)rig_.node(1).replica->RequestRepair(kChunk);
  (void)rig_.node(1).replica->RequestRepair(kChunk);
  EXPECT_EQ(CountsOf(1).queued, 1u);
  EXPECT_EQ(rig_.node(1).engine.rotten(), 1u);
  rig_.peers().Cut(TargetId(3), false);
  ASSERT_TRUE(rig_.Wait(std::move(write)).ok());
  ASSERT_TRUE(IsRepaired(1));
  Bytes want = bytes_;
  std::copy(patch.begin(), patch.end(), want.begin() + kPage);
  rig_.ExpectEverywhere(kChunk, want);
}

TEST_F(RepairerTest, WhatIsSoundOrGoneIsLeftAlone) {
  (void)rig_.node(1).replica->RequestRepair(kChunk);
  (void)rig_.node(1).replica->RequestRepair({DataId(43), 0});
  ASSERT_TRUE(rig_.Eventually([&] { return CountsOf(1).queued == 0; }));
  EXPECT_EQ(CountsOf(1).repaired + CountsOf(1).failed, 0u);
}

TEST_F(RepairerTest, ReplicasThatDoNotServeAreNotAsked) {
  rig_.SetState(0, proto::OFFLINE);
  rig_.SetState(2, proto::OFFLINE);
  rig_.Configure(2);
  Rot(1, 0);
  EXPECT_EQ(ReadCode(1), Code::kCorrupt);
  EXPECT_EQ(CountsOf(1).queued, 1u);
  rig_.SetState(0, SERVING);
  rig_.Configure(3);
  ASSERT_TRUE(IsRepaired(1));
}

// What is mirrored to it is lost there, and copied once it can be.
TEST_F(RepairerTest, AMemberThatSyncsIsRepairedToo) {
  rig_.SetState(2, proto::SYNCING);
  Rot(2, 0);
  rig_.Configure(2);
  const Bytes patch = RandomBytes(100, 3);
  // Behind the copy it is refused until the repair: the client sends it again.
  ASSERT_TRUE(rig_.Eventually([&] {
    const Status written = rig_.Write(kChunk, 100, patch);
    EXPECT_TRUE(written.ok() || written.code() == Code::kBusy) << written.ToString();
    return written.ok();
  }));
  ASSERT_TRUE(rig_.Eventually([&] {
    const auto report = rig_.node(2).replica->Report();
    return report.has_value() && report->complete();
  }));
  rig_.SetState(2, SERVING);
  rig_.Configure(3);
  // Whether the write came behind the copy or before it: who reads it repairs it.
  ASSERT_TRUE(rig_.Eventually([&] { return ReadCode(2) == Code::kOk; }));
  Bytes want = bytes_;
  std::copy(patch.begin(), patch.end(), want.begin() + 100);
  rig_.ExpectEverywhere(kChunk, want);
}

// A resync reads what it sends.
TEST_F(RepairerTest, AResyncThatMeetsDamageHereGoesOnAfterARepair) {
  Engine::Change lose;
  lose.kind = Engine::Change::Kind::kRemove;
  lose.args.key = kKey;
  rig_.node(2).engine.Apply(rig_.node(2).io, lose, [](auto) {});
  Rot(1, kPage);
  rig_.SetState(2, proto::SYNCING);
  rig_.Configure(2);
  ASSERT_TRUE(IsRepaired(1));
  ASSERT_TRUE(rig_.Eventually([&] {
    const auto report = rig_.node(2).replica->Report();
    return report.has_value() && report->complete();
  }));
  rig_.SetState(2, SERVING);
  rig_.Configure(3);
  rig_.ExpectEverywhere(kChunk, bytes_);
}

}  // namespace
}  // namespace sheaf::storage
