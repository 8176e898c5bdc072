#include "storage/replica/stream_table.h"

#include <gtest/gtest.h>

namespace sheaf::storage {
namespace {

using Verdict = StreamTable::Verdict;

StreamTable::Name Named(uint64_t sequence, uint32_t stream = 3, uint64_t incarnation = 7) {
  return {Incarnation(incarnation), stream, sequence};
}

MutationResult ResultOf(uint32_t length) {
  return {.version = ChunkVersion(length), .chunk_length = length};
}

class StreamTableTest : public ::testing::Test {
 protected:
  // One that was executed and is done.
  void Execute(const StreamTable::Name& name, uint32_t length) {
    ASSERT_EQ(table_.Judge(name, 1).verdict, Verdict::kNew);
    table_.Begin(name, 1, length);
    table_.Commit(name, length, ResultOf(length));
  }
  Code Refusal(const StreamTable::Name& name, uint64_t fingerprint = 1) {
    const auto judged = table_.Judge(name, fingerprint);
    return judged.verdict == Verdict::kAnswer ? judged.answer.status().code() : Code::kOk;
  }

  StreamTable table_;
};

TEST_F(StreamTableTest, ARepeatedMutationGetsTheFirstAnswer) {
  Execute(Named(1), 10);
  const auto again = table_.Judge(Named(1), 1);
  ASSERT_EQ(again.verdict, Verdict::kAnswer);
  EXPECT_EQ(*again.answer, ResultOf(10));
  EXPECT_EQ(table_.counts().repeated, 1u);
}

TEST_F(StreamTableTest, ARepeatedMutationJoinsTheOneUnderWay) {
  table_.Begin(Named(1), 1, 55);
  const auto again = table_.Judge(Named(1), 1);
  EXPECT_EQ(again.verdict, Verdict::kJoin);
  EXPECT_EQ(again.under_way, 55u);
}

TEST_F(StreamTableTest, ALateOneIsRefused) {
  Execute(Named(1), 10);
  Execute(Named(2), 20);
  EXPECT_EQ(Refusal(Named(1)), Code::kCancelled);
  table_.Begin(Named(3), 1, 99);
  EXPECT_EQ(Refusal(Named(2)), Code::kCancelled);
  EXPECT_EQ(table_.counts().late, 2u);
}

TEST_F(StreamTableTest, WhatWasUndoneMayComeAgainAndWhatCameBeforeItMayNot) {
  Execute(Named(1), 10);
  table_.Begin(Named(2), 1, 8);
  table_.Undo(Named(2), 8);
  EXPECT_EQ(Refusal(Named(1)), Code::kCancelled);
  Execute(Named(2), 20);
}

TEST_F(StreamTableTest, TheNextOfAStreamWaitsForTheLast) {
  table_.Begin(Named(1), 1, 8);
  EXPECT_EQ(Refusal(Named(2)), Code::kBusy);
  table_.Commit(Named(1), 8, ResultOf(1));
  Execute(Named(2), 20);
}

TEST_F(StreamTableTest, StreamsAndClientsAreApart) {
  Execute(Named(5), 10);
  Execute(Named(5, 4), 11);
  Execute(Named(5, 3, 8), 12);
}

TEST_F(StreamTableTest, ASequenceUsedForSomethingElseIsRefused) {
  Execute(Named(1), 10);
  EXPECT_EQ(Refusal(Named(1), 2), Code::kInvalid);
}

TEST_F(StreamTableTest, WithoutAnIdentityEachIsExecuted) {
  const StreamTable::Name no_client{Incarnation(), 1, 1};
  const StreamTable::Name no_stream{Incarnation(7), 0, 1};
  Execute(no_client, 1);
  Execute(no_client, 1);
  Execute(no_stream, 1);
  Execute(no_stream, 1);
  EXPECT_EQ(table_.counts().streams, 0u);
}

TEST_F(StreamTableTest, AnEndThatComesLateChangesNothing) {
  table_.Begin(Named(1), 1, 8);
  table_.Begin(Named(2), 1, 9);
  table_.Commit(Named(1), 8, ResultOf(1));
  table_.Undo(Named(1), 8);
  EXPECT_EQ(table_.Judge(Named(2), 1).verdict, Verdict::kJoin);
}

TEST_F(StreamTableTest, LearnsWhatIsLaterAndKeepsWhatItKnowsBetter) {
  const StreamTable::Stream done{.fingerprint = 1, .done = true, .result = ResultOf(30)};
  Execute(Named(2), 20);
  EXPECT_FALSE(table_.Learn(Named(1), done));
  EXPECT_FALSE(table_.Learn(Named(2), done)) << "done is done";
  EXPECT_TRUE(table_.Learn(Named(3), done));
  EXPECT_EQ(*table_.Judge(Named(3), 1).answer, ResultOf(30));
  table_.Begin(Named(4), 1, 8);
  EXPECT_FALSE(table_.Learn(Named(4), done)) << "it will end here";
}

TEST_F(StreamTableTest, AFenceForgetsWhatIsIdle) {
  Execute(Named(1), 10);
  table_.Begin(Named(1, 4), 1, 8);
  Execute(Named(1, 3, 8), 10);
  table_.Forget([](Incarnation client) { return client == Incarnation(7); });
  EXPECT_EQ(table_.counts().streams, 2u);
  EXPECT_EQ(table_.Judge(Named(1, 4), 1).verdict, Verdict::kJoin);
  EXPECT_EQ(table_.Judge(Named(1), 1).verdict, Verdict::kNew);
}

TEST_F(StreamTableTest, MemoryIsBounded) {
  for (uint32_t stream = 1; stream <= StreamTable::kMaxStreams; ++stream)
    table_.Begin(Named(1, stream), 1, stream);
  EXPECT_EQ(Refusal(Named(1, 1, 9)), Code::kBusy);
}

}  // namespace
}  // namespace sheaf::storage
