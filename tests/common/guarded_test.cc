#include "common/guarded.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "common/buffer.h"
#include "common/fd.h"

namespace sheaf {
namespace {

TEST(GuardedTest, OneThreadAtATime) {
  Guarded<int> count(0);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 1000; ++j) ++*count.Lock();
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(*count.Lock(), 4000);
}

TEST(GuardedTest, WaitsForAChange) {
  Guarded<bool> ready(false);
  std::condition_variable changed;
  std::thread setter([&] {
    *ready.Lock() = true;
    changed.notify_all();
  });
  auto locked = ready.Lock();
  locked.Wait(changed, [&] { return *locked; });
  EXPECT_TRUE(*locked);
  setter.join();
}

TEST(UniqueFdTest, MovesAndClosesOnce) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  UniqueFd read_end(ends[0]);
  {
    UniqueFd write_end(ends[1]);
    UniqueFd moved(std::move(write_end));
    EXPECT_FALSE(write_end.IsOpen());  // NOLINT: what a moved-from one is, is the point
    EXPECT_TRUE(moved.IsOpen());
  }
  char byte;
  EXPECT_EQ(read(read_end.get(), &byte, 1), 0) << "the write end is still open";
}

TEST(AlignedBufferTest, RoundsSizesUpToWhatDirectIoNeeds) {
  AlignedBuffer buffer(5000);
  EXPECT_EQ(buffer.size(), 2 * kDirectAlignment);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % kDirectAlignment, 0u);
  EXPECT_EQ(AlignedBuffer(0).size(), 0u);
}

}  // namespace
}  // namespace sheaf
