// Whole clusters in one process, from seeds. Failures print the command that repeats them.

#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>
#include <string>

#include "tests/sim/runner.h"

namespace sheaf::sim {
namespace {

int RunOne(uint64_t seed, bool verbose) {
  const std::string failure = RunSeed(seed, verbose);
  std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed),
              failure.empty() ? "nothing found" : failure.c_str());
  return failure.empty() ? 0 : 1;
}

int RunMany(uint64_t first, uint64_t count, uint32_t jobs, const std::string& bug) {
  const auto began = std::chrono::steady_clock::now();
  const RunReport report = RunSeeds(first, count, jobs, bug);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  const RunTotals& totals = report.totals;
  std::printf(
      "%llu schedules in %.1f s; %llu events, %llu operations, %llu done, %llu chunk "
      "histories undecided\n",
      static_cast<unsigned long long>(totals.runs), took.count(),
      static_cast<unsigned long long>(totals.steps),
      static_cast<unsigned long long>(totals.operations),
      static_cast<unsigned long long>(totals.done),
      static_cast<unsigned long long>(totals.undecided));
  if (report.failure) std::printf("%s", report.failure->text.c_str());
  return report.failure ? 1 : 0;
}

bool Plant(const std::string& name) {
  for (const NamedBug& each : kBugs) {
    if (name != each.name) continue;
#ifdef SHEAF_PLANTED_BUGS
    storage::planted_bug = each.bug;
    return true;
#endif
  }
  return false;
}

int Main(int argc, char** argv) {
  CLI::App app("Simulated clusters: the protocol code under faults, from seeds");
  uint64_t seed = 0;
  uint64_t schedules = 1000;
  uint64_t first = 1;
  uint32_t jobs = 2;
  std::string bug;
  bool verbose = false;
  app.add_option("--seed", seed, "Run this one alone");
  app.add_option("--schedules", schedules, "How many to run")->capture_default_str();
  app.add_option("--first", first, "The first seed")->capture_default_str();
  app.add_option("--jobs", jobs, "Processes")->capture_default_str()->check(CLI::Range(1, 64));
  app.add_option("--bug", bug, "Plant this one of storage/replica/planted.h, without its k");
  app.add_flag("--verbose", verbose, "Print what happens (with --seed)");
  CLI11_PARSE(app, argc, argv);
  if (!bug.empty() && !Plant(bug)) {
    std::fprintf(stderr, "sim: no such bug: %s\n", bug.c_str());
    return 2;
  }
  return app.count("--seed") > 0 ? RunOne(seed, verbose) : RunMany(first, schedules, jobs, bug);
}

}  // namespace
}  // namespace sheaf::sim

int main(int argc, char** argv) { return sheaf::sim::Main(argc, argv); }
