#include "client/file/inode_state.h"

#include <gtest/gtest.h>

namespace sheaf::client {
namespace {

proto::Attr AttrOf(uint64_t version, uint64_t size, uint64_t epoch = 1, uint64_t data_id = 50) {
  proto::Attr attr;
  attr.set_inode(9);
  attr.set_mode(S_IFREG | 0644);
  attr.set_version(version);
  attr.set_size(size);
  attr.set_size_epoch(epoch);
  attr.set_data_id(data_id);
  attr.set_mtime_ns(100);
  attr.mutable_layout()->set_chunk_size_log2(22);
  attr.mutable_layout()->set_table_version(1);
  return attr;
}

class InodeStateTest : public ::testing::Test {
 protected:
  InodeStateTest() { EXPECT_TRUE(state_.Adopt(AttrOf(1, 1000)).ok()); }
  uint64_t length() const { return state_.view().length; }
  InodeState state_{InodeId(9)};
};

TEST_F(InodeStateTest, AWriteRaisesTheLengthAndMakesDirty) {
  state_.NoteWrite(SizeEpoch(1), 500, 7);
  EXPECT_EQ(length(), 1000u);
  EXPECT_TRUE(state_.IsDirty());
  state_.NoteWrite(SizeEpoch(1), 1500, 8);
  EXPECT_EQ(length(), 1500u);
}

TEST_F(InodeStateTest, MetadatasShorterLengthDoesNotHideWhatWasWrittenHere) {
  state_.NoteWrite(SizeEpoch(1), 1500, 7);
  ASSERT_TRUE(state_.Adopt(AttrOf(2, 1000)).ok());
  EXPECT_EQ(length(), 1500u);
  ASSERT_TRUE(state_.Adopt(AttrOf(3, 2000)).ok());
  EXPECT_EQ(length(), 2000u);
}

TEST_F(InodeStateTest, ATruncateElsewhereIsTheTruth) {
  state_.NoteWrite(SizeEpoch(1), 1500, 7);
  ASSERT_TRUE(state_.Adopt(AttrOf(2, 10, 2, 51)).ok());
  EXPECT_EQ(length(), 10u);
  EXPECT_EQ(state_.view().data_id, DataId(51));
  EXPECT_FALSE(state_.IsDirty());
  state_.NoteWrite(SizeEpoch(1), 1500, 8);  // begun before it
  EXPECT_EQ(length(), 10u);
}

TEST_F(InodeStateTest, AnAnswerThatWasOvertakenIsIgnored) {
  ASSERT_TRUE(state_.Adopt(AttrOf(5, 0, 2, 51)).ok());
  ASSERT_TRUE(state_.Adopt(AttrOf(4, 1000, 1, 50)).ok());
  EXPECT_EQ(length(), 0u);
  EXPECT_EQ(state_.view().data_id, DataId(51));
}

TEST_F(InodeStateTest, AReportIsTakenOnceAndPutBackWhenItFails) {
  EXPECT_FALSE(state_.TakeReport().has_value());
  state_.NoteWrite(SizeEpoch(1), 1500, 7);
  state_.NoteSettled(SizeEpoch(1), 1500);
  const auto report = state_.TakeReport();
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->length(), 1500u);
  EXPECT_EQ(report->size_epoch(), 1u);
  EXPECT_TRUE(report->wrote());
  EXPECT_FALSE(state_.IsDirty());
  state_.ReportFailed(*report);
  EXPECT_TRUE(state_.IsDirty());
}

TEST_F(InodeStateTest, OnlyASettledLengthIsReported) {
  state_.NoteBuffered(SizeEpoch(1), 5000, 7);
  EXPECT_EQ(length(), 5000u);
  EXPECT_EQ(state_.TakeReport()->length(), 1000u) << "stamps times alone";
  EXPECT_FALSE(state_.IsDirty());
  state_.NoteDurable(SizeEpoch(1), 5000);
  EXPECT_FALSE(state_.TakeReport().has_value()) << "something below may not be durable";
  EXPECT_TRUE(state_.IsAheadOfSettled());
  state_.NoteSettled(SizeEpoch(1), 5000);
  const auto report = state_.TakeReport();
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->length(), 5000u);
  EXPECT_FALSE(report->wrote()) << "the times were stamped before";
}

TEST_F(InodeStateTest, TheLengthFallsBackWhenBufferedBytesAreLost) {
  state_.NoteBuffered(SizeEpoch(1), 5000, 7);
  state_.NoteDurable(SizeEpoch(1), 2000);
  state_.FallBackTo(3000);
  EXPECT_EQ(length(), 3000u);
  state_.FallBackTo(0);
  EXPECT_EQ(length(), 2000u);
}

TEST_F(InodeStateTest, SettingTheTimeSparesTheStampUnlessSetIdBitsMustGo) {
  EXPECT_FALSE(state_.TakeStamp());
  state_.NoteBuffered(SizeEpoch(1), 5000, 7);
  EXPECT_TRUE(state_.TakeStamp());
  EXPECT_FALSE(state_.IsUnstamped());
  state_.PutBackStamp();
  proto::Attr attr = AttrOf(2, 1000);
  attr.set_mode(S_IFREG | S_ISUID | 0755);
  ASSERT_TRUE(state_.Adopt(attr).ok());
  EXPECT_FALSE(state_.TakeStamp());
}

TEST_F(InodeStateTest, OverlaysLengthAndTheTimeOfTheLastUnreportedWrite) {
  state_.NoteWrite(SizeEpoch(1), 1500, 777);
  FileAttr attr{.size = 1000, .mtime_ns = 100, .ctime_ns = 900};
  state_.Overlay(attr);
  EXPECT_EQ(attr.size, 1500u);
  EXPECT_EQ(attr.mtime_ns, 777);
  EXPECT_EQ(attr.ctime_ns, 900);
  (void)state_.TakeReport();
  state_.ReportDone();
  attr.mtime_ns = 200;
  state_.Overlay(attr);
  EXPECT_EQ(attr.mtime_ns, 200);
}

TEST_F(InodeStateTest, RefusesALayoutThatMakesNoSense) {
  proto::Attr attr = AttrOf(2, 0);
  attr.mutable_layout()->set_chunk_size_log2(60);
  EXPECT_EQ(state_.Adopt(attr).code(), Code::kCorrupt);
}

}  // namespace
}  // namespace sheaf::client
