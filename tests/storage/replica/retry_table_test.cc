#include "storage/replica/retry_table.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

namespace sheaf::storage {
namespace {

constexpr Incarnation kClient{7};
constexpr Incarnation kOther{8};

class RetryTableTest : public ::testing::Test {
 protected:
  // What one request saw.
  struct Asked {
    RetryTable::AttemptPtr attempt;
    std::shared_ptr<std::optional<RetryTable::Answer>> answer =
        std::make_shared<std::optional<RetryTable::Answer>>();

    Code code() const { return answer->has_value() ? (*answer)->status().code() : Code::kIo; }
    bool waits() const { return attempt == nullptr && !answer->has_value(); }
  };

  Asked Ask(uint64_t sequence, uint32_t stream = 1, Incarnation client = kClient,
            uint64_t fingerprint = 5) {
    Asked asked;
    auto begun = table_.Begin({client, stream, sequence}, fingerprint,
                              [answer = asked.answer](const auto& a) { *answer = a; });
    asked.attempt = begun.attempt;
    if (begun.answer.has_value()) *asked.answer = begun.answer;
    return asked;
  }
  static MutationResult ResultOf(uint32_t length) {
    return {.version = ChunkVersion(length), .chunk_length = length};
  }
  void Done(uint64_t sequence, uint32_t stream = 1, Incarnation client = kClient) {
    const Asked asked = Ask(sequence, stream, client);
    ASSERT_NE(asked.attempt, nullptr);
    table_.Finish(asked.attempt, ResultOf(static_cast<uint32_t>(sequence)));
  }
  bool UnderWay(Incarnation client) {
    return table_.AnyUnderWay([=](Incarnation each) { return each == client; });
  }

  RetryTable table_{RetryTable::kShards * 4};
};

TEST_F(RetryTableTest, ARepeatedMutationGetsTheFirstAnswer) {
  Done(1);
  const Asked again = Ask(1);
  EXPECT_EQ(again.attempt, nullptr);
  ASSERT_EQ(again.code(), Code::kOk);
  EXPECT_EQ(***again.answer, ResultOf(1));
  EXPECT_EQ(table_.GetCounts().repeated, 1u);
}

TEST_F(RetryTableTest, ARepeatedMutationJoinsTheOneUnderWay) {
  const Asked first = Ask(3);
  const Asked second = Ask(3);
  EXPECT_TRUE(second.waits());
  table_.Finish(first.attempt, ResultOf(9));
  EXPECT_EQ(***second.answer, ResultOf(9));
}

TEST_F(RetryTableTest, ALateOneIsRefused) {
  Done(2);
  EXPECT_EQ(Ask(1).code(), Code::kCancelled);
  const Asked third = Ask(3);
  EXPECT_EQ(Ask(2).code(), Code::kCancelled) << "while the next is under way, too";
  table_.Finish(third.attempt, ResultOf(3));
  EXPECT_EQ(Ask(2).code(), Code::kCancelled);
  EXPECT_EQ(table_.GetCounts().late, 3u);
}

TEST_F(RetryTableTest, AFailureIsNotDone) {
  const Asked first = Ask(4);
  const Asked joined = Ask(4);
  table_.Finish(first.attempt, Status(Code::kNoSpace, "full"));
  EXPECT_EQ(joined.code(), Code::kNoSpace);
  EXPECT_EQ(Ask(3).code(), Code::kCancelled) << "but it was the last one";
  Done(4);
  EXPECT_EQ(Ask(4).code(), Code::kOk);
}

TEST_F(RetryTableTest, TheNextOfAStreamWaitsForTheLast) {
  const Asked first = Ask(1);
  EXPECT_EQ(Ask(2).code(), Code::kBusy);
  EXPECT_TRUE(Ask(1).waits()) << "a refused one does not move the stream";
  table_.Finish(first.attempt, ResultOf(1));
  Done(2);
}

TEST_F(RetryTableTest, StreamsAndClientsAreApart) {
  Done(5);
  Done(1, 2);
  Done(1, 1, kOther);
  EXPECT_EQ(Ask(4).code(), Code::kCancelled);
}

TEST_F(RetryTableTest, ASequenceUsedForSomethingElseIsRefused) {
  Done(1);
  EXPECT_EQ(Ask(1, 1, kClient, 6).code(), Code::kInvalid);
}

TEST_F(RetryTableTest, WithoutAnIdentityEachIsExecuted) {
  for (int round = 0; round < 2; ++round) {
    Done(1, 0);
    Done(0, 1, Incarnation());
  }
  EXPECT_EQ(table_.GetCounts().streams, 0u);
}

TEST_F(RetryTableTest, AFenceForgetsAndSeesWhatIsUnderWay) {
  const auto over = [](Incarnation each) { return each == kClient; };
  Done(1);
  Done(1, 1, kOther);
  const Asked with_stream = Ask(1, 2);
  const Asked without = Ask(0, 0);
  table_.Forget(over);
  EXPECT_EQ(table_.GetCounts().streams, 2u) << "the other's, and the one under way";
  EXPECT_TRUE(UnderWay(kClient));
  EXPECT_FALSE(UnderWay(kOther));
  table_.Finish(with_stream.attempt, ResultOf(1));
  EXPECT_TRUE(UnderWay(kClient));
  table_.Finish(without.attempt, ResultOf(1));
  EXPECT_FALSE(UnderWay(kClient));
  table_.Forget(over);
  EXPECT_EQ(table_.GetCounts().streams, 1u);
}

TEST_F(RetryTableTest, AtTheBoundTheLongestIdleIsForgotten) {
  Done(2);
  for (uint32_t stream = 2; stream < 1000; ++stream) Done(2, stream);
  EXPECT_EQ(table_.GetCounts().streams, RetryTable::kShards * 4);
  EXPECT_EQ(Ask(1, 999).code(), Code::kCancelled) << "the last one is still known";
  EXPECT_NE(Ask(1).attempt, nullptr) << "the first is not";
}

TEST_F(RetryTableTest, AtTheBoundWithAllUnderWayItIsBusy) {
  std::vector<Asked> held;
  Asked asked;
  for (uint32_t stream = 1; (asked = Ask(1, stream)).attempt != nullptr; ++stream) {
    held.push_back(asked);
    ASSERT_LE(held.size(), RetryTable::kShards * 4);
  }
  EXPECT_EQ(asked.code(), Code::kBusy);
  for (const Asked& each : held) table_.Finish(each.attempt, ResultOf(1));
}

TEST_F(RetryTableTest, ManyThreadsExecuteEachMutationOnce) {
  constexpr int kThreads = 4;
  constexpr uint64_t kMutations = 2000;
  RetryTable table;
  std::atomic<uint64_t> executed{0};
  std::atomic<uint64_t> answered{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (uint64_t mutation = 1; mutation <= kMutations; ++mutation) {
        const RetryTable::Name name{kClient, static_cast<uint32_t>(mutation), 1};
        const auto begun = table.Begin(name, 0, [&](const auto&) { ++answered; });
        if (begun.answer.has_value()) ++answered;
        if (begun.attempt == nullptr) continue;
        ++executed;
        table.Finish(begun.attempt, MutationResult());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(executed, kMutations);
  EXPECT_EQ(answered, kMutations * (kThreads - 1)) << "everyone else";
}

}  // namespace
}  // namespace sheaf::storage
