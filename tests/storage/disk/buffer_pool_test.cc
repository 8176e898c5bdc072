#include "storage/disk/buffer_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "common/buffer.h"

namespace sheaf::storage {
namespace {

std::shared_ptr<BufferPool> MakePool(uint64_t bytes) {
  auto pool = BufferPool::Create(bytes);
  CHECK(pool.ok(), pool.status().ToString());
  return *pool;
}

TEST(BufferPoolTest, BuffersAreWholeAlignedPages) {
  auto pool = MakePool(1 << 20);
  for (size_t bytes : {1u, 4096u, 4097u, 100'000u}) {
    BufferRef buffer = pool->Allocate(bytes);
    ASSERT_NE(buffer, nullptr);
    EXPECT_GE(buffer->span().size(), bytes);
    EXPECT_EQ(buffer->span().size() % kDirectAlignment, 0u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->span().data()) % kDirectAlignment, 0u);
    std::memset(buffer->span().data(), 1, buffer->span().size());
  }
}

TEST(BufferPoolTest, AnswersNullWhenUsedUpAndGivesAgainAfterARelease) {
  auto pool = MakePool(64 << 10);
  BufferRef all = pool->Allocate(64 << 10);
  ASSERT_NE(all, nullptr);
  EXPECT_FALSE(pool->HasRoom(1));
  EXPECT_EQ(pool->Allocate(1), nullptr);
  all.reset();
  EXPECT_TRUE(pool->HasRoom(64 << 10));
  EXPECT_NE(pool->Allocate(1), nullptr);
}

TEST(BufferPoolTest, RefusesMoreThanItsRegion) {
  auto pool = MakePool(1 << 20);
  EXPECT_FALSE(pool->HasRoom((1 << 20) + 1));
  EXPECT_EQ(pool->Allocate((1 << 20) + 1), nullptr);
  EXPECT_EQ(pool->Allocate(SIZE_MAX), nullptr);
}

TEST(BufferPoolTest, ABufferOutlivesThePoolsOwner) {
  auto pool = MakePool(1 << 20);
  BufferRef buffer = pool->Allocate(4096);
  pool.reset();
  std::memset(buffer->span().data(), 7, 4096);
}

TEST(BufferPoolTest, BuffersMayBeLetGoOnAnyThread) {
  auto pool = MakePool(1 << 20);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        BufferRef buffer = pool->Allocate(4096 * (1 + i % 8));
        if (buffer) buffer->span()[0] = 1;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(pool->used_bytes(), 0u);
}

}  // namespace
}  // namespace sheaf::storage
