#include "meta/cluster/reclaimer.h"

#include <gtest/gtest.h>

#include <set>

#include "common/guarded.h"
#include "meta/schema/keys.h"
#include "tests/support/eventually.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_trimmer.h"
#include "tests/support/memory_kv.h"
#include "tests/support/test_meta.h"

namespace sheaf::meta {
namespace {

using sheaf::testing::Eventually;

class ReclaimerTest : public ::testing::Test {
 protected:
  ReclaimerTest() : meta_(store_) {
    options_.interval = std::chrono::milliseconds(1);
    options_.batch = 4;
    options_.max_files_per_s = 1'000'000;
  }

  void Start() {
    auto may_reclaim = [this](RemovalEpoch, const Removal& removal) {
      const bool whole = removal.kind == Removal::Kind::kInode;
      return !pinned_.Lock()->contains(whole ? removal.inode.value() : removal.data_id.value());
    };
    reclaimer_ =
        std::make_unique<Reclaimer>(meta_.executor(), trimmer_, clock_, may_reclaim, options_);
  }

  proto::Attr CreateAndUnlink(const std::string& name) {
    auto created = meta_.Create(1, name);
    CHECK(created.ok(), created.status().ToString());
    auto unlinked = meta_.Unlink(1, name);
    CHECK(unlinked.ok(), unlinked.status().ToString());
    return created->attr();
  }

  bool RowExists(uint64_t inode) { return meta_.GetAttr(inode).ok(); }
  size_t Queued() { return store_.Rows(std::string(1, 'U')).size(); }

  MemoryKv store_;
  TestMeta meta_;
  FakeTrimmer trimmer_;
  FakeClock clock_;
  Guarded<std::set<uint64_t>> pinned_;
  ReclaimerOptions options_;
  std::unique_ptr<Reclaimer> reclaimer_;
};

TEST_F(ReclaimerTest, RemovesChunksThenRows) {
  const proto::Attr attr = CreateAndUnlink("a");
  trimmer_.Hold();
  Start();
  trimmer_.AwaitCalls(1);
  EXPECT_EQ(Queued(), 1u) << "rows stay while chunks may be there";
  EXPECT_TRUE(RowExists(attr.inode()));
  trimmer_.Release();
  ASSERT_TRUE(Eventually([&] { return Queued() == 0; }));
  EXPECT_FALSE(RowExists(attr.inode()));
  ASSERT_EQ(trimmer_.done().size(), 1u);
  EXPECT_EQ(trimmer_.done()[0].data_id.value(), attr.data_id());
  EXPECT_EQ(trimmer_.done()[0].keep_bytes, 0u);
}

TEST_F(ReclaimerTest, KeepsWhatIsPinnedAndTheRestGoes) {
  const proto::Attr open = CreateAndUnlink("open");
  pinned_.Lock()->insert(open.inode());
  for (int i = 0; i < 20; ++i) CreateAndUnlink("file" + std::to_string(i));
  Start();
  ASSERT_TRUE(Eventually([&] { return Queued() == 1; }));
  EXPECT_TRUE(RowExists(open.inode()));
  pinned_.Lock()->clear();
  ASSERT_TRUE(Eventually([&] { return Queued() == 0; }));
  EXPECT_FALSE(RowExists(open.inode()));
}

TEST_F(ReclaimerTest, RemovesReplacedDataOfALivingFile) {
  auto created = meta_.Create(1, "a");
  ASSERT_TRUE(created.ok());
  const uint64_t inode = created->attr().inode();
  ASSERT_TRUE(meta_.Fsync(inode, created->attr().size_epoch(), 1000).ok());
  auto truncated = meta_.Truncate(inode, 0);
  ASSERT_TRUE(truncated.ok());
  ASSERT_NE(truncated->data_id(), created->attr().data_id());
  // A reader still has the old bytes open.
  pinned_.Lock()->insert(created->attr().data_id());
  CreateAndUnlink("other");
  Start();
  ASSERT_TRUE(Eventually([&] { return Queued() == 1; }));
  EXPECT_FALSE(trimmer_.Trimmed(DataId(created->attr().data_id())));
  pinned_.Lock()->clear();
  ASSERT_TRUE(Eventually([&] { return Queued() == 0; }));
  EXPECT_TRUE(trimmer_.Trimmed(DataId(created->attr().data_id())));
  EXPECT_FALSE(trimmer_.Trimmed(DataId(truncated->data_id())));
  EXPECT_TRUE(RowExists(inode));
}

TEST_F(ReclaimerTest, AFailureWaitsLongerEachTimeAndHoldsUpNobody) {
  const proto::Attr sick = CreateAndUnlink("sick");
  trimmer_.Fail(DataId(sick.data_id()), {Code::kUnavailable, "chain 3 does not serve"});
  CreateAndUnlink("well");
  Start();
  ASSERT_TRUE(Eventually([&] { return Queued() == 1; }));
  ASSERT_TRUE(Eventually([&] { return reclaimer_->failures() == 1; }));
  clock_.Advance(options_.first_retry);
  ASSERT_TRUE(Eventually([&] { return reclaimer_->failures() == 2; }));
  trimmer_.Heal();
  clock_.Advance(options_.first_retry);
  EXPECT_EQ(Queued(), 1u) << "twice as long";
  clock_.Advance(options_.first_retry);
  ASSERT_TRUE(Eventually([&] { return Queued() == 0; }));
}

TEST_F(ReclaimerTest, AnInodeWithoutDataNeedsNoStorage) {
  ASSERT_TRUE(meta_.Symlink(1, "link", "somewhere").ok());
  ASSERT_TRUE(meta_.Unlink(1, "link").ok());
  Start();
  ASSERT_TRUE(Eventually([&] { return Queued() == 0; }));
  EXPECT_TRUE(trimmer_.done().empty());
}

TEST_F(ReclaimerTest, ManyXattrsGoInSteps) {
  auto created = meta_.Create(1, "a");
  ASSERT_TRUE(created.ok());
  for (size_t i = 0; i < Reclaimer::kRowsPerStep + 10; ++i) {
    ASSERT_TRUE(
        meta_.SetXattr(created->attr().inode(), "user.x" + std::to_string(i), "value").ok());
  }
  ASSERT_TRUE(meta_.Unlink(1, "a").ok());
  Start();
  ASSERT_TRUE(Eventually([&] { return Queued() == 0; }));
  EXPECT_TRUE(store_.Rows(std::string(1, 'X')).empty());
}

TEST_F(ReclaimerTest, BacklogIsVisible) {
  for (int i = 0; i < 3; ++i) {
    pinned_.Lock()->insert(CreateAndUnlink("file" + std::to_string(i)).inode());
  }
  Start();
  ASSERT_TRUE(Eventually([&] { return reclaimer_->backlog() == 3; }));
  EXPECT_EQ(*Reclaimer::CountBacklog(*meta_.executor().Committed()), 3u);
  pinned_.Lock()->clear();
  ASSERT_TRUE(Eventually([&] { return reclaimer_->backlog() == 0; }));
  EXPECT_EQ(reclaimer_->reclaimed(), 3u);
}

}  // namespace
}  // namespace sheaf::meta
