#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <numeric>
#include <random>
#include <thread>
#include <utility>

#include "client/chunk/chunk_client.h"
#include "common/metrics.h"
#include "tests/client/fake_storage.h"
#include "tests/support/eventually.h"

// What the client does where a chain has several replicas. Nobody but the test says what time it
// is: Tick is called with a later one.

namespace sheaf::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Eventually;
using Replicas = std::vector<uint32_t>;

class ReplicasTest : public ::testing::Test {
 protected:
  struct Pending {
    std::vector<uint8_t> bytes;
    std::promise<Result<size_t>> done;
    std::future<Result<size_t>> result = done.get_future();
    bool is_done() { return result.wait_for(seconds(0)) == std::future_status::ready; }
  };
  using PendingRef = std::shared_ptr<Pending>;

  static ChunkClient::Place Place() {
    return {.layout = {.table_version = 1}, .chunk = {.data_id = DataId(7), .index = 3}};
  }
  PendingRef Read(size_t size = kSize) {
    auto pending = std::make_shared<Pending>();
    pending->bytes.assign(size, 0xee);
    client_.Read(Place(), pending->bytes,
                 [pending](Result<size_t> result) { pending->done.set_value(std::move(result)); });
    return pending;
  }
  PendingRef Write(size_t size = kSize) {
    auto pending = std::make_shared<Pending>();
    pending->bytes = Bytes(size);
    client_.Write(Place(), pending->bytes,
                  [pending](Result<size_t> result) { pending->done.set_value(std::move(result)); });
    return pending;
  }
  static std::vector<uint8_t> Bytes(size_t size = kSize) {
    std::vector<uint8_t> bytes(size);
    std::iota(bytes.begin(), bytes.end(), uint8_t{1});
    return bytes;
  }
  void Fill() { ASSERT_TRUE(Write()->result.get().ok()); }
  void ReadOften(uint64_t times) {
    for (uint64_t i = 0; i < times; ++i) ASSERT_TRUE(Read()->result.get().ok());
  }
  // Where calls went, in order, from call `first` on.
  Replicas Asked(size_t first = 0) {
    Replicas asked;
    for (const auto& seen : storage_.seen_calls()) asked.push_back(seen.replica);
    asked.erase(asked.begin(), asked.begin() + static_cast<ptrdiff_t>(first));
    return asked;
  }
  void TickAfter(Clock::Instant time) { client_.Tick(Clock::System().Now() + time); }
  bool Counted(const std::string& line) {
    return metrics_.Text().find(line + "\n") != std::string::npos;
  }

