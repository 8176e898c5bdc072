// The chunk engine against fio on the same file system, in one run: each iteration is one round of
// both, the figures are medians over the rounds and the ratio is the median of the rounds' ratios.
//
//   write   1 MiB writes at depth 16, durable; fio gets as many syncs as the engine just made
//   read    1 MiB reads at depth 16, verified
//   random  4 KiB reads at depth 32, verified
//
//   engine_bench [--dir DIR] [--mib 2048] [--rounds 5] [options of Google Benchmark]
//
// Both sides work on blocks that were written before: the engine's slabs are filled and overwritten
// first, fio's file is laid out. One context thread and the engine's own threads; fio has one job.
// Counters: transfers a second (of 1 MiB: MiB/s), CPU seconds and syncs of a round, the mean time
// of one sync of a slab and of the index.

#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/bench/samples.h"
#include "tests/bench/storage/engine_side.h"
#include "tests/bench/storage/fio.h"

namespace sheaf::bench {
namespace {

constexpr uint64_t kRandomReads = 100000;

struct Options {
  std::string directory = ".";
  uint64_t mib = 2048;
  int rounds = 5;
};

// Both sides in a directory of their own, which goes with them.
class Rivals {
 public:
  Rivals(std::string directory, uint64_t mib)
      : directory_(std::move(directory)),
        engine_(std::make_unique<EngineSide>(directory_, mib)),
        fio_(directory_, mib) {
    for (int i = 0; i < 2; ++i) engine_->Write();  // every slab's blocks have been written
  }
  ~Rivals() {
    engine_.reset();
    std::filesystem::remove_all(directory_);
  }

  EngineSide& engine() { return *engine_; }
  Fio& fio() { return fio_; }

 private:
  const std::string directory_;
  std::unique_ptr<EngineSide> engine_;
  Fio fio_;
};

// One comparison: both sides' rounds, in turn.
class Comparison {
 public:
  void Add(const Figure& ours, const Figure& theirs) {
    engine_.Add(ours.per_second);
    fio_.Add(theirs.per_second);
    ratio_.Add(ours.per_second / theirs.per_second);
    engine_cpu_.Add(ours.cpu_s);
    fio_cpu_.Add(theirs.cpu_s);
    if (ours.syncs == 0) return;
    engine_syncs_.Add(static_cast<double>(ours.syncs));
    fio_syncs_.Add(static_cast<double>(theirs.syncs));
    slab_syncs_.Add(static_cast<double>(ours.slab_syncs));
    slab_sync_ms_.Add(ours.slab_sync_ms);
    index_sync_ms_.Add(ours.index_sync_ms);
  }
  void Report(benchmark::State& state, double goal) const {
    ReportSpread(state, "engine_per_s", engine_);
    ReportSpread(state, "fio_per_s", fio_);
    ReportSpread(state, "ratio", ratio_);
    state.counters["ratio_goal"] = goal;
    ReportMedian(state, "engine_cpu_s", engine_cpu_);
    ReportMedian(state, "fio_cpu_s", fio_cpu_);
    ReportMedian(state, "engine_syncs", engine_syncs_);
    ReportMedian(state, "fio_syncs", fio_syncs_);
    ReportMedian(state, "slab_syncs", slab_syncs_);
    ReportMedian(state, "slab_sync_ms", slab_sync_ms_);
    ReportMedian(state, "index_sync_ms", index_sync_ms_);
  }

 private:
  Samples engine_, fio_, ratio_, engine_cpu_, fio_cpu_;
  Samples engine_syncs_, fio_syncs_, slab_syncs_, slab_sync_ms_, index_sync_ms_;
};

using EngineRound = std::function<Figure(EngineSide&)>;
using FioRound = std::function<Figure(Fio&, const Figure& engine)>;

// `rivals` is made by the first benchmark that runs: a list of them costs no disk.
void Register(const char* name, const Options& options, std::unique_ptr<Rivals>& rivals,
              double goal, const EngineRound& engine_round, const FioRound& fio_round) {
  const auto run = [&options, &rivals, goal, engine_round, fio_round](benchmark::State& state) {
    if (rivals == nullptr) rivals = std::make_unique<Rivals>(options.directory, options.mib);
    Comparison comparison;
    for (auto _ : state) {
      const Figure ours = engine_round(rivals->engine());
      comparison.Add(ours, fio_round(rivals->fio(), ours));
      state.SetIterationTime(ours.seconds);
    }
    comparison.Report(state, goal);
  };
  benchmark::RegisterBenchmark(name, run)
      ->Iterations(options.rounds)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

int Run(Options options) {
  options.directory += "/engine-bench-XXXXXX";
  if (::mkdtemp(options.directory.data()) == nullptr) {
    std::fprintf(stderr, "engine_bench: error: cannot make %s: %s\n", options.directory.c_str(),
                 std::strerror(errno));
    return 1;
  }
  std::unique_ptr<Rivals> rivals;
  Register(
      "EngineAgainstFio/write_1MiB_depth16", options, rivals, 0.9,
      [](EngineSide& engine) { return engine.Write(); },
      [](Fio& fio, const Figure& engine) { return fio.Write(engine.syncs); });
  Register(
      "EngineAgainstFio/read_1MiB_depth16", options, rivals, 0.9,
      [](EngineSide& engine) { return engine.Read(); },
      [](Fio& fio, const Figure&) { return fio.Read(); });
  Register(
      "EngineAgainstFio/random_read_4KiB_depth32", options, rivals, 0.6,
      [](EngineSide& engine) { return engine.RandomRead(kRandomReads); },
      [](Fio& fio, const Figure&) { return fio.RandomRead(kRandomReads); });
  benchmark::RunSpecifiedBenchmarks();
  rivals.reset();
  std::filesystem::remove_all(options.directory);
  return 0;
}

int Usage() {
  std::fprintf(stderr,
               "usage: engine_bench [--dir DIR] [--mib 2048] [--rounds 5] [--benchmark_...]\n"
               "  --dir     where the files are made (default: here)\n"
               "  --mib     MiB of data a side, at least 64\n"
               "  --rounds  rounds of each comparison\n");
  return 2;
}

int Main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);  // takes its own options out
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view option = argv[i];
    if (i + 1 == argc) return Usage();
    if (option == "--dir") {
      options.directory = argv[i + 1];
    } else if (option == "--mib") {
      options.mib = std::max(64l, std::atol(argv[i + 1])) / EngineSide::kIosPerChunk *
                    EngineSide::kIosPerChunk;
    } else if (option == "--rounds") {
      options.rounds = std::max(1, std::atoi(argv[i + 1]));
    } else {
      return Usage();
    }
  }
  return Run(options);
}

}  // namespace
}  // namespace sheaf::bench

int main(int argc, char** argv) { return sheaf::bench::Main(argc, argv); }
