#include "meta/kv/rocksdb_kv.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "tests/support/faulty_kv.h"
#include "tests/support/memory_kv.h"
#include "tests/support/temp_dir.h"

namespace sheaf::meta {
namespace {

using ::sheaf::testing::TempDir;

uint64_t Seed() {
  const char* given = std::getenv("SHEAF_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 20260101;
  ::testing::Test::RecordProperty("seed", std::to_string(seed));
  return seed;
}

// One set of cases over the real store and the fake.
class KvConformanceTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) {
      kv_ = OpenRocksDbKv(dir_ / "db", {}).value();
    } else {
      kv_ = std::make_unique<MemoryKv>();
    }
  }

  Status Put(const std::string& key, const std::string& value) {
    const std::vector<KvChange> batch = {{key, value}};
    return kv_->Write(batch, true);
  }
  std::vector<std::string> Keys(const ReadView& view, std::string_view begin, std::string_view end,
                                size_t limit = 0) {
    std::vector<std::string> keys;
    EXPECT_TRUE(view.Scan(begin, end, limit,
                          [&](std::string_view key, std::string_view) {
                            keys.emplace_back(key);
                            return true;
                          })
                    .ok());
    return keys;
  }

  TempDir dir_;
  std::unique_ptr<KvStore> kv_;
};

TEST_P(KvConformanceTest, GetAnswersWhatWasWritten) {
  const std::string binary("a\0b", 3);
  ASSERT_TRUE(Put(binary, "v").ok());
  EXPECT_EQ(**kv_->Get(binary), "v");
  EXPECT_FALSE(kv_->Get("a")->has_value());
  ASSERT_TRUE(Put("empty", "").ok());
  EXPECT_EQ(**kv_->Get("empty"), "");
}

TEST_P(KvConformanceTest, BatchesPutAndDeleteTogether) {
  ASSERT_TRUE(Put("old", "1").ok());
  const std::vector<KvChange> batch = {{"new", "2"}, {"old", std::nullopt}};
  ASSERT_TRUE(kv_->Write(batch, true).ok());
  EXPECT_FALSE(kv_->Get("old")->has_value());
  EXPECT_EQ(**kv_->Get("new"), "2");
}

TEST_P(KvConformanceTest, MultiGetKeepsTheOrder) {
  ASSERT_TRUE(Put("a", "1").ok());
  ASSERT_TRUE(Put("c", "3").ok());
  const std::vector<std::string> keys = {"c", "b", "a"};
  const auto values = *kv_->MultiGet(keys);
  EXPECT_EQ(*values[0], "3");
  EXPECT_FALSE(values[1].has_value());
  EXPECT_EQ(*values[2], "1");
}

