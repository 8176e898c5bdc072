#include "meta/ops/executor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "meta/kv/rocksdb_kv.h"
#include "meta/ops/ops.h"
#include "meta/schema/keys.h"
#include "meta/schema/values.h"
#include "tests/meta/ops/executor_fixture.h"
#include "tests/support/faulty_kv.h"
#include "tests/support/temp_dir.h"

namespace sheaf::meta {
namespace {

TEST_F(ExecutorTest, AnswersAfterTheSyncedWrite) {
  kv_.HoldWrites();
  auto answer = Submit(PutOperation("~k", "v"));
  kv_.AwaitHeldWrite();
  EXPECT_EQ(answer.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  EXPECT_FALSE(executor_->Committed()->Get("~k")->has_value()) << "not committed yet";
  kv_.Release();
  EXPECT_EQ(*answer.get(), "v");
  EXPECT_EQ(**executor_->Committed()->Get("~k"), "v");
  EXPECT_EQ(kv_.unsynced_writes(), 0u);
}

TEST_F(ExecutorTest, OneWriteServesEverythingThatWaited) {
  kv_.HoldWrites();
  std::vector<std::future<Result<std::string>>> answers;
  answers.push_back(Submit(Increment()));
  kv_.AwaitHeldWrite();
  for (int i = 0; i < 50; ++i) answers.push_back(Submit(Increment()));
  const uint64_t before = kv_.writes();
  kv_.Release();
  for (size_t i = 0; i < answers.size(); ++i) {
    EXPECT_EQ(*answers[i].get(), std::to_string(i + 1)) << "each sees those before it in its group";
  }
  EXPECT_EQ(kv_.writes() - before, 2u);
}

TEST_F(ExecutorTest, GroupsAreBounded) {
  Start({.max_group_operations = 10});
  kv_.HoldWrites();
  std::vector<std::future<Result<std::string>>> answers;
  answers.push_back(Submit(Increment()));
  kv_.AwaitHeldWrite();
  for (int i = 0; i < 30; ++i) answers.push_back(Submit(Increment()));
  const uint64_t before = kv_.writes();
  kv_.Release();
  for (auto& answer : answers) EXPECT_TRUE(answer.get().ok());
  EXPECT_EQ(kv_.writes() - before, 4u);
}

TEST_F(ExecutorTest, AGroupTakesOneBatchAfterTheSingleOperations) {
  kv_.HoldWrites();
  std::mutex mutex;
  std::string order;
  std::vector<std::future<Result<std::string>>> answers;
  const auto submit = [&](char name, size_t steps) {
    auto promise = std::make_shared<std::promise<Result<std::string>>>();
    answers.push_back(promise->get_future());
    auto note = [&, name](OpContext& ctx) -> Result<std::string> {
      const std::lock_guard lock(mutex);
      order += name;
      ctx.Put("~order", order);
      return std::string();
    };
    executor_->Submit(
        std::nullopt, note,
        [promise](Result<std::string> result) { promise->set_value(std::move(result)); }, steps);
  };
  answers.push_back(Submit(Increment()));
  kv_.AwaitHeldWrite();
  for (const char name : {'A', 'B', 'C'}) submit(name, 1024);
  for (const char name : {'x', 'y', 'z'}) submit(name, 1);
  const uint64_t before = kv_.writes();
  kv_.Release();
  for (auto& answer : answers) EXPECT_TRUE(answer.get().ok());
  EXPECT_EQ(order, "xyzABC");
  EXPECT_EQ(kv_.writes() - before, 4u) << "x, y, z and A in one group";
  EXPECT_EQ(executor_->Stats().operations, 1u + 3 + 3 * 1024);
}

TEST_F(ExecutorTest, RefusesBatchesBeyondTheirQueueAndTakesSingleOperations) {
  Start({.max_queue_batches = 2});
  kv_.HoldWrites();
  auto first = Submit(Increment());
  kv_.AwaitHeldWrite();
  std::vector<Code> codes;
  std::atomic<int> answered = 0;
  for (int i = 0; i < 3; ++i) {
    executor_->Submit(
        std::nullopt, Increment(),
        [&](const Result<std::string>& result) {
          if (result.status().code() == Code::kBusy) codes.push_back(result.status().code());
          ++answered;
        },
        2);
  }
  EXPECT_EQ(codes, std::vector<Code>{Code::kBusy});
  auto single = Submit(Increment());
  kv_.Release();
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(single.get().ok());
  executor_.reset();
  EXPECT_EQ(answered, 3);
}

TEST_F(ExecutorTest, ASavepointTakesBackWhatCameAfterIt) {
  const auto answer = Submit([](OpContext& ctx) -> Result<std::string> {
                        ctx.Put("~kept", "1");
                        ctx.Put("~both", "before");
                        const size_t savepoint = ctx.Savepoint();
                        ctx.Put("~both", "after");
                        ctx.Put("~gone", "1");
                        ctx.Delete("~kept");
                        ctx.RollbackTo(savepoint);
                        ASSIGN_OR_RETURN(const auto both, ctx.Get("~both"));
                        return *both;
                      }).get();
  EXPECT_EQ(*answer, "before");
  EXPECT_EQ(**kv_.Get("~kept"), "1");
  EXPECT_EQ(**kv_.Get("~both"), "before");
  EXPECT_FALSE(kv_.Get("~gone")->has_value());
}

TEST_F(ExecutorTest, AFailedOperationChangesNothing) {
  kv_.HoldWrites();
  auto first = Submit(PutOperation("~first", "1"));
  kv_.AwaitHeldWrite();
  auto good = Submit(PutOperation("~shared", "good"));
  auto bad = Submit([](OpContext& ctx) -> Result<std::string> {
    ctx.Put("~shared", "bad");
    ctx.Put("~shared", "worse");
    ctx.Put("~other", "bad");
    ctx.Delete("~first");
    return Status(Code::kExists, "no");
  });
  auto after = Submit([](OpContext& ctx) -> Result<std::string> {
    ASSIGN_OR_RETURN(const auto value, ctx.Get("~shared"));
    return *value;
  });
  kv_.Release();
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(good.get().ok());
  EXPECT_EQ(bad.get().status().code(), Code::kExists);
  EXPECT_EQ(*after.get(), "good");
  EXPECT_FALSE(kv_.Get("~other")->has_value());
  EXPECT_TRUE(kv_.Get("~first")->has_value());
}

TEST_F(ExecutorTest, ScansMergeTheOpenGroup) {
  for (const char* key : {"~a", "~c", "~e"}) {
    ASSERT_TRUE(executor_->Run(std::nullopt, PutOperation(key, "old")).ok());
  }
  const auto answer = executor_->Run(std::nullopt, [](OpContext& ctx) -> Result<std::string> {
    ctx.Put("~b", "new");
    ctx.Put("~c", "new");
    ctx.Delete("~e");
    ctx.Put("~f", "new");
    std::string seen;
    const auto visitor = [&](std::string_view key, std::string_view value) {
      seen += std::string(key) + "=" + std::string(value) + " ";
      return true;
    };
    RETURN_IF_ERROR(ctx.Scan("~a", "~z", 0, visitor));
    seen += "| ";
    RETURN_IF_ERROR(ctx.Scan("~a", "~z", 2, visitor));
    return seen;
  });
  EXPECT_EQ(*answer, "~a=old ~b=new ~c=new ~f=new | ~a=old ~b=new ");
}

TEST_F(ExecutorTest, AFailedWriteFailsItsGroupAndIsForgotten) {
  OpenSession(7);
  kv_.FailRecovery({Code::kIo, "the disk is gone"});
  kv_.FailNextWrite({Code::kIo, "the disk is gone"});
  EXPECT_EQ(executor_->Run(Id(1), Increment()).status().code(), Code::kIo);
  EXPECT_EQ(executor_->Run(Id(2), Increment()).status().code(), Code::kIo)
      << "nothing is executed on a store that failed";
  EXPECT_FALSE(executor_->Committed()->Get("~count")->has_value());
  EXPECT_EQ(executor_->Stats().commit_failures, 1u);
}

TEST_F(ExecutorTest, AStoreThatRecoversAtOnceHasTheCallerSendAgain) {
  OpenSession(7);
  kv_.FailNextWrite({Code::kNoSpace, "disk full"});
  const Status refused = executor_->Run(Id(1), Increment()).status();
  EXPECT_EQ(refused.code(), Code::kUnavailable);
  EXPECT_EQ(refused.retry(), Retry::kSame);
  EXPECT_EQ(*executor_->Run(Id(1), Increment()), "1");
  EXPECT_EQ(executor_->Stats().recoveries, 1u);
}

TEST_F(ExecutorTest, ABatchThatSurvivedItsFailureIsNotExecutedAgain) {
  OpenSession(7);
  ASSERT_TRUE(executor_->Run(Id(1), Increment()).ok());
  kv_.FailNextWriteLate();
  EXPECT_EQ(executor_->Run(Id(2), Increment()).status().code(), Code::kUnavailable);
  EXPECT_EQ(*executor_->Run(Id(2), Increment()), "2");
  EXPECT_EQ(executor_->Stats().retries, 1u);
  EXPECT_EQ(*executor_->Run(Id(3), Increment()), "3");
  const ExecutorState before = DecodeExecutorState(**kv_.Get(ExecutorStateKey())).value();
  ASSERT_TRUE(executor_->Run(Id(4), Increment()).ok());
  EXPECT_EQ(DecodeExecutorState(**kv_.Get(ExecutorStateKey()))->index, before.index + 1);
}

TEST_F(ExecutorTest, AFullStoreIsTriedAgainAndReadMeanwhile) {
  OpenSession(7);
  ASSERT_TRUE(executor_->Run(Id(1), Increment()).ok());
  kv_.FailRecovery({Code::kNoSpace, "disk full"});
  kv_.FailNextWrite({Code::kNoSpace, "disk full"});
  EXPECT_EQ(executor_->Run(Id(2), Increment()).status().code(), Code::kNoSpace);
  EXPECT_EQ(executor_->Run(Id(3), Increment()).status().code(), Code::kNoSpace);
  EXPECT_EQ(**executor_->Committed()->Get("~count"), "1");
  kv_.FailRecovery(Status::Ok());
  clock_.Advance(std::chrono::seconds(1));
  EXPECT_EQ(*executor_->Run(Id(4), Increment()), "2");
}

TEST_F(ExecutorTest, AStoreThatLostAcknowledgedBatchesIsNotWrittenAgain) {
  OpenSession(7);
  const ExecutorState now = DecodeExecutorState(**kv_.Get(ExecutorStateKey())).value();
  ASSERT_TRUE(executor_->Run(Id(1), Increment()).ok());
  const std::string key = ExecutorStateKey();
  const std::string older = EncodeExecutorState(now);
  const std::vector<KvChange> lost = {{key, older}};
  ASSERT_TRUE(kv_.Write(lost, true).ok());
  kv_.FailNextWrite({Code::kNoSpace, "disk full"});
  EXPECT_EQ(executor_->Run(Id(2), Increment()).status().code(), Code::kNoSpace);
  for (uint64_t i = 3; i < 6; ++i) {
    clock_.Advance(std::chrono::seconds(1));
    EXPECT_EQ(executor_->Run(Id(i), Increment()).status().code(), Code::kCorrupt);
  }
}

TEST_F(ExecutorTest, ARefusalForWantOfSpaceIsNotStored) {
  OpenSession(7);
  const auto full = [](OpContext& ctx) -> Result<std::string> {
    RETURN_IF_ERROR(ctx.CheckSpace("test"));
    return std::string("done");
  };
  kv_.SetSpaceShort(true);
  const uint64_t before = kv_.writes();
  EXPECT_EQ(executor_->Run(Id(1), full).status().code(), Code::kNoSpace);
  EXPECT_EQ(kv_.writes(), before);
  EXPECT_TRUE(executor_->Stats().space_short);
  kv_.SetSpaceShort(false);
  EXPECT_EQ(*executor_->Run(Id(1), full), "done");
}

TEST_F(ExecutorTest, ARetryGetsTheFirstAnswer) {
  OpenSession(7);
  EXPECT_EQ(*executor_->Run(Id(1), Increment()), "1");
  EXPECT_EQ(*executor_->Run(Id(1), Increment()), "1");
  EXPECT_EQ(*executor_->Run(Id(2), Increment()), "2");
  Start({});
  EXPECT_EQ(*executor_->Run(Id(1), Increment()), "1") << "after a restart too";
  EXPECT_EQ(executor_->Stats().retries, 1u);
}

TEST_F(ExecutorTest, ARetryInTheSameGroupIsNotExecutedAgain) {
  OpenSession(7);
  kv_.HoldWrites();
  auto first = Submit(PutOperation("~k", "v"));
  kv_.AwaitHeldWrite();
  auto one = Submit(Increment(), Id(1));
  auto again = Submit(Increment(), Id(1));
  kv_.Release();
  EXPECT_EQ(*one.get(), "1");
  EXPECT_EQ(*again.get(), "1");
}

TEST_F(ExecutorTest, AFinalErrorAnswersItsRetry) {
  OpenSession(7);
  const auto fail = [](OpContext&) -> Result<std::string> {
    return Status(Code::kNotEmpty, "not empty");
  };
  EXPECT_EQ(executor_->Run(Id(1), fail).status().code(), Code::kNotEmpty);
  const auto retried = executor_->Run(Id(1), Increment());
  EXPECT_EQ(retried.status().code(), Code::kNotEmpty);
  EXPECT_EQ(retried.status().message(), "not empty");
}

TEST_F(ExecutorTest, AnErrorThatInvitesARetryIsExecutedAgain) {
  OpenSession(7);
  const auto busy = [](OpContext&) -> Result<std::string> { return Status(Code::kBusy, "later"); };
  EXPECT_EQ(executor_->Run(Id(1), busy).status().code(), Code::kBusy);
  EXPECT_EQ(*executor_->Run(Id(1), Increment()), "1");
}

TEST_F(ExecutorTest, ResultsBelowTheLowestOutstandingAreDroppedAndRefused) {
  OpenSession(7);
  for (uint64_t i = 1; i <= 5; ++i) ASSERT_TRUE(executor_->Run(Id(i, 1), Increment()).ok());
  EXPECT_EQ(StoredResults(), 5u);
  ASSERT_TRUE(executor_->Run(Id(6, 5), Increment()).ok());
  EXPECT_EQ(StoredResults(), 2u);
  EXPECT_EQ(executor_->Run(Id(3, 1), Increment()).status().code(), Code::kNoSession);
  EXPECT_EQ(*executor_->Run(Id(5, 5), Increment()), "5");
  Start({});
  EXPECT_EQ(executor_->Run(Id(3, 1), Increment()).status().code(), Code::kNoSession)
      << "what was dropped is refused after a restart too";
}

TEST_F(ExecutorTest, UnknownAndFencedSessionsAreRefused) {
  EXPECT_EQ(executor_->Run(Id(1), Increment()).status().code(), Code::kNoSession);
  OpenSession(8, /*fenced=*/true);
  EXPECT_EQ(executor_->Run(Id(1, 1, 8), Increment()).status().code(), Code::kNoSession);
  EXPECT_FALSE(kv_.Get("~count")->has_value());
}

TEST_F(ExecutorTest, BadRequestIdsAreRefused) {
  OpenSession(7);
  EXPECT_EQ(executor_->Run(Id(0, 0), Increment()).status().code(), Code::kInvalid);
  EXPECT_EQ(executor_->Run(Id(3, 4), Increment()).status().code(), Code::kInvalid);
  EXPECT_EQ(executor_->Run(Id(Executor::kMaxOutstanding + 1, 1), Increment()).status().code(),
            Code::kBusy);
}

TEST_F(ExecutorTest, AFullQueueAnswersBusy) {
  Start({.max_queue = 4});
  kv_.HoldWrites();
  auto first = Submit(Increment());
  kv_.AwaitHeldWrite();
  std::vector<std::future<Result<std::string>>> waiting;
  for (int i = 0; i < 4; ++i) waiting.push_back(Submit(Increment()));
  auto refused = Submit(Increment());
  EXPECT_EQ(refused.get().status().code(), Code::kBusy);
  EXPECT_EQ(executor_->Stats().refused, 1u);
  kv_.Release();
  for (auto& answer : waiting) EXPECT_TRUE(answer.get().ok());
}

TEST_F(ExecutorTest, NumbersAreHandedOutOnce) {
  const auto allocate = [](OpContext& ctx) -> Result<std::string> {
    ASSIGN_OR_RETURN(const uint64_t first, ctx.Allocate(Sequence::kDataId, 3));
    return std::to_string(first);
  };
  EXPECT_EQ(*executor_->Run(std::nullopt, allocate), "1");
  EXPECT_EQ(*executor_->Run(std::nullopt, allocate), "4");
  Start({});
  EXPECT_EQ(*executor_->Run(std::nullopt, allocate), "7");
}

TEST_F(ExecutorTest, EachBatchCarriesTheNextIndex) {
  const auto state = [&] { return DecodeExecutorState(**kv_.Get(ExecutorStateKey())).value(); };
  const ExecutorState before = state();
  ASSERT_TRUE(executor_->Run(std::nullopt, Increment()).ok());
  EXPECT_EQ(state(), (ExecutorState{1, before.index + 1}));
  Start({.term = 5});
  ASSERT_TRUE(executor_->Run(std::nullopt, Increment()).ok());
  EXPECT_EQ(state(), (ExecutorState{5, before.index + 2}));
  executor_.reset();
  EXPECT_EQ(Executor::Open(kv_, {.term = 4}).status().code(), Code::kFenced);
}

TEST_F(ExecutorTest, TimeNeverFalls) {
  const auto now = [](OpContext& ctx) -> Result<std::string> {
    return std::to_string(ctx.now_ns());
  };
  const std::string first = *executor_->Run(std::nullopt, now);
  clock_.Advance(std::chrono::seconds(-5));
  EXPECT_EQ(*executor_->Run(std::nullopt, now), first);
}

TEST_F(ExecutorTest, ANewerFormatIsRefusedByNamingBoth) {
  executor_.reset();
  const std::string key = FormatVersionKey();
  const std::string newer = EncodeCounter(kFormatVersion + 1);
  const std::vector<KvChange> batch = {{key, newer}};
  ASSERT_TRUE(kv_.Write(batch, true).ok());
  const auto opened = Executor::Open(kv_, {});
  EXPECT_EQ(opened.status().code(), Code::kInvalid);
  EXPECT_NE(opened.status().message().find("format 2"), std::string::npos);
  EXPECT_NE(opened.status().message().find("program's 1"), std::string::npos);
}

TEST_F(ExecutorTest, RowsThatAreNotOursAreRefused) {
  MemoryKv other;
  const std::vector<KvChange> batch = {{"k", "v"}};
  ASSERT_TRUE(other.Write(batch, true).ok());
  EXPECT_EQ(Executor::Open(other, {}).status().code(), Code::kInvalid);
}

TEST_F(ExecutorTest, StoppingAnswersEverybody) {
  kv_.HoldWrites();
  auto open = Submit(Increment());
  kv_.AwaitHeldWrite();
  std::vector<std::future<Result<std::string>>> waiting;
  for (int i = 0; i < 5; ++i) waiting.push_back(Submit(Increment()));
  std::thread stopper([&] { executor_.reset(); });
  kv_.Release();
  stopper.join();
  EXPECT_TRUE(open.get().ok());
  for (auto& answer : waiting) {
    const auto result = answer.get();
    EXPECT_TRUE(result.ok() || result.status().code() == Code::kUnavailable);
  }
}

// Many threads against the real store whose disk forgets: after a crash at each log operation in
// turn, every acknowledged increment of a caller is there, and both rows of one operation or
// neither.
TEST(ExecutorCrashTest, AcknowledgedOperationsSurviveAndOthersAreWhole) {
  constexpr int kCallers = 4;
  const char* given = std::getenv("SHEAF_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 77;
  for (uint64_t crash_at = 8; crash_at < 40; crash_at += 3) {
    ::sheaf::testing::TempDir dir;
    FaultyEnv env(seed + crash_at);
    std::vector<int> acknowledged(kCallers);
    {
      auto kv = OpenRocksDbKv(dir / "db", {.env = env.get()}).value();
      auto executor = Executor::Open(*kv, {}).value();
      env.CrashAtLogOperation(env.log_operations() + crash_at);
      std::vector<std::thread> threads;
      for (int caller = 0; caller < kCallers; ++caller) {
        threads.emplace_back([&, caller] {
          for (int i = 1; i <= 200; ++i) {
            const std::string suffix = std::to_string(caller);
            const auto result =
                executor->Run(std::nullopt, [=](OpContext& ctx) -> Result<std::string> {
                  ctx.Put("~left" + suffix, std::to_string(i));
                  ctx.Put("~right" + suffix, std::to_string(i));
                  return std::string();
                });
            if (!result.ok()) return;
            acknowledged[static_cast<size_t>(caller)] = i;
          }
        });
      }
      for (std::thread& thread : threads) thread.join();
      env.Crash();
    }
    env.Recover();
    auto kv = OpenRocksDbKv(dir / "db", {.env = env.get()}).value();
    auto executor = Executor::Open(*kv, {}).value();
    for (int caller = 0; caller < kCallers; ++caller) {
      const std::string suffix = std::to_string(caller);
      const auto left = *kv->Get("~left" + suffix);
      const auto right = *kv->Get("~right" + suffix);
      EXPECT_EQ(left, right) << "seed " << seed << ", crash at " << crash_at;
      EXPECT_GE(left ? std::stoi(*left) : 0, acknowledged[static_cast<size_t>(caller)])
          << "seed " << seed << ", crash at " << crash_at;
    }
  }
}

}  // namespace
}  // namespace sheaf::meta
