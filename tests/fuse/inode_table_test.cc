#include "fuse/inode_table.h"

#include <gtest/gtest.h>

#include <thread>

namespace sheaf::fuse {
namespace {

constexpr InodeId kInode{42};
const ContentVersion kOld{.version = 1, .data_id = DataId(5), .mtime_ns = 100};
const ContentVersion kNew{.version = 2, .data_id = DataId(5), .mtime_ns = 200};

TEST(InodeTableTest, ForgetsAnInodeWhenTheLastLookupIsTakenBack) {
  InodeTable table;
  table.AddLookup(kInode);
  table.AddLookup(kInode);
  EXPECT_EQ(table.LookupCount(kInode), 2u);
  table.Forget(kInode, 1);
  EXPECT_EQ(table.LookupCount(kInode), 1u);
  table.Forget(kInode, 1);
  EXPECT_EQ(table.size(), 0u);
}

TEST(InodeTableTest, BearsMoreForgetsThanLookups) {
  InodeTable table;
  table.Forget(kInode, 3);
  table.AddLookup(kInode);
  table.Forget(kInode, 99);
  EXPECT_EQ(table.size(), 0u);
}

TEST(InodeTableTest, KeepsTheCacheOnlyOfAnUnchangedFile) {
  InodeTable table;
  table.AddLookup(kInode);
  EXPECT_FALSE(table.KeepsCache(kInode, kOld)) << "first open: nothing is known of the cache";
  EXPECT_TRUE(table.KeepsCache(kInode, kOld));
  EXPECT_FALSE(table.KeepsCache(kInode, kNew));
  EXPECT_TRUE(table.KeepsCache(kInode, kNew));
}

TEST(InodeTableTest, DropsTheCacheWhenTheBytesWereSwapped) {
  InodeTable table;
  table.AddLookup(kInode);
  table.KeepsCache(kInode, kOld);
  ContentVersion swapped = kOld;
  swapped.data_id = DataId(6);
  EXPECT_FALSE(table.KeepsCache(kInode, swapped));
}

TEST(InodeTableTest, KnowsNothingOfACacheAfterForget) {
  InodeTable table;
  table.AddLookup(kInode);
  table.KeepsCache(kInode, kOld);
  table.Forget(kInode, 1);
  table.AddLookup(kInode);
  EXPECT_FALSE(table.KeepsCache(kInode, kOld));
}

TEST(InodeTableTest, KnowsWhichAttributesTheKernelHas) {
  InodeTable table;
  EXPECT_FALSE(table.HasSent(kInode, 0)) << "an inode that the kernel does not know";
  table.AddLookup(kInode);
  table.SetSentVersion(kInode, 4);
  EXPECT_TRUE(table.HasSent(kInode, 4));
  EXPECT_FALSE(table.HasSent(kInode, 5));
}

TEST(InodeTableTest, KnowsWhetherAnInodeHasWriters) {
  InodeTable table;
  auto one = std::make_shared<FileHandle>();
  auto other = std::make_shared<FileHandle>();
  table.AddWriter(kInode, one);
  table.AddWriter(kInode, other);
  table.RemoveWriter(kInode, one.get());
  EXPECT_TRUE(table.HasWriters(kInode));
  table.RemoveWriter(kInode, other.get());
  EXPECT_FALSE(table.HasWriters(kInode));
  EXPECT_EQ(table.size(), 0u);
}

TEST(InodeTableTest, HoldsAForgottenInodeWhileItIsWritten) {
  InodeTable table;
  auto handle = std::make_shared<FileHandle>();
  table.AddLookup(kInode);
  table.AddWriter(kInode, handle);
  table.Forget(kInode, 1);
  EXPECT_TRUE(table.HasWriters(kInode));
  table.RemoveWriter(kInode, handle.get());
  EXPECT_EQ(table.size(), 0u);
}

TEST(InodeTableTest, KnowsWhoseLengthWasToldSinceAMark) {
  InodeTable table;
  const auto handle = std::make_shared<FileHandle>();
  const InodeId other(kInode.value() + 1);
  for (const InodeId each : {kInode, other}) table.AddLookup(each);
  table.AddWriter(kInode, handle);
  const uint64_t before = table.WriterMark();
  EXPECT_FALSE(table.WriterToldSince(kInode, before));
  table.NoteWriterTold(kInode);
  EXPECT_TRUE(table.WriterToldSince(kInode, before));
  EXPECT_FALSE(table.WriterToldSince(other, before));
  const uint64_t between = table.WriterMark();
  EXPECT_FALSE(table.WriterToldSince(kInode, between));
  table.RemoveWriter(kInode, handle.get());
  EXPECT_TRUE(table.WriterToldSince(kInode, between));

  table.Forget(kInode, 1);  // the table has no entry of it any more
  EXPECT_TRUE(table.WriterToldSince(kInode, between));
  EXPECT_FALSE(table.WriterToldSince(other, between));
  EXPECT_FALSE(table.WriterToldSince(kInode, table.WriterMark()));
}

TEST(InodeTableTest, RemembersMissingCapabilitiesForAWhile) {
  using std::chrono::seconds;
  InodeTable table;
  table.AddLookup(kInode);
  EXPECT_FALSE(table.HasNoCapabilities(kInode, seconds(0)));
  table.SetNoCapabilities(kInode, seconds(10));
  EXPECT_TRUE(table.HasNoCapabilities(kInode, seconds(9)));
  EXPECT_FALSE(table.HasNoCapabilities(kInode, seconds(10)));
}

TEST(InodeTableTest, CountsRightUnderManyThreads) {
  constexpr int kThreads = 4;
  constexpr uint64_t kInodes = 500;
  InodeTable table;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&table] {
      for (uint64_t i = 1; i <= kInodes; ++i) {
        table.AddLookup(InodeId(i));
        table.AddLookup(InodeId(i));
        table.Forget(InodeId(i), 1);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(table.size(), kInodes);
  for (uint64_t i = 1; i <= kInodes; ++i) table.Forget(InodeId(i), kThreads);
  EXPECT_EQ(table.size(), 0u);
}

}  // namespace
}  // namespace sheaf::fuse
