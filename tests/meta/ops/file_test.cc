// Open, Close, Fsync, Truncate: what a file's length is.

#include <fcntl.h>

#include "common/layout.h"
#include "meta/schema/keys.h"
#include "tests/meta/ops/ops_test.h"

namespace sheaf::meta {
namespace {

class FileTest : public OpsTest {
 protected:
  uint64_t file_ = MakeFile(kRoot, "f", 0666);

  uint64_t Epoch() { return Attr(file_).size_epoch(); }
  void Grow(uint64_t length) { ASSERT_TRUE(meta_.Fsync(file_, Epoch(), length).ok()); }
  Result<TruncateIntent> Intent() {
    return ReadTruncateIntent(*meta_.executor().Committed(), InodeId(file_));
  }
  void Finish(const TruncateIntent& intent) {
    ASSERT_TRUE(
        meta_.Run([&](OpContext& ctx) { return FinishTruncate(ctx, InodeId(file_), intent); })
            .ok());
  }
  size_t WriteOpens() {
    const KeyRange range = TableRange(Table::kWriteOpen);
    return kv_.Rows(range.begin).size();
  }
};

TEST_F(FileTest, OpenChecksPermissions) {
  ASSERT_TRUE(meta_.Chmod(file_, 0640).ok());
  meta_.ActAs(kAlice, kAlice);
  EXPECT_EQ(CodeOf(meta_.Open(file_, O_RDONLY)), Code::kAccess);
  meta_.ActAs(kAlice, 0);
  EXPECT_TRUE(meta_.Open(file_, O_RDONLY).ok());
  EXPECT_EQ(CodeOf(meta_.Open(file_, O_WRONLY)), Code::kAccess);
  EXPECT_EQ(CodeOf(meta_.Open(file_, O_RDONLY | O_TRUNC)), Code::kAccess);
  EXPECT_EQ(CodeOf(meta_.Open(file_, O_RDONLY | O_NOATIME)), Code::kNotPermitted);
  EXPECT_EQ(CodeOf(meta_.Open(file_, O_ACCMODE)), Code::kInvalid);
}

TEST_F(FileTest, ExecutingNeedsExecuteAndNotRead) {
  constexpr uint32_t kExecute = 040;  // FMODE_EXEC
  EXPECT_EQ(CodeOf(meta_.Open(file_, kExecute)), Code::kAccess) << "nobody may execute it";
  ASSERT_TRUE(meta_.Chmod(file_, 0711).ok());
  meta_.ActAs(kAlice, kAlice);
  EXPECT_TRUE(meta_.Open(file_, kExecute).ok());
  EXPECT_EQ(CodeOf(meta_.Open(file_, O_RDONLY)), Code::kAccess);
}

TEST_F(FileTest, OpenKeepsToTypes) {
  const uint64_t dir = MakeDir(kRoot, "d");
  EXPECT_TRUE(meta_.Open(dir, O_RDONLY | O_DIRECTORY).ok());
  EXPECT_EQ(CodeOf(meta_.Open(dir, O_RDWR)), Code::kIsDirectory);
  EXPECT_EQ(CodeOf(meta_.Open(file_, O_RDONLY | O_DIRECTORY)), Code::kNotDirectory);
  EXPECT_EQ(CodeOf(meta_.Open(meta_.Symlink(kRoot, "l", "f")->inode(), O_RDONLY)), Code::kLoop);
}

TEST_F(FileTest, WriteOpensAreCountedASession) {
  ASSERT_TRUE(meta_.Open(file_, O_RDONLY).ok());
  EXPECT_EQ(WriteOpens(), 0u);
  ASSERT_TRUE(meta_.Open(file_, O_WRONLY).ok());
  ASSERT_TRUE(meta_.Open(file_, O_RDWR).ok());
  EXPECT_EQ(WriteOpens(), 1u);
  ASSERT_TRUE(meta_.Close(file_).ok());
  EXPECT_EQ(WriteOpens(), 1u);
  ASSERT_TRUE(meta_.Close(file_).ok());
  EXPECT_EQ(WriteOpens(), 0u);
  ASSERT_TRUE(meta_.Close(file_).ok()) << "one too many does nothing";
}

TEST_F(FileTest, CreateForWritingIsAWriteOpen) {
  ASSERT_TRUE(meta_.Create(kRoot, "g", 0644, O_WRONLY).ok());
  EXPECT_EQ(WriteOpens(), 1u);
}

TEST_F(FileTest, ReportsRaiseTheLengthAndStamp) {
  Tick();
  const auto synced = meta_.Fsync(file_, 1, 4096);
  ASSERT_TRUE(synced.ok());
  EXPECT_EQ(synced->size(), 4096u);
  EXPECT_EQ(synced->mtime_ns(), clock_.WallNanos());
  EXPECT_EQ(meta_.TotalUsage().bytes, 4096u);
  EXPECT_EQ(meta_.Fsync(file_, 1, 100)->size(), 4096u) << "never lowers";
  Tick();
  const auto closed = meta_.Close(file_, 1, 9000, /*wrote=*/false);
  EXPECT_EQ(closed->size(), 9000u);
  EXPECT_LT(closed->mtime_ns(), clock_.WallNanos());
}

TEST_F(FileTest, StaleReportsAreIgnored) {
  Grow(8192);
  const uint64_t stale = Epoch();
  ASSERT_TRUE(meta_.Truncate(file_, 0).ok());
  EXPECT_EQ(meta_.Fsync(file_, stale, 8192)->size(), 0u);
}

TEST_F(FileTest, TruncateToZeroReplacesTheData) {
  Grow(8192);
  const proto::Attr before = Attr(file_);
  const auto after = meta_.Truncate(file_, 0);
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(after->size(), 0u);
  EXPECT_NE(after->data_id(), before.data_id());
  EXPECT_EQ(after->layout().seed(), MixBits(after->data_id()));
  EXPECT_GT(after->size_epoch(), before.size_epoch());
  EXPECT_EQ(CodeOf(Intent()), Code::kNoData);
  const auto removals = *meta_.Removals();
  ASSERT_EQ(removals.size(), 1u);
  EXPECT_EQ(removals[0].kind, Removal::Kind::kData);
  EXPECT_EQ(removals[0].data_id.value(), before.data_id());
  EXPECT_EQ(meta_.TotalUsage().bytes, 0u);
}

TEST_F(FileTest, TruncateOfAnUntouchedEmptyFileKeepsItsData) {
  const uint64_t data = Attr(file_).data_id();
  EXPECT_EQ(meta_.Truncate(file_, 0)->data_id(), data);
  ASSERT_TRUE(meta_.Open(file_, O_WRONLY).ok());
  EXPECT_NE(meta_.Truncate(file_, 0)->data_id(), data) << "a writer may have left bytes";
}

TEST_F(FileTest, ShorteningIsAnIntentAndExtensionWaits) {
  Grow(10000);
  const auto shorter = meta_.Truncate(file_, 3000);
  ASSERT_TRUE(shorter.ok());
  EXPECT_EQ(shorter->size(), 3000u);
  const auto intent = Intent();
  ASSERT_TRUE(intent.ok());
  EXPECT_EQ(intent->keep_bytes, 3000u);
  EXPECT_EQ(intent->old_bytes, 10000u);
  EXPECT_EQ(intent->data_id.value(), shorter->data_id());

  EXPECT_EQ(CodeOf(meta_.Truncate(file_, 5000)), Code::kBusy);
  EXPECT_EQ(CodeOf(meta_.Fsync(file_, Epoch(), 5000)), Code::kBusy);
  EXPECT_TRUE(meta_.Fsync(file_, Epoch(), 3000).ok());
  Finish(*intent);
  EXPECT_EQ(CodeOf(Intent()), Code::kNoData);
  EXPECT_EQ(meta_.Truncate(file_, 5000)->size(), 5000u);
  EXPECT_EQ(CodeOf(Intent()), Code::kNoData) << "extending leaves nothing to trim";
}

TEST_F(FileTest, AShorteningWhileOneIsPendingReplacesIt) {
  Grow(10000);
  ASSERT_TRUE(meta_.Truncate(file_, 6000).ok());
  const auto first = *Intent();
  ASSERT_TRUE(meta_.Truncate(file_, 2000).ok());
  Finish(first);
  const auto second = Intent();
  ASSERT_TRUE(second.ok()) << "the first one's end does not end the second";
  EXPECT_EQ(second->keep_bytes, 2000u);
  EXPECT_EQ(second->old_bytes, 10000u);
  ASSERT_TRUE(meta_.Truncate(file_, 0).ok());
  EXPECT_EQ(CodeOf(Intent()), Code::kNoData) << "it was about the old data";
}

TEST_F(FileTest, LimitsAndTypesOfTruncate) {
  EXPECT_EQ(CodeOf(meta_.Truncate(file_, kMaxFileSize + 1)), Code::kFileTooBig);
  EXPECT_EQ(CodeOf(meta_.Fsync(file_, 1, kMaxFileSize + 1)), Code::kFileTooBig);
  EXPECT_TRUE(meta_.Truncate(file_, kMaxFileSize).ok());
  EXPECT_EQ(CodeOf(meta_.Truncate(kRoot, 0)), Code::kIsDirectory);
  EXPECT_EQ(CodeOf(meta_.Truncate(meta_.Mknod(kRoot, "p", S_IFIFO)->inode(), 0)), Code::kInvalid);
}

TEST_F(FileTest, TruncateNeedsTheRightToWriteUnlessByHandle) {
  ASSERT_TRUE(meta_.Chmod(file_, 0644).ok());
  meta_.ActAs(kAlice, kAlice);
  EXPECT_EQ(CodeOf(meta_.Truncate(file_, 10)), Code::kAccess);
  EXPECT_TRUE(meta_.Truncate(file_, 10, /*from_handle=*/true).ok());
}

TEST_F(FileTest, WritingDropsSetUserId) {
  ASSERT_TRUE(meta_.Chmod(file_, 06777).ok());
  EXPECT_EQ(meta_.Truncate(file_, 5)->mode() & 07000, 06000u) << "not for the superuser";
  meta_.ActAs(kAlice, kAlice);
  EXPECT_EQ(meta_.Truncate(file_, 6)->mode() & 07000, 0u);
  meta_.ActAs(0, 0);
  ASSERT_TRUE(meta_.Chmod(file_, 06767).ok());
  meta_.ActAs(kAlice, kAlice);
  EXPECT_EQ(meta_.Fsync(file_, Epoch(), 6)->mode() & 07000, 02000u) << "group may not execute";
}

TEST_F(FileTest, AnUnlinkedFileCanStillBeWrittenAndClosed) {
  ASSERT_TRUE(meta_.Open(file_, O_RDWR).ok());
  ASSERT_TRUE(meta_.Unlink(kRoot, "f").ok());
  EXPECT_EQ(meta_.Fsync(file_, 1, 700)->size(), 700u);
  EXPECT_EQ(meta_.TotalUsage().bytes, 0u) << "its bytes are out of the totals";
  EXPECT_TRUE(meta_.Close(file_, 1, 900).ok());
}

TEST_F(FileTest, AppendsGetRangesOneBehindTheOther) {
  ASSERT_TRUE(meta_.Open(file_, O_WRONLY).ok());
  Grow(100);
  EXPECT_EQ(*meta_.ReserveAppend(file_, Epoch(), 0, 50), 100u);
  EXPECT_EQ(*meta_.ReserveAppend(file_, Epoch(), 0, 50), 150u);
  EXPECT_EQ(Attr(file_).size(), 100u) << "the report after the write raises the length";
  EXPECT_EQ(*meta_.ReserveAppend(file_, Epoch(), 1000, 10), 1000u) << "behind its own bytes";
  EXPECT_EQ(*meta_.ReserveAppend(file_, Epoch() + 1, 9000, 10), 1010u) << "of another epoch";
  Grow(5000);
  EXPECT_EQ(*meta_.ReserveAppend(file_, Epoch(), 0, 10), 5000u);
}

TEST_F(FileTest, ATruncateDropsReservations) {
  ASSERT_TRUE(meta_.Open(file_, O_WRONLY).ok());
  Grow(100);
  ASSERT_TRUE(meta_.ReserveAppend(file_, Epoch(), 0, 5000).ok());
  ASSERT_TRUE(meta_.Truncate(file_, 40).ok());
  EXPECT_EQ(CodeOf(meta_.ReserveAppend(file_, Epoch(), 0, 10)), Code::kBusy);
  Finish(*Intent());
  EXPECT_EQ(*meta_.ReserveAppend(file_, Epoch(), 0, 10), 40u);
  ASSERT_TRUE(meta_.Truncate(file_, 0).ok());
  EXPECT_EQ(*meta_.ReserveAppend(file_, Epoch(), 0, 10), 0u);
}

TEST_F(FileTest, ReservingNeedsTheWriteOpenAndKeepsToTheLimits) {
  EXPECT_EQ(CodeOf(meta_.ReserveAppend(file_, Epoch(), 0, 10)), Code::kBadHandle);
  ASSERT_TRUE(meta_.Open(file_, O_WRONLY).ok());
  EXPECT_EQ(CodeOf(meta_.ReserveAppend(file_, Epoch(), 0, 0)), Code::kInvalid);
  EXPECT_EQ(CodeOf(meta_.ReserveAppend(file_, Epoch(), 0, kMaxAppendBytes + 1)), Code::kInvalid);
  EXPECT_EQ(CodeOf(meta_.ReserveAppend(file_, Epoch(), UINT64_MAX, 10)), Code::kFileTooBig);
  EXPECT_EQ(CodeOf(meta_.ReserveAppend(file_, Epoch(), kMaxFileSize - 9, 10)), Code::kFileTooBig);
  EXPECT_EQ(*meta_.ReserveAppend(file_, Epoch(), kMaxFileSize - 10, 10), kMaxFileSize - 10);
  EXPECT_EQ(CodeOf(meta_.ReserveAppend(kRoot, 1, 0, 10)), Code::kIsDirectory);
  ASSERT_TRUE(meta_.Close(file_).ok());
  EXPECT_EQ(CodeOf(meta_.ReserveAppend(file_, Epoch(), 0, 10)), Code::kBadHandle);
}

TEST_F(FileTest, SettleLengthOnlyRaisesLivingData) {
  Grow(100);
  const DataId data(Attr(file_).data_id());
  const auto settle = [&](DataId id, uint64_t length) {
    ASSERT_TRUE(
        meta_.Run([&](OpContext& ctx) { return SettleLength(ctx, InodeId(file_), id, length); })
            .ok());
  };
  settle(data, 50);
  EXPECT_EQ(Attr(file_).size(), 100u);
  settle(DataId(data.value() + 1), 500);
  EXPECT_EQ(Attr(file_).size(), 100u);
  settle(data, 500);
  EXPECT_EQ(Attr(file_).size(), 500u);
}

TEST_F(FileTest, DropWriteOpensEndsASessionsWriters) {
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(meta_.Create(kRoot, "w" + std::to_string(i), 0644, O_WRONLY).ok());
  }
  bool more = true;
  int steps = 0;
  while (more) {
    ASSERT_TRUE(meta_
                    .Run([&](OpContext& ctx) -> Status {
                      ASSIGN_OR_RETURN(more, DropWriteOpens(ctx, meta_.session(), 2));
                      return Status::Ok();
                    })
                    .ok());
    ++steps;
  }
  EXPECT_EQ(steps, 3);
  EXPECT_EQ(WriteOpens(), 0u);
}

TEST_F(FileTest, FinishRemovalForgetsInodeAndXattrs) {
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(meta_.SetXattr(file_, "user.x" + std::to_string(i), "v").ok());
  }
  ASSERT_TRUE(meta_.Unlink(kRoot, "f").ok());
  bool more = true;
  while (more) {
    ASSERT_TRUE(meta_
                    .Run([&](OpContext& ctx) -> Status {
                      ASSIGN_OR_RETURN(more, FinishRemoval(ctx, RemovalEpoch(1), 2));
                      return Status::Ok();
                    })
                    .ok());
  }
  EXPECT_EQ(CodeOf(meta_.GetAttr(file_)), Code::kStale);
  EXPECT_TRUE(kv_.Rows(TableRange(Table::kXattr).begin).empty());
  EXPECT_TRUE(meta_.Removals()->empty());
}

}  // namespace
}  // namespace sheaf::meta
