#include "fuse/handle_table.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>
#include <vector>

namespace sheaf::fuse {
namespace {

TEST(HandleTableTest, FindsWhatWasAddedUntilItIsRemoved) {
  HandleTable<DirectoryHandle> table;
  auto handle = std::make_shared<DirectoryHandle>();
  handle->inode = InodeId(7);
  const uint64_t number = table.Add(handle);
  ASSERT_NE(table.Find(number), nullptr);
  EXPECT_EQ(table.Find(number)->inode, InodeId(7));
  EXPECT_EQ(table.Remove(number), handle);
  EXPECT_EQ(table.Find(number), nullptr);
  EXPECT_EQ(table.Remove(number), nullptr);
}

TEST(HandleTableTest, NeverGivesANumberTwice) {
  HandleTable<DirectoryHandle> table;
  const uint64_t first = table.Add(std::make_shared<DirectoryHandle>());
  table.Remove(first);
  EXPECT_NE(table.Add(std::make_shared<DirectoryHandle>()), first);
}

TEST(HandleTableTest, DoesNotKnowNumbersOutOfTheAir) {
  HandleTable<DirectoryHandle> table;
  EXPECT_EQ(table.Find(0), nullptr);
  EXPECT_EQ(table.Find(~uint64_t{0}), nullptr);
}

TEST(HandleTableTest, KeepsAHandleAliveForItsUsersAfterRemoval) {
  HandleTable<DirectoryHandle> table;
  const uint64_t number = table.Add(std::make_shared<DirectoryHandle>());
  auto used = table.Find(number);
  table.Clear();
  EXPECT_EQ(table.size(), 0u);
  EXPECT_EQ(used.use_count(), 1);
}

TEST(HandleTableTest, ServesManyThreadsAtOnce) {
  constexpr int kThreads = 4;
  constexpr int kEach = 2000;
  HandleTable<DirectoryHandle> table;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&table] {
      for (int i = 0; i < kEach; ++i) {
        const uint64_t number = table.Add(std::make_shared<DirectoryHandle>());
        ASSERT_NE(table.Find(number), nullptr);
        if (i % 2 == 0) {
          ASSERT_NE(table.Remove(number), nullptr);
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(table.size(), size_t{kThreads} * kEach / 2);
}

}  // namespace
}  // namespace sheaf::fuse