TEST_P(KvConformanceTest, ScanIsHalfOpenOrderedAndLimited) {
  for (const char* key : {"b", "a", "d", "c", "\xff"}) ASSERT_TRUE(Put(key, "v").ok());
  EXPECT_EQ(Keys(*kv_, "a", "c"), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(Keys(*kv_, "aa", "z"), (std::vector<std::string>{"b", "c", "d"}));
  EXPECT_EQ(Keys(*kv_, "a", "z", 2), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(Keys(*kv_, "z", "a").empty());
}

// Begin and end share the prefix that the Bloom filter knows; then they do not.
TEST_P(KvConformanceTest, ScanFindsRowsWithinAndAcrossPrefixes) {
  const std::string one = "D" + std::string(7, '\0') + "\x01";
  const std::string two = "D" + std::string(7, '\0') + "\x02";
  for (const std::string& prefix : {one, two}) {
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(Put(prefix + std::to_string(100 + i), "v").ok());
  }
  EXPECT_EQ(Keys(*kv_, one + "100", one + "150").size(), 50u);
  EXPECT_EQ(Keys(*kv_, one + "150", two + "150").size(), 100u);
  EXPECT_EQ(Keys(*kv_, "D", "E").size(), 200u);
}

TEST_P(KvConformanceTest, VisitorStopsTheScan) {
  for (const char* key : {"a", "b", "c"}) ASSERT_TRUE(Put(key, "v").ok());
  int visits = 0;
  ASSERT_TRUE(
      kv_->Scan("a", "z", 0, [&](std::string_view, std::string_view) { return ++visits < 2; })
          .ok());
  EXPECT_EQ(visits, 2);
}

TEST_P(KvConformanceTest, SnapshotsStandStill) {
  ASSERT_TRUE(Put("k", "1").ok());
  const auto snapshot = kv_->Snapshot();
  ASSERT_TRUE(Put("k", "2").ok());
  ASSERT_TRUE(Put("l", "2").ok());
  EXPECT_EQ(**snapshot->Get("k"), "1");
  EXPECT_EQ(Keys(*snapshot, "a", "z").size(), 1u);
  EXPECT_EQ(**kv_->Get("k"), "2");
}

INSTANTIATE_TEST_SUITE_P(Stores, KvConformanceTest, ::testing::Values(true, false),
                         [](const auto& test) { return test.param ? "RocksDb" : "Memory"; });

TEST(RocksDbKvTest, ReopensWithItsRows) {
  TempDir dir;
  {
    auto kv = OpenRocksDbKv(dir / "db", {}).value();
    const std::vector<KvChange> batch = {{"k", "v"}};
    ASSERT_TRUE(kv->Write(batch, true).ok());
  }
  auto kv = OpenRocksDbKv(dir / "db", {}).value();
  EXPECT_EQ(**kv->Get("k"), "v");
}

TEST(RocksDbKvTest, OpenNamesTheDirectoryItCannotUse) {
  const auto kv = OpenRocksDbKv("/proc/sheaf/none", {});
  ASSERT_FALSE(kv.ok());
  EXPECT_NE(kv.status().message().find("/proc/sheaf/none"), std::string::npos);
}

TEST(RocksDbKvTest, AFullDiskIsNoSpaceAndLosesNothing) {
  TempDir dir;
  FaultyEnv env(Seed());
  auto kv = OpenRocksDbKv(dir / "db", {.env = env.get()}).value();
  const std::vector<KvChange> first = {{"a", "1"}};
  ASSERT_TRUE(kv->Write(first, true).ok());
  env.FillDisk(true);
  const std::vector<KvChange> second = {{"b", "2"}};
  EXPECT_EQ(kv->Write(second, true).code(), Code::kNoSpace);
  EXPECT_EQ(**kv->Get("a"), "1");
  EXPECT_FALSE(kv->Get("b")->has_value());
}

TEST(RocksDbKvTest, TakesWritesAgainOnceAFullDiskHasRoom) {
  TempDir dir;
  FaultyEnv env(Seed());
  auto kv = OpenRocksDbKv(dir / "db", {.env = env.get()}).value();
  const auto put = [&](const std::string& key) {
    const std::vector<KvChange> batch = {{key, key}};
    return kv->Write(batch, true);
  };
  for (int round = 0; round < 3; ++round) {
    const std::string n = std::to_string(round);
    ASSERT_TRUE(put("kept" + n).ok());
    const auto before = kv->Snapshot();
    env.FillDisk(true);
    EXPECT_EQ(put("failed" + n).code(), Code::kNoSpace);
    EXPECT_EQ(**before->Get("kept" + n), "kept" + n);
    EXPECT_EQ(kv->Recover().code(), Code::kNoSpace);
    EXPECT_EQ(put("refused" + n).code(), Code::kNoSpace);
    EXPECT_EQ(before->Get("kept" + n).status().code(), Code::kUnavailable);
    EXPECT_EQ(**kv->Get("kept" + n), "kept" + n) << "read while the disk is full";
    EXPECT_EQ(**kv->Snapshot()->Get("kept" + n), "kept" + n);
    env.FillDisk(false);
    ASSERT_TRUE(kv->Recover().ok());
    ASSERT_TRUE(put("after" + n).ok());
  }
  kv.reset();
  kv = OpenRocksDbKv(dir / "db", {.env = env.get()}).value();
  for (const char* n : {"0", "1", "2"}) {
    EXPECT_TRUE(kv->Get(std::string("kept") + n)->has_value());
    EXPECT_TRUE(kv->Get(std::string("after") + n)->has_value());
    EXPECT_FALSE(kv->Get(std::string("refused") + n)->has_value());
  }
}

// What opening the database anew leaves must survive a crash as what was there before did.
TEST(RocksDbKvTest, WhatWasAcknowledgedAroundARecoverySurvivesACrash) {
  const uint64_t seed = Seed();
  for (uint64_t round = 0; round < 10; ++round) {
    TempDir dir;
    FaultyEnv env(seed + round);
    const std::vector<KvChange> one = {{"one", "1"}};
    const std::vector<KvChange> two = {{"two", "2"}};
    {
      auto kv = OpenRocksDbKv(dir / "db", {.env = env.get()}).value();
      ASSERT_TRUE(kv->Write(one, true).ok());
      env.FillDisk(true);
      EXPECT_FALSE(kv->Write(two, true).ok());
      env.FillDisk(false);
      ASSERT_TRUE(kv->Recover().ok());
      ASSERT_TRUE(kv->Write(two, true).ok());
      env.Crash();
    }
    env.Recover(/*rot=*/round % 2 == 0);
    auto kv = OpenRocksDbKv(dir / "db", {.env = env.get()});
    ASSERT_TRUE(kv.ok()) << kv.status().ToString() << " seed " << seed + round;
    EXPECT_EQ(**(*kv)->Get("one"), "1") << "seed " << seed + round;
    EXPECT_EQ(**(*kv)->Get("two"), "2") << "seed " << seed + round;
  }
}

// At every append and sync of the log in turn: what was acknowledged is found again, the batch
// under way is whole or absent, and removing the sync would be noticed.
TEST(RocksDbKvTest, SyncedBatchesSurviveACrashAtEveryLogOperation) {
  const uint64_t seed = Seed();
  constexpr int kBatches = 6;
  bool finished = false;
  for (uint64_t crash_at = 1; !finished; ++crash_at) {
    TempDir dir;
    FaultyEnv env(seed + crash_at);
    int acknowledged = 0;
    {
      env.CrashAtLogOperation(crash_at);
      auto kv = OpenRocksDbKv(dir / "db", {.env = env.get()});
      ASSERT_TRUE(kv.ok());
      for (int i = 0; i < kBatches; ++i) {
        const std::string n = std::to_string(i);
        const std::string one = "one" + n;
        const std::string two = "two" + n;
        const std::vector<KvChange> batch = {{one, n}, {two, n}};
        if (!(*kv)->Write(batch, true).ok()) break;
        ++acknowledged;
      }
      finished = !env.crashed();
      env.Crash();
    }
    env.Recover(/*rot=*/crash_at % 2 == 0);
    auto kv = OpenRocksDbKv(dir / "db", {.env = env.get()});
    ASSERT_TRUE(kv.ok()) << kv.status().ToString() << " seed " << seed << " at " << crash_at;
    for (int i = 0; i < kBatches; ++i) {
      const bool one = (*kv)->Get("one" + std::to_string(i))->has_value();
      const bool two = (*kv)->Get("two" + std::to_string(i))->has_value();
      EXPECT_EQ(one, two) << "torn batch " << i << ", seed " << seed << " at " << crash_at;
      EXPECT_TRUE(one || i >= acknowledged) << "lost batch " << i << ", seed " << seed;
    }
  }
}

TEST(RocksDbKvTest, TheFaultyDiskForgetsWhatWasNotSynced) {
  TempDir dir;
  FaultyEnv env(Seed());
  int lost = 0;
  for (int round = 0; round < 20; ++round) {
    const std::string path = dir / ("db" + std::to_string(round));
    {
      auto kv = OpenRocksDbKv(path, {.env = env.get()}).value();
      const std::vector<KvChange> batch = {{"k", "v"}};
      ASSERT_TRUE(kv->Write(batch, /*sync=*/false).ok());
      env.Crash();
    }
    env.Recover();
    auto kv = OpenRocksDbKv(path, {.env = env.get()}).value();
    lost += kv->Get("k")->has_value() ? 0 : 1;
  }
  EXPECT_GT(lost, 10) << "a missing sync would go unnoticed";
}

}  // namespace
}  // namespace sheaf::meta
