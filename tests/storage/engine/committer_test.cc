#include "storage/engine/committer.h"

#include "tests/storage/engine/engine_rig.h"
#include "tests/support/eventually.h"

namespace sheaf::storage {
namespace {

using sheaf::testing::Eventually;

// The two stages side by side: an index write is held while later changes go through the stage
// before it. Through the engine, which is what makes the changes.
class CommitterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const Status opened = rig_.Open();
    ASSERT_TRUE(opened.ok()) << opened.ToString();
    ASSERT_TRUE(rig_.Write(first_, 0, old_).ok());
    ASSERT_TRUE(rig_.Write(second_, 0, old_).ok());
  }
  // A held sync would keep the engine from closing.
  void TearDown() override {
    rig_.disk().ReleaseSyncs();
    rig_.env().ReleaseLogSyncs();
  }

  // A write whose index write is under way, and stays so until ReleaseLogSyncs.
  EngineRig::StateFuture HoldAnIndexWrite(const Engine::ChunkKey& key, const Bytes& bytes) {
    rig_.env().HoldLogSyncs();
    auto write = rig_.StartWrite(rig_.Args(key, 0, bytes));
    EXPECT_TRUE(Eventually([&] { return rig_.env().held_log_syncs() == 1; }));
    return write;
  }
  bool SlabSyncsReach(uint64_t count) {
    return Eventually([&] { return rig_.disk().syncs() >= count; });
  }
  void Reopen() {
    rig_.Close();
    rig_.disk().FailSyncs(false);
    rig_.env().FailSyncs(false);
    const Status opened = rig_.Open();
    ASSERT_TRUE(opened.ok()) << opened.ToString();
    const Status sound = rig_.engine().Check();
    EXPECT_TRUE(sound.ok()) << sound.ToString();
  }
  Bytes Content(const Engine::ChunkKey& key) {
    auto found = rig_.ReadAll(key);
    EXPECT_TRUE(found.ok()) << found.status().ToString();
    return found.ok() && found->has_value() ? **found : Bytes();
  }
  template <typename Future>
  static bool IsAnswered(Future& future) {
    return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }

  EngineRig rig_{EngineRig::Options{}};
  const Engine::ChunkKey first_ = Key(1, 10, 0);
  const Engine::ChunkKey second_ = Key(1, 10, 1);
  const Bytes old_ = RandomBytes(20000, 1);
  const Bytes new_ = RandomBytes(20000, 2);
};

TEST_F(CommitterTest, SyncsTheSlabsOfOneGroupWhileTheIndexWriteOfAnotherIsUnderWay) {
  auto first = HoldAnIndexWrite(first_, new_);
  const uint64_t syncs = rig_.disk().syncs();
  auto second = rig_.StartWrite(rig_.Args(second_, 0, new_));
  EXPECT_TRUE(SlabSyncsReach(syncs + 1));
  EXPECT_EQ(rig_.env().held_log_syncs(), 1u);
  EXPECT_FALSE(IsAnswered(first));
  EXPECT_FALSE(IsAnswered(second));
  EXPECT_TRUE(Content(second_) == old_);  // a slab sync commits nothing
  rig_.env().ReleaseLogSyncs();
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
  Reopen();
  EXPECT_TRUE(Content(first_) == new_);
  EXPECT_TRUE(Content(second_) == new_);
}

TEST_F(CommitterTest, TheIndexWriteOfAGroupWaitsForItsSlabSyncs) {
  rig_.disk().HoldSyncs();
  const uint64_t log_syncs = rig_.env().log_syncs();
  auto write = rig_.StartWrite(rig_.Args(first_, 0, new_));
  EXPECT_TRUE(Eventually([&] { return rig_.disk().held_syncs() == 1; }));
  // Nothing tells that it stays so: an index write that did not wait has its time.
  EXPECT_EQ(write.wait_for(std::chrono::milliseconds(300)), std::future_status::timeout);
  EXPECT_EQ(rig_.env().log_syncs(), log_syncs);
  rig_.disk().ReleaseSyncs();
  EXPECT_TRUE(write.get().ok());
  EXPECT_GT(rig_.env().log_syncs(), log_syncs);
}

// The first makes the record one of several pages, the second takes them away again: an index
// write that took the record from before the first for the index's would leave pages behind.
TEST_F(CommitterTest, ASyncedChangeBuildsOnTheIndexWriteUnderWay) {
  const Bytes longer = RandomBytes(3 * kPageBytes, 3);
  auto first = HoldAnIndexWrite(first_, longer);
  const uint64_t syncs = rig_.disk().syncs();
  auto second = rig_.StartTruncate(first_, 5000, /*extend=*/false);
  EXPECT_TRUE(SlabSyncsReach(syncs + 1));  // of the block that is cut
  rig_.env().ReleaseLogSyncs();
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
  Reopen();
  EXPECT_TRUE(Content(first_) == Bytes(longer.begin(), longer.begin() + 5000));
}

TEST_F(CommitterTest, AFailedSlabSyncStopsItsGroupAndLeavesTheOneBefore) {
  auto first = HoldAnIndexWrite(first_, new_);
  rig_.disk().FailSyncs(true);
  auto second = rig_.StartWrite(rig_.Args(second_, 0, new_));
  EXPECT_TRUE(Eventually([&] { return !rig_.engine().Health().ok(); }));
  rig_.disk().FailSyncs(false);
  rig_.env().ReleaseLogSyncs();
  EXPECT_TRUE(first.get().ok());
  EXPECT_EQ(second.get().status().code(), Code::kIo);
  EXPECT_FALSE(rig_.Write(second_, 0, new_).ok());
  Reopen();
  EXPECT_TRUE(Content(first_) == new_);
  EXPECT_TRUE(Content(second_) == old_);
}

TEST_F(CommitterTest, AFailedIndexWriteStopsTheGroupThatIsSyncedAlready) {
  auto first = HoldAnIndexWrite(first_, new_);
  const uint64_t syncs = rig_.disk().syncs();
  auto second = rig_.StartWrite(rig_.Args(second_, 0, new_));
  EXPECT_TRUE(SlabSyncsReach(syncs + 1));
  const uint64_t log_syncs = rig_.env().log_syncs();
  rig_.env().FailSyncs(true);
  rig_.env().ReleaseLogSyncs();
  EXPECT_EQ(first.get().status().code(), Code::kIo);
  EXPECT_EQ(second.get().status().code(), Code::kIo);
  EXPECT_EQ(rig_.env().log_syncs(), log_syncs);
  Reopen();
  const Bytes found = Content(first_);  // whether it reached the disk is unknown
  EXPECT_TRUE(found == old_ || found == new_);
  EXPECT_TRUE(Content(second_) == old_);
}

}  // namespace
}  // namespace sheaf::storage
