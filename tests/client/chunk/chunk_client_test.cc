#include "client/chunk/chunk_client.h"

#include <gtest/gtest.h>

#include <future>
#include <numeric>

#include "tests/client/fake_storage.h"

namespace sheaf::client {
namespace {

using std::chrono::milliseconds;

class ChunkClientTest : public ::testing::Test {
 protected:
  ChunkClient::Place At(uint32_t offset) {
    return {.layout = {.table_version = 1},
            .chunk = {.data_id = DataId(7), .index = 3},
            .offset = offset};
  }
  Result<size_t> Write(uint32_t offset, std::span<const uint8_t> from) {
    std::promise<Result<size_t>> done;
    client_.Write(At(offset), from, [&](Result<size_t> result) { done.set_value(result); });
    return done.get_future().get();
  }
  Result<size_t> Read(uint32_t offset, std::span<uint8_t> into) {
    std::promise<Result<size_t>> done;
    client_.Read(At(offset), into, [&](Result<size_t> result) { done.set_value(result); });
    return done.get_future().get();
  }
  static std::vector<uint8_t> Bytes(size_t size) {
    std::vector<uint8_t> bytes(size);
    std::iota(bytes.begin(), bytes.end(), uint8_t{1});
    return bytes;
  }

  FakeStorage storage_;
  ChunkClient client_{{.timeout = milliseconds(30'000),
                       .backoff_min = milliseconds(1),
                       .backoff_max = milliseconds(2)},
                      storage_,
                      storage_};
};

TEST_F(ChunkClientTest, ReadsBackWhatItWrote) {
  const auto bytes = Bytes(1000);
  ASSERT_TRUE(Write(100, bytes).ok());
  std::vector<uint8_t> read(1000, 0xee);
  const auto got = Read(100, read);
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  EXPECT_EQ(*got, 1000u);
  EXPECT_EQ(read, bytes);
}

TEST_F(ChunkClientTest, FillsWithZerosPastTheChunksEnd) {
  ASSERT_TRUE(Write(0, Bytes(10)).ok());
  std::vector<uint8_t> read(20, 0xee);
  EXPECT_EQ(*Read(5, read), 5u);
  EXPECT_EQ(read[4], 10);
  EXPECT_EQ(std::count(read.begin() + 5, read.end(), 0), 15);
  std::fill(read.begin(), read.end(), 0xee);
  EXPECT_EQ(*Read(100, read), 0u);
  EXPECT_EQ(std::count(read.begin(), read.end(), 0), 20);
}

TEST_F(ChunkClientTest, StepsWhereTheServerTakesLessAFrame) {
  storage_.max_payload = 300;
  const auto bytes = Bytes(1000);
  ASSERT_TRUE(Write(0, bytes).ok());
  std::vector<uint8_t> read(1000);
  EXPECT_EQ(*Read(0, read), 1000u);
  EXPECT_EQ(read, bytes);
  EXPECT_EQ(storage_.seen_calls().size(), 8u);
}

TEST_F(ChunkClientTest, TriesAgainWhatMayPass) {
  storage_.FailNext(Code::kBusy, 3);
  storage_.FailNext(Code::kUnavailable);
  storage_.FailNext(Code::kDeadline);  // of one attempt
  ASSERT_TRUE(Write(0, Bytes(10)).ok());
  EXPECT_EQ(storage_.seen_calls().size(), 6u);
  EXPECT_GE(storage_.refreshes, 1);
}

TEST_F(ChunkClientTest, FetchesTheMapWhenTheChainIsRefused) {
  storage_.FailNext(Code::kWrongChain);
  storage_.route_errors.push_back(Status(Code::kWrongChain, "no such table yet"));
  std::vector<uint8_t> read(10);
  ASSERT_TRUE(Read(0, read).ok());
  EXPECT_EQ(storage_.refreshes, 2);
}

TEST_F(ChunkClientTest, RepeatsAWriteUnderTheSameSequence) {
  storage_.FailNext(Code::kUnavailable, 2);
  ASSERT_TRUE(Write(0, Bytes(10)).ok());
  ASSERT_TRUE(Write(0, Bytes(10)).ok());
  const auto seen = storage_.seen_calls();
  ASSERT_EQ(seen.size(), 4u);
  EXPECT_EQ(seen[0].ctx.sequence(), seen[2].ctx.sequence());
  EXPECT_EQ(seen[0].ctx.stream(), seen[2].ctx.stream());
  EXPECT_EQ(seen[3].ctx.stream(), seen[2].ctx.stream());
  EXPECT_EQ(seen[3].ctx.sequence(), seen[2].ctx.sequence() + 1);
}

TEST_F(ChunkClientTest, WritesUnderWayTogetherUseStreamsOfTheirOwn) {
  storage_.Hold();
  const auto bytes = Bytes(10);
  std::promise<void> first;
  std::promise<void> second;
  client_.Write(At(0), bytes, [&](const Result<size_t>&) { first.set_value(); });
  client_.Write(At(10), bytes, [&](const Result<size_t>&) { second.set_value(); });
  storage_.Release();
  first.get_future().wait();
  second.get_future().wait();
  const auto seen = storage_.seen_calls();
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_NE(seen[0].ctx.stream(), seen[1].ctx.stream());
}

TEST_F(ChunkClientTest, GivesUpAtOnceOnWhatWillFailAgain) {
  storage_.FailNext(Code::kNoSpace);
  EXPECT_EQ(Write(0, Bytes(10)).status().code(), Code::kNoSpace);
  EXPECT_EQ(storage_.seen_calls().size(), 1u);
}

TEST_F(ChunkClientTest, GoesOnUnderANewSessionWhenFenced) {
  storage_.FailNext(Code::kFenced);
  ASSERT_TRUE(Write(0, Bytes(10)).ok());
  const auto seen = storage_.seen_calls();
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].ctx.incarnation(), 1u);
  EXPECT_EQ(seen[1].ctx.incarnation(), 2u);
}

TEST_F(ChunkClientTest, AWriteOfOneSessionIsNotSentUnderAnother) {
  const Incarnation before = storage_.incarnation();
  storage_.ReportLost(before);
  const auto bytes = Bytes(10);
  std::promise<Result<size_t>> done;
  client_.Write(At(0), bytes, {.under = before},
                [&](Result<size_t> result) { done.set_value(std::move(result)); });
  EXPECT_EQ(done.get_future().get().status().code(), Code::kFenced);
  EXPECT_TRUE(storage_.seen_calls().empty());
}

TEST_F(ChunkClientTest, ReadsARottenAnswerAgainAFewTimes) {
  ASSERT_TRUE(Write(0, Bytes(10)).ok());
  std::vector<uint8_t> read(10);
  storage_.RotNextAnswer(ChunkClient::kCorruptTries - 1);
  EXPECT_TRUE(Read(0, read).ok());
  storage_.RotNextAnswer(ChunkClient::kCorruptTries);
  EXPECT_EQ(Read(0, read).status().code(), Code::kCorrupt);
}

TEST_F(ChunkClientTest, EndsWithEioAndTheLastReasonOnceTheWaitHasPassed) {
  storage_.FailAlways(Code::kUnavailable);
  std::vector<uint8_t> read(10);
  // A wait may pass before the first try on a machine that is busy: then a longer one.
  Status status;
  for (milliseconds wait{50}; wait < std::chrono::seconds(60); wait *= 2) {
    ChunkClient hasty({.timeout = wait}, storage_, storage_);
    std::promise<Result<size_t>> done;
    hasty.Read(At(0), read, [&](Result<size_t> result) { done.set_value(result); });
    status = done.get_future().get().status();
    ASSERT_EQ(status.code(), Code::kDeadline);
    EXPECT_EQ(status.ToErrno(), EIO);
    if (status.message().find("told to fail always") != std::string::npos) break;
  }
  EXPECT_NE(status.message().find("told to fail always"), std::string::npos) << status.message();
}

TEST_F(ChunkClientTest, HoldsBackWhatIsOverItsLimitsAndServesItLater) {
  storage_.Hold();
  const auto bytes = Bytes(1);
  constexpr size_t kWrites = ChunkClient::kMaxOperations + 100;
  std::atomic<size_t> finished = 0;
  std::promise<void> all;
  for (size_t i = 0; i < kWrites; ++i) {
    client_.Write(At(0), bytes, [&](const Result<size_t>& result) {
      EXPECT_TRUE(result.ok());
      if (++finished == kWrites) all.set_value();
    });
  }
  EXPECT_EQ(storage_.held_calls(), ChunkClient::kMaxOperations);
  storage_.Release();
  all.get_future().wait();
}

}  // namespace
}  // namespace sheaf::client