  static constexpr size_t kSize = 1000;
  Metrics metrics_;
  FakeStorage storage_{3};
  ChunkClient client_{{.timeout = milliseconds(60'000),
                       .backoff_min = milliseconds(1),
                       .backoff_max = milliseconds(2),
                       .tick = milliseconds(0),
                       .metrics = &metrics_},
                      storage_,
                      storage_};
};

TEST_F(ReplicasTest, AFailedReadGoesToEachOtherReplicaAtOnce) {
  Fill();
  for (const Code code : {Code::kUnavailable, Code::kDeadline, Code::kNotServing, Code::kBusy,
                          Code::kCorrupt, Code::kIo, Code::kWrongChain}) {
    const size_t before = storage_.seen_calls().size();
    storage_.FailReplica(1, code);
    storage_.FailReplica(2, code);
    const auto read = Read();
    ASSERT_TRUE(read->is_done()) << CodeName(code) << ": it waited";
    EXPECT_TRUE(read->result.get().ok()) << CodeName(code);
    EXPECT_EQ(read->bytes, Bytes());
    EXPECT_EQ(Asked(before), (Replicas{1, 2, 3})) << CodeName(code);
  }
  EXPECT_TRUE(Counted("sheaf_client_chunk_failovers_total 14"));
}

TEST_F(ReplicasTest, BacksOffOnceEachReplicaWasAskedAndThenAsksThemAgain) {
  for (uint32_t replica = 1; replica <= 3; ++replica) {
    storage_.FailReplica(replica, Code::kUnavailable);
  }
  EXPECT_TRUE(Read()->result.get().ok());
  EXPECT_EQ(Asked(), (Replicas{1, 2, 3, 1}));
  EXPECT_TRUE(Counted("sheaf_client_chunk_failovers_total 2"));
}

TEST_F(ReplicasTest, WhatNoReplicaAnswersBetterFailsAtOnce) {
  storage_.FailReplica(1, Code::kInvalid);
  EXPECT_EQ(Read()->result.get().status().code(), Code::kInvalid);
  EXPECT_EQ(Asked(), Replicas{1});
}

TEST_F(ReplicasTest, ARottenAnswerIsServedByAnother) {
  Fill();
  storage_.RotNextAnswer(2);
  const auto read = Read();
  ASSERT_TRUE(read->result.get().ok());
  EXPECT_EQ(read->bytes, Bytes());
  EXPECT_EQ(Asked(1), (Replicas{1, 2, 3}));
}

TEST_F(ReplicasTest, BrokenDisksOfAllReplicasFailTheReadAfterOneRound) {
  for (uint32_t replica = 1; replica <= 3; ++replica) storage_.FailReplica(replica, Code::kIo);
  EXPECT_EQ(Read()->result.get().status().code(), Code::kIo);
  EXPECT_EQ(Asked(), (Replicas{1, 2, 3}));
}

TEST_F(ReplicasTest, RottenAnswersFailTheReadOnlyIfNoReplicaMayComeBack) {
  storage_.FailReplica(1, Code::kCorrupt, 100);
  storage_.FailReplica(2, Code::kCorrupt, 100);
  storage_.FailReplica(3, Code::kUnavailable, 5);
  EXPECT_TRUE(Read()->result.get().ok());
  storage_.FailReplica(3, Code::kCorrupt, 100);
  EXPECT_EQ(Read()->result.get().status().code(), Code::kCorrupt);
}

// They repair one another.
TEST_F(ReplicasTest, RottenAnswersOfAllReplicasMayPass) {
  for (uint32_t replica = 1; replica <= 3; ++replica) {
    storage_.FailReplica(replica, Code::kCorrupt, ChunkClient::kCorruptTries - 1);
  }
  EXPECT_TRUE(Read()->result.get().ok());
}

TEST_F(ReplicasTest, ServersThatDoNotAnswerAreAvoided) {
  storage_.FailReplica(1, Code::kDeadline);
  storage_.FailReplica(2, Code::kUnavailable);
  storage_.FailReplica(3, Code::kBusy);
  ASSERT_TRUE(Read()->result.get().ok());
  EXPECT_EQ(storage_.avoided(), (Replicas{1, 2}));
}

TEST_F(ReplicasTest, ALongReadIsAskedOfEachReplicaOnceAStep) {
  storage_.max_payload = 400;
  Fill();
  const size_t before = storage_.seen_calls().size();
  storage_.FailReplica(1, Code::kBusy, 2);
  const auto read = Read();
  ASSERT_TRUE(read->result.get().ok());
  EXPECT_EQ(read->bytes, Bytes());
  EXPECT_EQ(Asked(before), (Replicas{1, 2, 1, 2, 1}));
}

TEST_F(ReplicasTest, AWriteIsNotSentToAnyoneButTheHead) {
  storage_.FailReplica(1, Code::kBusy, 3);
  EXPECT_TRUE(Write()->result.get().ok());
  EXPECT_EQ(Asked(), (Replicas{1, 1, 1, 1}));
}

// ---- newer maps ----

TEST_F(ReplicasTest, AWriteUnderWayGoesToTheNewHeadAtOnce) {
  storage_.Freeze(1);
  const auto write = Write();
  TickAfter(seconds(0));
  EXPECT_FALSE(write->is_done());
  storage_.MoveChain({2, 3, 1});
  TickAfter(seconds(0));
  ASSERT_TRUE(write->is_done());
  EXPECT_TRUE(write->result.get().ok());
  EXPECT_EQ(storage_.cancelled(), 1);
  EXPECT_EQ(storage_.frozen_calls(1), 0u) << "nobody may look at the caller's bytes any more";
  const auto seen = storage_.seen_calls();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].replica, 2u);
  EXPECT_EQ(seen[0].ctx.chain_version(), 2u);
  EXPECT_TRUE(Counted("sheaf_client_chunk_reroutes_total{operation=\"write\"} 1"));
}

TEST_F(ReplicasTest, AResentWriteKeepsItsStreamAndSequence) {
  storage_.FailReplica(1, Code::kWrongChain);
  const auto first = Write();  // seen by the old head
  storage_.Freeze(1);
  ASSERT_TRUE(Eventually([&] { return storage_.frozen_calls(1) == 1; }));
  storage_.MoveChain({2, 3});
  TickAfter(seconds(0));
  ASSERT_TRUE(first->result.get().ok());
  const auto seen = storage_.seen_calls();
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].ctx.stream(), seen[1].ctx.stream());
  EXPECT_EQ(seen[0].ctx.sequence(), seen[1].ctx.sequence());
}

