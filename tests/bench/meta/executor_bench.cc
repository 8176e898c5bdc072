// The executor against plain RocksDB, in one run and on one disk.
//
//   plain      32 threads, each writing synced batches of three puts (RocksDB groups them itself)
//   executor   32 threads, each running operations of three puts with a request id, one after the
//   other
//
// Each iteration is one round of both; the figures are medians over the rounds and the ratio is the
// median of the rounds' ratios.
// SHEAF_BENCH_DIR says where the databases are made (else the working directory).

#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "meta/kv/rocksdb_kv.h"
#include "meta/ops/executor.h"
#include "meta/schema/keys.h"
#include "meta/schema/values.h"
#include "tests/bench/samples.h"

namespace sheaf::meta {
namespace {

constexpr int kCallers = 32;
constexpr int kRounds = 7;
constexpr auto kRoundTime = std::chrono::milliseconds(1500);
constexpr size_t kValueBytes = 100;

std::string Directory(const std::string& name) {
  const char* base = std::getenv("SHEAF_BENCH_DIR");
  return std::string(base != nullptr ? base : ".") + "/executor-bench-" + name;
}

std::string RowKey(int caller, uint64_t step, int row) {
  return "~" + std::to_string(caller) + "/" + std::to_string(step) + "/" + std::to_string(row);
}

// Runs `step(caller, i)` on 32 threads for a round; answers steps a second.
double Rate(const std::function<void(int, uint64_t)>& step, std::vector<uint64_t>& next) {
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> steps{0};
  std::vector<std::thread> threads;
  const auto start = std::chrono::steady_clock::now();
  for (int caller = 0; caller < kCallers; ++caller) {
    threads.emplace_back([&, caller] {
      uint64_t& i = next[static_cast<size_t>(caller)];
      uint64_t done = 0;
      for (; !stop.load(std::memory_order_relaxed); ++done) step(caller, ++i);
      steps += done;
    });
  }
  std::this_thread::sleep_for(kRoundTime);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  return static_cast<double>(steps) / took.count();
}

class Comparison {
 public:
  Comparison() {
    for (const char* name : {"plain", "executor"}) std::filesystem::remove_all(Directory(name));
    plain_ = OpenRocksDbKv(Directory("plain"), {}).value();
    kv_ = OpenRocksDbKv(Directory("executor"), {}).value();
    executor_ = Executor::Open(*kv_, {}).value();
    CHECK(executor_->Run(std::nullopt, OpenSessions).ok());
  }
  ~Comparison() {
    executor_.reset();
    kv_.reset();
    plain_.reset();
    for (const char* name : {"plain", "executor"}) std::filesystem::remove_all(Directory(name));
  }

  double PlainRound() {
    return Rate([this](int caller, uint64_t i) { PlainStep(caller, i); }, plain_next_);
  }
  double ExecutorRound() {
    return Rate([this](int caller, uint64_t i) { ExecutorStep(caller, i); }, executor_next_);
  }
  double GroupSize() const {
    const ExecutorStats stats = executor_->Stats();
    return static_cast<double>(stats.operations) / static_cast<double>(stats.groups);
  }

 private:
  static Result<std::string> OpenSessions(OpContext& ctx) {
    for (int caller = 0; caller < kCallers; ++caller) {
      ctx.Put(SessionKey(Incarnation(static_cast<uint64_t>(caller) + 1)), EncodeSession({}));
    }
    return std::string();
  }

  void PlainStep(int caller, uint64_t i) {
    const std::string keys[] = {RowKey(caller, i, 0), RowKey(caller, i, 1), RowKey(caller, i, 2)};
    const std::vector<KvChange> batch = {{keys[0], value_}, {keys[1], value_}, {keys[2], value_}};
    CHECK(plain_->Write(batch, true).ok());
  }

  void ExecutorStep(int caller, uint64_t i) {
    const RequestId id = {Incarnation(static_cast<uint64_t>(caller) + 1), i, i};
    const auto done = executor_->Run(id, [&](OpContext& ctx) -> Result<std::string> {
      for (int row = 0; row < 3; ++row) ctx.Put(RowKey(caller, i, row), value_);
      return std::string();
    });
    CHECK(done.ok(), done.status().ToString());
  }

  const std::string value_ = std::string(kValueBytes, 'v');
  std::vector<uint64_t> plain_next_ = std::vector<uint64_t>(kCallers);
  std::vector<uint64_t> executor_next_ = std::vector<uint64_t>(kCallers);
  std::unique_ptr<KvStore> plain_;
  std::unique_ptr<KvStore> kv_;
  std::unique_ptr<Executor> executor_;
};

void ExecutorAgainstPlainBatches(benchmark::State& state) {
  Comparison comparison;
  bench::Samples plain, executor, ratio;
  for (auto _ : state) {
    const double plain_rate = comparison.PlainRound();
    const double executor_rate = comparison.ExecutorRound();
    plain.Add(plain_rate);
    executor.Add(executor_rate);
    ratio.Add(executor_rate / plain_rate);
  }
  bench::ReportSpread(state, "plain_per_s", plain);
  bench::ReportSpread(state, "executor_per_s", executor);
  bench::ReportSpread(state, "ratio", ratio);
  state.counters["ratio_goal"] = 0.6;
  state.counters["group_size"] = comparison.GroupSize();
}
BENCHMARK(ExecutorAgainstPlainBatches)
    ->Iterations(kRounds)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sheaf::meta

BENCHMARK_MAIN();
