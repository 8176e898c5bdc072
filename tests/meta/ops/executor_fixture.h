#pragma once

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <optional>
#include <string>

#include "meta/ops/executor.h"
#include "meta/schema/keys.h"
#include "meta/schema/values.h"
#include "tests/support/fake_clock.h"
#include "tests/support/memory_kv.h"

// An executor over a store in memory.

namespace sheaf::meta {

inline Operation PutOperation(std::string key, std::string value) {
  return [=](OpContext& ctx) -> Result<std::string> {
    ctx.Put(key, value);
    return value;
  };
}

class ExecutorTest : public ::testing::Test {
 protected:
  void SetUp() override { Start({}); }

  void Start(ExecutorOptions options) {
    executor_.reset();
    options.clock = &clock_;
    executor_ = Executor::Open(kv_, options).value();
  }
  void OpenSession(uint64_t number, bool fenced = false) {
    ASSERT_TRUE(executor_
                    ->Run(std::nullopt,
                          [=](OpContext& ctx) -> Result<std::string> {
                            ctx.Put(SessionKey(Incarnation(number)),
                                    EncodeSession({.fenced = fenced}));
                            return std::string();
                          })
                    .ok());
  }
  std::future<Result<std::string>> Submit(Operation operation,
                                          std::optional<RequestId> id = std::nullopt) {
    auto promise = std::make_shared<std::promise<Result<std::string>>>();
    auto answer = promise->get_future();
    executor_->Submit(id, std::move(operation), [promise](Result<std::string> result) {
      promise->set_value(std::move(result));
    });
    return answer;
  }
  // Adds one to a counter row, answers its new value.
  Operation Increment() {
    return [](OpContext& ctx) -> Result<std::string> {
      ASSIGN_OR_RETURN(const auto row, ctx.Get("~count"));
      const std::string next = std::to_string((row ? std::stoi(*row) : 0) + 1);
      ctx.Put("~count", next);
      return next;
    };
  }
  static RequestId Id(uint64_t sequence, uint64_t lowest = 1, uint64_t session = 7) {
    return {Incarnation(session), sequence, lowest};
  }
  size_t StoredResults() { return kv_.Rows(TableRange(Table::kResult).begin).size(); }

  FakeClock clock_;
  MemoryKv kv_;
  std::unique_ptr<Executor> executor_;
};

}  // namespace sheaf::meta
