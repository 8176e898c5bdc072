#include "storage/service/data_checks.h"

#include <gtest/gtest.h>

#include "tests/storage/service/data_rig.h"

namespace sheaf::storage {
namespace {

constexpr uint32_t kMax = 4 << 20;

TEST(DataChecksTest, AReadWithinTheLargestChunkIsFine) {
  EXPECT_TRUE(CheckRead(DataRig::ReadOf(1, 0, kMax), kMax).ok());
  EXPECT_TRUE(CheckRead(DataRig::ReadOf(1, (64 << 20) - 10, 10), kMax).ok());
  EXPECT_TRUE(CheckRead(DataRig::ReadOf(1, 5, 0), kMax).ok());
}

TEST(DataChecksTest, AReadOutsideEveryChunkIsRefused) {
  EXPECT_EQ(CheckRead(DataRig::ReadOf(1, (64 << 20) - 10, 11), kMax).code(), Code::kInvalid);
  EXPECT_EQ(CheckRead(DataRig::ReadOf(1, UINT32_MAX, kMax), kMax).code(), Code::kInvalid);
  EXPECT_EQ(CheckRead(DataRig::ReadOf(1, 0, kMax + 1), kMax).code(), Code::kTooBig);
  EXPECT_EQ(CheckRead(DataRig::ReadOf(1, 0, UINT32_MAX), kMax).code(), Code::kTooBig);
}

TEST(DataChecksTest, ContextAndDataIdAreRequired) {
  proto::ReadChunkRequest read = DataRig::ReadOf(0, 0, 1);
  EXPECT_EQ(CheckRead(read, kMax).code(), Code::kInvalid);
  read = DataRig::ReadOf(1, 0, 1);
  read.mutable_ctx()->set_chain_id(0);
  EXPECT_EQ(CheckRead(read, kMax).code(), Code::kInvalid);
  read = DataRig::ReadOf(1, 0, 1);
  read.mutable_ctx()->set_chain_version(0);
  EXPECT_EQ(CheckRead(read, kMax).code(), Code::kInvalid);
  EXPECT_EQ(CheckRead({}, kMax).code(), Code::kInvalid);
  EXPECT_EQ(CheckRemove({}).code(), Code::kInvalid);
  EXPECT_EQ(CheckList({}).code(), Code::kInvalid);
}

TEST(DataChecksTest, ChunkSizesArePowersOfTwoWithinTheLayoutsRange) {
  proto::WriteChunkRequest write = DataRig::WriteOf(1, 0, "x");
  for (uint32_t good : {1u << 16, 1u << 22, 1u << 26}) {
    write.set_chunk_size(good);
    EXPECT_TRUE(CheckWrite(write, 1, kMax).ok()) << good;
  }
  for (uint32_t bad : {0u, 1u << 15, 1u << 27, (1u << 22) + 1, UINT32_MAX}) {
    write.set_chunk_size(bad);
    EXPECT_EQ(CheckWrite(write, 1, kMax).code(), Code::kInvalid) << bad;
  }
}

TEST(DataChecksTest, AWriteNeverPassesItsChunksEnd) {
  proto::WriteChunkRequest write = DataRig::WriteOf(1, (1 << 22) - 4, "");
  EXPECT_TRUE(CheckWrite(write, 4, kMax).ok());
  EXPECT_EQ(CheckWrite(write, 5, kMax).code(), Code::kInvalid);
  EXPECT_EQ(CheckWrite(write, 0, kMax).code(), Code::kInvalid);
  write.set_offset(UINT32_MAX);
  EXPECT_EQ(CheckWrite(write, 4, kMax).code(), Code::kInvalid);
  write.set_offset(0);
  EXPECT_EQ(CheckWrite(write, kMax + 1, kMax).code(), Code::kTooBig);
}

TEST(DataChecksTest, ATruncateStaysWithinItsChunk) {
  proto::TruncateChunkRequest request;
  DataRig::SetContext(request);
  request.mutable_chunk()->set_data_id(1);
  request.set_chunk_size(1 << 16);
  request.set_length(1 << 16);
  EXPECT_TRUE(CheckTruncate(request).ok());
  request.set_length((1 << 16) + 1);
  EXPECT_EQ(CheckTruncate(request).code(), Code::kInvalid);
}

}  // namespace
}  // namespace sheaf::storage
