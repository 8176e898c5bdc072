#include "fuse/invalidator.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <latch>

namespace sheaf::fuse {
namespace {

TEST(InvalidatorTest, DropsEachInodeOnItsOwnThread) {
  std::promise<std::pair<InodeId, std::thread::id>> dropped;
  Invalidator invalidator([&](InodeId inode) {
    dropped.set_value({inode, std::this_thread::get_id()});
  });
  ASSERT_TRUE(invalidator.Add(InodeId(3)));
  const auto [inode, thread] = dropped.get_future().get();
  EXPECT_EQ(inode, InodeId(3));
  EXPECT_NE(thread, std::this_thread::get_id());
}

TEST(InvalidatorTest, RefusesMoreThanItsLimit) {
  std::latch release(1);
  Invalidator invalidator([&](InodeId) { release.wait(); });
  bool refused = false;
  for (uint64_t i = 1; i <= 5000 && !refused; ++i) refused = !invalidator.Add(InodeId(i));
  EXPECT_TRUE(refused);
  release.count_down();
}

TEST(InvalidatorTest, DropsNothingAfterFinish) {
  std::atomic<int> drops{0};
  Invalidator invalidator([&](InodeId) { ++drops; });
  invalidator.Finish(std::chrono::milliseconds(0));
  EXPECT_FALSE(invalidator.Add(InodeId(1)));
  EXPECT_EQ(drops.load(), 0);
}

}  // namespace
}  // namespace sheaf::fuse
