#include "client/file/file_ops.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "tests/client/fake_storage.h"
#include "tests/client/meta/fake_services.h"

namespace sheaf::client {
namespace {

using ::testing::ElementsAre;

// Files over a fake metadata service and fake storage.
class FileOpsTest : public ::testing::Test {
 protected:
  FileOpsTest() : cluster_(services_.server->address()) {
    proto::Attr& file = services_.meta.file;
    file.set_inode(9);
    file.set_mode(S_IFREG | 0644);
    file.set_data_id(50);
    file.set_size_epoch(1);
    file.set_version(1);
    file.mutable_layout()->set_chunk_size_log2(kMinChunkSizeLog2);
    file.mutable_layout()->set_table_version(1);
    auto session = Session::Open(cluster_, "test", inodes_);
    CHECK(session.ok(), session.status().ToString());
    session_ = std::move(*session);
    meta_ = std::make_unique<MetaClient>(services_.server->address(),
                                         std::chrono::milliseconds(30'000), *session_);
    chunks_ = std::make_unique<ChunkClient>(ChunkClient::Options(), storage_, storage_);
    ops_ = std::make_unique<FileOps>(FileOps::Options(), *meta_, *chunks_, inodes_,
                                     [](InodeId) {});
  }
  std::shared_ptr<File> Open(int flags = O_RDWR) {
    auto file = ops_->Open({}, InodeId(9), flags);
    CHECK(file.ok(), file.status().ToString());
    return *file;
  }
  static std::vector<uint8_t> Bytes(size_t size, uint8_t first = 1) {
    std::vector<uint8_t> bytes(size);
    std::iota(bytes.begin(), bytes.end(), first);
    return bytes;
  }
  std::vector<std::string> Calls() {
    const std::lock_guard lock(services_.meta.mutex);
    return services_.meta.calls;
  }

  FakeServices services_;
  ClusterClient cluster_;
  InodeTable inodes_;
  FakeStorage storage_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<MetaClient> meta_;
  std::unique_ptr<ChunkClient> chunks_;
  std::unique_ptr<FileOps> ops_;
};

TEST_F(FileOpsTest, CutsAWriteAtChunkBordersAndReadsItBack) {
  const auto file = Open();
  const auto bytes = Bytes(200'000);
  ASSERT_EQ(*file->Write(1000, bytes), bytes.size());
  EXPECT_EQ(storage_.chunk(50, 0).size(), 65536u);
  EXPECT_EQ(storage_.chunk(50, 3).size(), 201'000u - 3 * 65536u);
  std::vector<uint8_t> read(300'000, 0xee);
  ASSERT_EQ(*file->Read(0, read), 201'000u);
  EXPECT_TRUE(std::all_of(read.begin(), read.begin() + 1000, [](uint8_t b) { return b == 0; }));
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), read.begin() + 1000));
  EXPECT_EQ(*file->Read(201'000, read), 0u);
}

TEST_F(FileOpsTest, ReportsTheLengthOnceAtSyncAndNotAgainAtClose) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  ASSERT_TRUE(file->Sync().ok());
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_EQ(services_.meta.file.size(), 100u);
  ASSERT_TRUE(file->Close().ok());
  EXPECT_THAT(Calls(), ElementsAre("open", "fsync", "close"));
}

TEST_F(FileOpsTest, CloseReportsWhatWasNotSynced) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  ASSERT_TRUE(file->Close().ok());
  EXPECT_EQ(services_.meta.file.size(), 100u);
  EXPECT_THAT(Calls(), ElementsAre("open", "close+report"));
  EXPECT_FALSE(inodes_.IsOpen(InodeId(9)));
}

TEST_F(FileOpsTest, ClosingAReaderAsksNothing) {
  const auto file = Open(O_RDONLY);
  ASSERT_TRUE(file->Close().ok());
  EXPECT_THAT(Calls(), ElementsAre("open"));
}

TEST_F(FileOpsTest, AnExplicitTimeIsNotUndoneByALaterClose) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  ASSERT_TRUE(ops_->SetAttr({}, InodeId(9), {.mtime_ns = 42}, file.get()).ok());
  ASSERT_TRUE(file->Close().ok());
  EXPECT_EQ(services_.meta.file.mtime_ns(), 42);
  EXPECT_THAT(Calls(), ElementsAre("open", "fsync", "setattr", "close"));
}

TEST_F(FileOpsTest, StatKnowsTheLengthBeforeItIsReported) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  const auto attr = file->Stat();
  ASSERT_TRUE(attr.ok());
  EXPECT_EQ(attr->size, 100u);
  EXPECT_EQ(services_.meta.file.size(), 0u);
}

TEST_F(FileOpsTest, TruncationReportsFirstAndGoesOnWithTheNewBytes) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  ASSERT_TRUE(file->Truncate(0).ok());
  EXPECT_THAT(Calls(), ElementsAre("open", "fsync", "truncate"));
  std::vector<uint8_t> read(10);
  EXPECT_EQ(*file->Read(0, read), 0u);
  ASSERT_TRUE(file->Write(5, Bytes(5)).ok());
  EXPECT_EQ(storage_.chunk(51, 0).size(), 10u);
  EXPECT_EQ(*file->Read(0, read), 10u);
  EXPECT_THAT(read, ElementsAre(0, 0, 0, 0, 0, 1, 2, 3, 4, 5));
}

TEST_F(FileOpsTest, OpeningWithTruncationDropsALengthOnlyKnownHere) {
  const auto writer = Open();
  ASSERT_TRUE(writer->Write(0, Bytes(100)).ok());
  const auto other = Open(O_RDWR | O_TRUNC);
  EXPECT_EQ(writer->Stat()->size, 0u);
  ASSERT_TRUE(writer->Close().ok());
  EXPECT_EQ(services_.meta.file.size(), 0u);
}

TEST_F(FileOpsTest, AppendsFollowOneAnother) {
  const auto first = Open();
  const auto second = Open();
  EXPECT_EQ(*first->Append(Bytes(10)), 0u);
  EXPECT_EQ(*second->Append(Bytes(10)), 10u);
  EXPECT_EQ(*first->Append(Bytes(10)), 20u);
}

TEST_F(FileOpsTest, AFailedWriteIsToldAndLeavesTheLength) {
  const auto file = Open();
  storage_.FailNext(Code::kNoSpace);
  EXPECT_EQ(file->Write(0, Bytes(100)).status().code(), Code::kNoSpace);
  EXPECT_EQ(file->Stat()->size, 0u);
}

TEST_F(FileOpsTest, AFailedReportIsToldAndMadeAgain) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  services_.meta.FailNext(Code::kIo);
  EXPECT_EQ(file->Sync().code(), Code::kIo);
  EXPECT_TRUE(file->Sync().ok());
  EXPECT_EQ(services_.meta.file.size(), 100u);
}

TEST_F(FileOpsTest, RefusesWhatTheHandleWasNotOpenedFor) {
  std::vector<uint8_t> bytes(10);
  EXPECT_EQ(Open(O_RDONLY)->Write(0, bytes).status().code(), Code::kBadHandle);
  EXPECT_EQ(Open(O_WRONLY)->Read(0, bytes).status().code(), Code::kBadHandle);
  EXPECT_EQ(Open(O_RDONLY)->Truncate(0).code(), Code::kInvalid);
}

TEST_F(FileOpsTest, RefusesOffsetsPastTheLargestFile) {
  const auto file = Open();
  EXPECT_EQ(file->Write(kMaxFileSize - 1, Bytes(2)).status().code(), Code::kFileTooBig);
  EXPECT_EQ(file->Truncate(kMaxFileSize + 1).code(), Code::kFileTooBig);
}

TEST_F(FileOpsTest, ClosedHandlesAnswerBadHandle) {
  const auto file = Open();
  ASSERT_TRUE(file->Close().ok());
  std::vector<uint8_t> bytes(10);
  EXPECT_EQ(file->Read(0, bytes).status().code(), Code::kBadHandle);
  EXPECT_EQ(file->Close().code(), Code::kBadHandle);
}

}  // namespace
}  // namespace sheaf::client