TEST_F(ReplicasTest, AReadUnderWayAtAReplicaThatStillServesIsLeftAlone) {
  storage_.Freeze(1);
  const auto read = Read();
  storage_.MoveChain({3, 1});
  TickAfter(seconds(0));
  EXPECT_EQ(storage_.cancelled(), 0);
  storage_.MoveChain({3, 2});
  TickAfter(seconds(0));
  ASSERT_TRUE(read->is_done());
  EXPECT_TRUE(read->result.get().ok());
  EXPECT_EQ(Asked(), Replicas{3});
}

// The back-off is longer than the test can last.
TEST_F(ReplicasTest, ANewerMapEndsABackOff) {
  ChunkClient patient({.timeout = std::chrono::hours(24),
                       .backoff_min = std::chrono::hours(4),
                       .backoff_max = std::chrono::hours(4),
                       .tick = milliseconds(0)},
                      storage_, storage_);
  storage_.FailReplica(1, Code::kUnavailable);
  const auto bytes = Bytes();
  std::promise<Result<size_t>> done;
  auto result = done.get_future();
  patient.Write(Place(), bytes, [&](Result<size_t> got) { done.set_value(std::move(got)); });
  patient.Tick(Clock::System().Now());
  EXPECT_EQ(Asked(), Replicas{1});
  storage_.MoveChain({2, 3});
  patient.Tick(Clock::System().Now());
  EXPECT_TRUE(result.get().ok());
  EXPECT_EQ(Asked(), (Replicas{1, 2}));
}

TEST_F(ReplicasTest, AsksForMapsWhileAWriteIsSlow) {
  storage_.Freeze(1);
  const auto write = Write();
  TickAfter(seconds(0));
  EXPECT_EQ(storage_.refreshes, 0);
  const auto slow = std::chrono::hours(1);
  TickAfter(slow);
  EXPECT_EQ(storage_.refreshes, 1);
  client_.Tick(Clock::System().Now() + slow + seconds(10));
  EXPECT_EQ(storage_.refreshes, 2);
  storage_.Thaw(1);
  EXPECT_TRUE(write->result.get().ok());
  TickAfter(2 * slow);
  EXPECT_EQ(storage_.refreshes, 2);
}

// ---- hedging ----

TEST_F(ReplicasTest, ASlowReadIsHedgedAndTheSecondAnswerWins) {
  Fill();
  ReadOften(Hedging::kShare);
  storage_.Freeze(1);
  const auto read = Read();
  TickAfter(seconds(0));
  EXPECT_FALSE(read->is_done());
  TickAfter(seconds(10));
  ASSERT_TRUE(read->is_done());
  EXPECT_TRUE(read->result.get().ok());
  EXPECT_EQ(read->bytes, Bytes());
  EXPECT_EQ(storage_.seen_calls().back().replica, 2u);
  EXPECT_EQ(storage_.frozen_calls(1), 0u) << "nobody may write to the caller's memory any more";
  EXPECT_TRUE(Counted("sheaf_client_chunk_hedges_total 1"));
  EXPECT_TRUE(Counted("sheaf_client_chunk_hedges_won_total 1"));
}

TEST_F(ReplicasTest, TheFirstAnswerMayStillWin) {
  Fill();
  ReadOften(Hedging::kShare);
  storage_.Freeze(1);
  storage_.Freeze(2);
  const auto read = Read();
  TickAfter(seconds(10));
  TickAfter(seconds(20));  // no third
  EXPECT_EQ(storage_.frozen_calls(2), 1u);
  EXPECT_FALSE(read->is_done());
  storage_.Thaw(1);
  ASSERT_TRUE(read->is_done());
  EXPECT_TRUE(read->result.get().ok());
  EXPECT_EQ(read->bytes, Bytes());
  EXPECT_EQ(storage_.frozen_calls(2), 0u) << "cancelled";
  EXPECT_TRUE(Counted("sheaf_client_chunk_hedges_won_total 0"));
}

TEST_F(ReplicasTest, AReadWhoseFirstCallFailsWaitsForItsHedgeAndThenAsksTheThird) {
  Fill();
  ReadOften(Hedging::kShare);
  storage_.Freeze(1);
  storage_.Freeze(2);
  const auto read = Read();
  TickAfter(seconds(10));
  storage_.EndFrozen(1, Code::kDeadline);
  EXPECT_FALSE(read->is_done());
  storage_.EndFrozen(2, Code::kUnavailable);
  ASSERT_TRUE(read->is_done());
  EXPECT_TRUE(read->result.get().ok());
  EXPECT_EQ(read->bytes, Bytes());
  EXPECT_EQ(storage_.seen_calls().back().replica, 3u);
  EXPECT_EQ(storage_.avoided(), (Replicas{1, 2}));
}

