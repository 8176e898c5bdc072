#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/meta/ops/executor_fixture.h"

// Who has the executor's turn: its own thread, or a caller.

namespace sheaf::meta {
namespace {

class ExecutorTurnTest : public ExecutorTest {};

// Counts how often an operation's turn was offered, and on which thread it was answered.
struct Offered {
  std::atomic<int> asked = 0;
  std::promise<std::pair<Result<std::string>, std::thread::id>> answered;

  void Submit(Executor& executor, Operation operation, bool accept = true) {
    executor.SubmitOrRun(
        std::nullopt, std::move(operation),
        [this](Result<std::string> result) {
          answered.set_value({std::move(result), std::this_thread::get_id()});
        },
        [this, accept] {
          ++asked;
          return accept;
        });
  }
  std::pair<Result<std::string>, std::thread::id> Get() { return answered.get_future().get(); }
};

TEST_F(ExecutorTurnTest, ACallerDoesTheWorkOfAnExecutorThatRests) {
  Offered offered;
  offered.Submit(*executor_, PutOperation("~k", "v"));
  EXPECT_EQ(**executor_->Committed()->Get("~k"), "v") << "committed before the call returned";
  const auto [result, thread] = offered.Get();
  EXPECT_EQ(*result, "v");
  EXPECT_EQ(thread, std::this_thread::get_id());
  EXPECT_EQ(executor_->Stats().lent_turns, 1u);
  EXPECT_EQ(kv_.unsynced_writes(), 0u);
  EXPECT_EQ(*Submit(Increment()).get(), "1") << "the executor's thread goes on";
}

TEST_F(ExecutorTurnTest, WhoMayNotTakeTheTurnLeavesItToTheThread) {
  Offered offered;
  offered.Submit(*executor_, Increment(), /*accept=*/false);
  const auto [result, thread] = offered.Get();
  EXPECT_EQ(*result, "1");
  EXPECT_NE(thread, std::this_thread::get_id());
  EXPECT_EQ(offered.asked, 1);
  EXPECT_EQ(executor_->Stats().lent_turns, 0u);
}

TEST_F(ExecutorTurnTest, OneThreadHasTheTurnAndTheOthersWaitInLine) {
  kv_.HoldWrites();
  Offered first;
  std::thread caller([&] { first.Submit(*executor_, Increment()); });
  kv_.AwaitHeldWrite();
  auto queued = Submit(Increment());
  Offered offered;
  offered.Submit(*executor_, Increment());
  EXPECT_EQ(offered.asked, 0) << "the turn is taken";
  const uint64_t before = kv_.writes();
  const std::thread::id callers = caller.get_id();
  kv_.Release();
  caller.join();
  EXPECT_EQ(*queued.get(), "2");
  const auto [result, thread] = offered.Get();
  EXPECT_EQ(*result, "3");
  EXPECT_NE(thread, callers) << "a caller commits one group";
  EXPECT_EQ(first.Get().second, callers);
  EXPECT_EQ(kv_.writes() - before, 2u);
}

TEST_F(ExecutorTurnTest, NobodyOvertakesWhatWaits) {
  kv_.HoldWrites();
  auto open = Submit(Increment());
  kv_.AwaitHeldWrite();
  auto queued = Submit(Increment());
  Offered offered;
  offered.Submit(*executor_, Increment());
  EXPECT_EQ(offered.asked, 0);
  kv_.Release();
  EXPECT_EQ(*offered.Get().first, "3");
}

TEST_F(ExecutorTurnTest, AFailedCommitOfACallersIsRecoveredFromByTheNext) {
  kv_.FailNextWriteLate();
  Offered failed;
  failed.Submit(*executor_, PutOperation("~k", "v"));
  EXPECT_EQ(failed.Get().first.status().code(), Code::kUnavailable);
  EXPECT_EQ(executor_->Stats().recoveries, 1u);
  Offered next;
  next.Submit(*executor_, Increment());
  EXPECT_TRUE(next.Get().first.ok());
}

TEST_F(ExecutorTurnTest, StoppingWaitsForACallersTurn) {
  kv_.HoldWrites();
  Offered open;
  std::thread caller([&] { open.Submit(*executor_, Increment()); });
  kv_.AwaitHeldWrite();
  auto waiting = Submit(Increment());
  std::thread stopper([&] { executor_.reset(); });
  kv_.Release();
  stopper.join();
  caller.join();
  EXPECT_TRUE(open.Get().first.ok());
  const auto result = waiting.get();
  EXPECT_TRUE(result.ok() || result.status().code() == Code::kUnavailable);
}

TEST_F(ExecutorTurnTest, TurnsGoRoundAmongManyThreads) {
  constexpr int kThreads = 6;
  constexpr int kEach = 400;
  std::atomic<int> answered = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        std::promise<void> done;
        const auto note = [&](const Result<std::string>& result) {
          answered += result.ok() ? 1 : 0;
          done.set_value();
        };
        if (t % 3 == 0) {
          executor_->Submit(std::nullopt, Increment(), note);
        } else {
          executor_->SubmitOrRun(std::nullopt, Increment(), note, [&] { return i % 5 != 0; });
        }
        done.get_future().wait();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered, kThreads * kEach);
  EXPECT_EQ(*Submit(Increment()).get(), std::to_string(kThreads * kEach + 1));
}

}  // namespace
}  // namespace sheaf::meta
