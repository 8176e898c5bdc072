#include "client/file/file_ops.h"

#include <gmock/gmock.h>

#include "tests/client/file/file_rig.h"

namespace sheaf::client {
namespace {

using ::testing::ElementsAre;

// Without write-behind and read-ahead: each call does what it says at once.
class FileOpsTest : public FileRig {
 protected:
  FileOpsTest() : FileRig({.write_behind_bytes = 0, .read_ahead_bytes = 0}) {}
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

TEST_F(FileOpsTest, AHandleOfAnEarlierSessionReportsAtClose) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  storage_.ReportLost(storage_.incarnation());
  ASSERT_TRUE(file->Close().ok());
  EXPECT_THAT(Calls(), ElementsAre("open", "fsync"));
  EXPECT_EQ(ReportedLength(), 100u);
}

// The handle does not know yet, but its write-open went with the session.
TEST_F(FileOpsTest, ACloseNamesTheSessionOfItsWriteOpen) {
  const auto file = Open();
  ASSERT_TRUE(file->Write(0, Bytes(100)).ok());
  ASSERT_TRUE(session_->Replace(session_->incarnation()).ok());
  ASSERT_TRUE(file->Close().ok());
  EXPECT_THAT(Calls(), ElementsAre("open", "fsync"));
  EXPECT_EQ(ReportedLength(), 100u);
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
  EXPECT_THAT(Calls(), ElementsAre("open", "setattr", "close+report"));
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
