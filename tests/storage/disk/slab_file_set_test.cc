#include "storage/disk/slab_file_set.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "tests/support/sync_log.h"
#include "tests/support/temp_dir.h"

namespace sheaf::storage {
namespace {

using sheaf::testing::SyncLog;
using ::testing::ElementsAre;

class SlabFileSetTest : public ::testing::Test {
 protected:
  std::shared_ptr<SlabFileSet> Open() {
    auto set = SlabFileSet::Open(dir_ / "slabs", table_);
    CHECK(set.ok(), set.status().ToString());
    return *set;
  }
  struct stat StatOf(const std::string& path) {
    struct stat info {};
    CHECK(::stat(path.c_str(), &info) == 0, path);
    return info;
  }

  sheaf::testing::TempDir dir_;
  std::shared_ptr<FileTable> table_ = std::make_shared<FileTable>();
};

TEST_F(SlabFileSetTest, PreallocatesAndMakesTheFileKnown) {
  auto set = Open();
  auto slot = set->Open(3, 8 << 20, /*create=*/true);
  ASSERT_TRUE(slot.ok()) << slot.status().ToString();
  const struct stat info = StatOf(set->PathOf(3));
  EXPECT_EQ(info.st_size, 8 << 20);
  EXPECT_GE(info.st_blocks * 512, 8 << 20) << "blocks are not allocated";
  ASSERT_NE(table_->Get(*slot), nullptr);
  EXPECT_EQ(table_->Get(*slot)->path, set->PathOf(3));
  EXPECT_TRUE(set->Sync(*slot).ok());
}

TEST_F(SlabFileSetTest, ANewSlabIsSyncedBeforeItsName) {
  auto set = Open();
  const SyncLog log(dir_.path());
  ASSERT_TRUE(set->Open(3, 1 << 20, /*create=*/true).ok());
  EXPECT_THAT(log.events(), ElementsAre("fsync slabs/slab.00000003, 1048576 bytes", "fsync slabs"));
}

TEST_F(SlabFileSetTest, ASyncIsOfTheSlabsData) {
  auto set = Open();
  ASSERT_TRUE(set->Open(3, 1 << 20, true).ok());
  const auto slot = set->Open(4, 1 << 20, true);
  ASSERT_TRUE(slot.ok());
  const SyncLog log(dir_.path());
  ASSERT_TRUE(set->Sync(*slot).ok());
  EXPECT_THAT(log.events(), ElementsAre("fdatasync slabs/slab.00000004, 1048576 bytes"));
}

TEST_F(SlabFileSetTest, OpensOnceAndAnswersTheSameSlot) {
  auto set = Open();
  auto first = set->Open(0, 1 << 20, true);
  auto second = set->Open(0, 1 << 20, false);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(*first, *second);
}

TEST_F(SlabFileSetTest, SlotsOfTwoTargetsDiffer) {
  auto other = SlabFileSet::Open(dir_ / "other", table_);
  ASSERT_TRUE(other.ok());
  EXPECT_NE(*Open()->Open(0, 1 << 20, true), *(*other)->Open(0, 1 << 20, true));
}

TEST_F(SlabFileSetTest, FindsItsFilesAgain) {
  ASSERT_TRUE(Open()->Open(0, 1 << 20, true).ok());
  EXPECT_TRUE(Open()->Open(0, 1 << 20, false).ok());
}

TEST_F(SlabFileSetTest, CompletesAFileThatACrashLeftShort) {
  auto set = Open();
  UniqueFd left(::open(set->PathOf(1).c_str(), O_CREAT | O_WRONLY, 0600));
  ASSERT_TRUE(left.IsOpen());
  ASSERT_TRUE(set->Open(1, 1 << 20, true).ok());
  EXPECT_EQ(StatOf(set->PathOf(1)).st_size, 1 << 20);
}

TEST_F(SlabFileSetTest, ReportsAMissingAndAShortFile) {
  auto set = Open();
  EXPECT_EQ(set->Open(7, 1 << 20, false).status().code(), Code::kNotFound);
  ASSERT_TRUE(set->Open(8, 1 << 20, true).ok());
  EXPECT_EQ(Open()->Open(8, 2 << 20, false).status().code(), Code::kCorrupt);
}

TEST_F(SlabFileSetTest, LeavesNothingBehindWhenTheDiskCannotHoldIt) {
  // A file size limit stands in for the full disk; it ends preallocation the same way.
  auto set = Open();
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  struct rlimit small = before;
  small.rlim_cur = 1 << 20;
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  auto slot = set->Open(0, 64 << 20, true);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_FALSE(slot.ok());
  EXPECT_NE(::access(set->PathOf(0).c_str(), F_OK), 0);
}

TEST_F(SlabFileSetTest, TellsTheSizeOfItsFileSystem) {
  auto set = Open();
  ASSERT_TRUE(set->FreeBytes().ok());
  ASSERT_TRUE(set->TotalBytes().ok());
  EXPECT_GT(*set->TotalBytes(), *set->FreeBytes());
}

TEST_F(SlabFileSetTest, RefusesToSyncASlotNobodyHas) { EXPECT_FALSE(Open()->Sync(99).ok()); }

}  // namespace
}  // namespace sheaf::storage