TEST_F(ReplicasTest, ARottenHedgeDoesNotWin) {
  Fill();
  ReadOften(Hedging::kShare);
  storage_.Freeze(1);
  const auto read = Read();
  storage_.RotNextAnswer(1);
  TickAfter(seconds(10));
  EXPECT_FALSE(read->is_done());
  storage_.Thaw(1);
  ASSERT_TRUE(read->result.get().ok());
  EXPECT_EQ(read->bytes, Bytes());
}

TEST_F(ReplicasTest, HedgesAreFewAndNoneWhereNobodyElseServes) {
  Fill();
  ReadOften(2 * Hedging::kShare);
  storage_.Freeze(1);
  std::vector<PendingRef> reads;
  for (int i = 0; i < 10; ++i) reads.push_back(Read());
  TickAfter(seconds(10));
  EXPECT_EQ(storage_.frozen_calls(1), 8u) << "two may be hedged";
  storage_.Thaw(1);
  for (const auto& read : reads) EXPECT_TRUE(read->result.get().ok());

  ReadOften(10 * Hedging::kShare);
  storage_.MoveChain({1});
  storage_.Freeze(1);
  const auto alone = Read();
  TickAfter(seconds(10));
  EXPECT_EQ(storage_.frozen_calls(1), 1u);
  EXPECT_FALSE(alone->is_done());
  storage_.Thaw(1);
  EXPECT_TRUE(alone->result.get().ok());
}

TEST_F(ReplicasTest, WritesAreNotHedged) {
  ReadOften(10 * Hedging::kShare);
  storage_.Freeze(1);
  const auto write = Write();
  TickAfter(seconds(10));
  EXPECT_EQ(Asked(10 * Hedging::kShare), Replicas{});
  storage_.Thaw(1);
  EXPECT_TRUE(write->result.get().ok());
}

// Answers, failures, newer maps and hedges meet in every order. Each thread has a chunk of its own,
// so it knows what its reads must bring, and that nothing writes to its memory between them.
TEST_F(ReplicasTest, ReadsWhatWasWrittenWhateverServersDo) {
  std::atomic<int> running = 4;
  std::atomic<int> rounds = 0;
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      ChunkClient::Place place = Place();
      place.chunk.index = t;
      std::vector<uint8_t> bytes(kSize);
      std::vector<uint8_t> written(kSize);
      for (uint32_t round = 0; round < 300; ++round) {
        std::fill(written.begin(), written.end(), static_cast<uint8_t>(round * 7 + t));
        std::promise<Result<size_t>> wrote;
        client_.Write(place, written, [&](Result<size_t> got) { wrote.set_value(std::move(got)); });
        EXPECT_TRUE(wrote.get_future().get().ok());
        std::fill(bytes.begin(), bytes.end(), 0xee);
        std::promise<Result<size_t>> read;
        client_.Read(place, bytes, [&](Result<size_t> got) { read.set_value(std::move(got)); });
        EXPECT_TRUE(read.get_future().get().ok());
        EXPECT_TRUE(bytes == written) << "round " << round;
        ++rounds;
      }
      --running;
    });
  }
  std::mt19937 random(11);
  for (int failed_at = -1; running > 0;) {
    const uint32_t replica = 1 + static_cast<uint32_t>(random()) % 3;
    switch (random() % 5) {
      case 0:
        storage_.Freeze(replica);
        break;
      case 1:
        storage_.MoveChain({replica, 1 + replica % 3, 1 + (replica + 1) % 3});
        break;
      case 2:
        // Not faster than they are taken.
        if (std::exchange(failed_at, rounds) == rounds) break;
        storage_.FailReplica(replica, random() % 2 == 0 ? Code::kUnavailable : Code::kWrongChain);
        break;
      default:
        storage_.Thaw(replica);
    }
    TickAfter(seconds(random() % 2 * 10));
  }
  for (auto& thread : threads) thread.join();
}

// Its own thread looks after it, too.
TEST_F(ReplicasTest, AThreadOfItsOwnSeesTheNewHead) {
  ChunkClient watched({.tick = milliseconds(1)}, storage_, storage_);
  storage_.Freeze(1);
  const auto bytes = Bytes();
  for (uint32_t round = 0; round < 2; ++round) {  // the second after a rest
    const uint32_t old_head = round + 1;
    std::promise<Result<size_t>> done;
    watched.Write(Place(), bytes, [&](Result<size_t> got) { done.set_value(std::move(got)); });
    ASSERT_TRUE(Eventually([&] { return storage_.frozen_calls(old_head) == 1; }));
    storage_.MoveChain({old_head + 1, 3});
    EXPECT_TRUE(done.get_future().get().ok());
    storage_.Freeze(2);
  }
}

}  // namespace
}  // namespace sheaf::client
