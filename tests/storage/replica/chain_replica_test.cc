#include "storage/replica/chain_replica.h"

#include "tests/storage/replica/chain_rig.h"

namespace sheaf::storage {
namespace {

using proto::SERVING;
using proto::SYNCING;
const ChunkId kChunk{DataId(42), 0};

TEST(ChainReplicaTest, AnAnsweredWriteIsOnEveryReplica) {
  ChainRig rig({SERVING, SERVING, SERVING});
  const Bytes bytes = RandomBytes(600'000, 1);
  ASSERT_TRUE(rig.Write(kChunk, 0, bytes).ok());
  rig.ExpectEverywhere(kChunk, bytes);
}

TEST(ChainReplicaTest, WritesTakeEffectInTheirOrderEverywhere) {
  ChainRig rig({SERVING, SERVING, SERVING});
  Bytes bytes(50'000);
  std::vector<std::future<Result<MutationResult>>> writes;
  for (uint32_t i = 0; i < 40; ++i) {
    const Bytes piece = RandomBytes(10'000, i);
    writes.push_back(rig.StartWrite(kChunk, i * 1000, piece));
    std::copy(piece.begin(), piece.end(), bytes.begin() + i * 1000);
  }
  bytes.resize(49'000);
  for (auto& write : writes) {
    const auto done = rig.Wait(std::move(write));
    EXPECT_TRUE(done.ok()) << done.status().ToString();
  }
  rig.ExpectEverywhere(kChunk, bytes);
}

TEST(ChainReplicaTest, WhatOneReplicaRefusesIsUndoneOnAll) {
  ChainRig rig({SERVING, SERVING, SERVING});
  const Bytes bytes = RandomBytes(10'000, 1);
  ASSERT_TRUE(rig.Write(kChunk, 0, bytes).ok());
  rig.node(2).engine.FailWith({Code::kNoSpace, "full"});
  EXPECT_EQ(rig.Write(kChunk, 5000, RandomBytes(10'000, 2)).code(), Code::kNoSpace);
  rig.node(2).engine.FailWith(Status::Ok());
  rig.ExpectEverywhere(kChunk, bytes);
}

TEST(ChainReplicaTest, RemovesAllChunksOfAFileEverywhere) {
  ChainRig rig({SERVING, SERVING, SERVING});
  for (uint32_t index = 0; index < 3; ++index) {
    ASSERT_TRUE(rig.Write({DataId(42), index}, 0, RandomBytes(100, index)).ok());
  }
  const auto removed = rig.Remove(DataId(42));
  ASSERT_TRUE(removed.ok()) << removed.status().ToString();
  EXPECT_EQ(removed->removed, 3u);
  for (uint32_t index = 0; index < 3; ++index) rig.ExpectEverywhere({DataId(42), index}, {});
}

TEST(ChainReplicaTest, AWriteWaitsForAReplicaThatCannotBeReached) {
  ChainRig rig({SERVING, SERVING, SERVING});
  rig.peers().Cut(TargetId(3), true);
  auto write = rig.StartWrite(kChunk, 0, RandomBytes(1000, 1));
  ASSERT_TRUE(rig.Eventually([&] { return rig.StateAt(1, kChunk).version.IsSet(); }));
  EXPECT_EQ(write.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  rig.peers().Cut(TargetId(3), false);
  EXPECT_TRUE(rig.Wait(std::move(write)).ok());
  rig.ExpectEverywhere(kChunk, RandomBytes(1000, 1));
}

TEST(ChainReplicaTest, AMemberIsBroughtUpToDate) {
  ChainRig rig({SERVING, SERVING, proto::OFFLINE});
  for (uint32_t index = 0; index < 5; ++index) {
    ASSERT_TRUE(rig.Write({DataId(42), index}, 0, RandomBytes(300'000, index)).ok());
  }
  rig.SetState(2, SYNCING);
  rig.Configure(2);
  ASSERT_TRUE(rig.Eventually([&] {
    const auto report = rig.node(2).replica->Report();
    return report.has_value() && report->complete();
  }));
  rig.SetState(2, SERVING);
  rig.Configure(3);
  for (uint32_t index = 0; index < 5; ++index) {
    rig.ExpectEverywhere({DataId(42), index}, RandomBytes(300'000, index));
  }
}

}  // namespace
}  // namespace sheaf::storage
