#include "storage/disk/disk_context.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstring>
#include <optional>
#include <thread>

#include "storage/disk/slab_file_set.h"
#include "tests/support/temp_dir.h"

namespace sheaf::storage {
namespace {

constexpr uint64_t kSlabBytes = 4 << 20;
constexpr std::chrono::seconds kLong{10};

class DiskContextTest : public ::testing::Test {
 protected:
  DiskContextTest() {
    auto slabs = SlabFileSet::Open(dir_ / "slabs", table_);
    CHECK(slabs.ok());
    slabs_ = *slabs;
    auto slot = slabs_->Open(0, kSlabBytes, true);
    CHECK(slot.ok(), slot.status().ToString());
    slot_ = *slot;
  }

  std::unique_ptr<DiskContext> Create(uint64_t bytes = 16 << 20) {
    DiskContext::Options options;
    options.buffer_bytes = bytes;
    options.files = table_;
    auto context = DiskContext::Create(options);
    CHECK(context.ok(), context.status().ToString());
    return std::move(*context);
  }

  Status Write(DiskContext& context, uint64_t offset, BufferRef buffer) {
    std::optional<Status> done;
    context.Write(slot_, offset, buffer, buffer->span(), [&](Status status) { done = status; });
    EXPECT_FALSE(done.has_value()) << "completed inside the call";
    while (!done) context.RunOnce(kLong);
    return *done;
  }

  Status Read(DiskContext& context, FileSlot slot, uint64_t offset, BufferRef buffer) {
    std::optional<Status> done;
    context.Read(slot, offset, buffer, buffer->span(), [&](Status status) { done = status; });
    EXPECT_FALSE(done.has_value()) << "completed inside the call";
    while (!done) context.RunOnce(kLong);
    return *done;
  }

  sheaf::testing::TempDir dir_;
  std::shared_ptr<FileTable> table_ = std::make_shared<FileTable>();
  std::shared_ptr<SlabFileSet> slabs_;
  FileSlot slot_ = 0;
};

TEST_F(DiskContextTest, ReadsBackWhatItWrote) {
  auto context = Create();
  BufferRef out = context->Allocate(1 << 20);
  for (size_t i = 0; i < out->span().size(); ++i) out->span()[i] = static_cast<uint8_t>(i * 7);
  ASSERT_TRUE(Write(*context, 8192, out).ok());
  ASSERT_TRUE(slabs_->Sync(slot_).ok());
  BufferRef in = context->Allocate(1 << 20);
  std::memset(in->span().data(), 0, in->span().size());
  ASSERT_TRUE(Read(*context, slot_, 8192, in).ok());
  EXPECT_EQ(std::memcmp(in->span().data(), out->span().data(), 1 << 20), 0);
}

TEST_F(DiskContextTest, ASlabMadeLaterIsKnownToo) {
  auto context = Create();
  auto later = slabs_->Open(1, kSlabBytes, true);
  ASSERT_TRUE(later.ok());
  EXPECT_TRUE(Read(*context, *later, 0, context->Allocate(4096)).ok());
}

TEST_F(DiskContextTest, ReportsAReadPastTheEndAndAnUnknownSlot) {
  auto context = Create();
  EXPECT_EQ(Read(*context, slot_, kSlabBytes, context->Allocate(4096)).code(), Code::kIo);
  EXPECT_EQ(Read(*context, slot_, kSlabBytes - 4096, context->Allocate(8192)).code(), Code::kIo);
  EXPECT_EQ(Read(*context, 999, 0, context->Allocate(4096)).code(), Code::kIo);
}

TEST_F(DiskContextTest, KeepsTheBufferUntilTheTransferIsDone) {
  auto context = Create();
  bool done = false;
  {
    BufferRef buffer = context->Allocate(4096);
    std::span<uint8_t> bytes = buffer->span();
    context->Read(slot_, 0, std::move(buffer), bytes, [&](Status) { done = true; });
  }
  EXPECT_EQ(context->pool().used_bytes(), 4096u);
  while (!done) context->RunOnce(kLong);
  EXPECT_EQ(context->pool().used_bytes(), 0u);
}

TEST_F(DiskContextTest, ManyTransfersAtOnce) {
  auto context = Create();
  int done = 0;
  for (int i = 0; i < 2000; ++i) {
    BufferRef buffer = context->Allocate(4096);
    ASSERT_NE(buffer, nullptr);
    std::span<uint8_t> bytes = buffer->span();
    context->Read(slot_, (i % 1024) * 4096, buffer, bytes, [&](Status status) {
      EXPECT_TRUE(status.ok()) << status.ToString();
      ++done;
    });
  }
  while (done < 2000) context->RunOnce(kLong);
  EXPECT_EQ(context->transfers_in_flight(), 0u);
}

TEST_F(DiskContextTest, DrainReportsEveryTransfer) {
  auto context = Create();
  int done = 0;
  for (int i = 0; i < 100; ++i) {
    BufferRef buffer = context->Allocate(64 << 10);
    std::span<uint8_t> bytes = buffer->span();
    context->Read(slot_, 0, buffer, bytes, [&](Status) { ++done; });
  }
  context->Drain();
  EXPECT_EQ(done, 100);
}

TEST_F(DiskContextTest, PostsFromOtherThreadsRunHere) {
  auto context = Create();
  constexpr int kEach = 1000;
  std::atomic<int> ran{0};
  const auto here = std::this_thread::get_id();
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i)
        context->Post([&] {
          EXPECT_EQ(std::this_thread::get_id(), here);
          ++ran;
        });
    });
  while (ran < 3 * kEach) context->RunOnce(kLong);
  for (std::thread& thread : threads) thread.join();
}

TEST_F(DiskContextTest, APostEndsAWait) {
  auto context = Create();
  bool ran = false;
  std::thread other([&] { context->Post([&] { ran = true; }); });
  while (!ran) context->RunOnce(kLong);
  other.join();
  context->Post([&] { context->Post([&] { ran = false; }); });
  while (ran) context->RunOnce(kLong);
}

TEST_F(DiskContextTest, ASmallMemlockLimitCostsRegistrationOnly) {
  // Root is exempt from the limit; there the test shows that a full registration works as well.
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_MEMLOCK, &before), 0);
  struct rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(::setrlimit(RLIMIT_MEMLOCK, &none), 0);
  auto context = Create(64 << 20);
  ASSERT_EQ(::setrlimit(RLIMIT_MEMLOCK, &before), 0);
  EXPECT_LE(context->registered_bytes(), 64u << 20);
  EXPECT_TRUE(Write(*context, 0, context->Allocate(8192)).ok());
  EXPECT_TRUE(Read(*context, slot_, 0, context->Allocate(8192)).ok());
}

}  // namespace
}  // namespace sheaf::storage
