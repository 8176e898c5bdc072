#include "tests/sim/runner.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <new>
#include <vector>

#include "common/log.h"
#include "tests/sim/world.h"

namespace sheaf::sim {
namespace {

constexpr size_t kTextBytes = 64 << 10;

// What a child tells; shared memory, so that it outlives an abort.
struct Slot {
  std::atomic<uint64_t> seed;
  RunTotals totals;
  bool failed;
  char text[kTextBytes];
};
struct Shared {
  std::atomic<bool> stop;
};

// A history is searched as deep as it has operations; with sanitizers each takes much of the stack.
void RaiseStackLimit() {
  constexpr rlim_t kStackBytes = 64 << 20;  // less than what is kept free below any stack
  rlimit limit{};
  if (::getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= kStackBytes) return;
  limit.rlim_cur = std::min(kStackBytes, limit.rlim_max);
  (void)::setrlimit(RLIMIT_STACK, &limit);
}

std::string Run(uint64_t seed, bool verbose, RunTotals* totals) {
  CHECK(SetLogLevel("error").ok(), "log level");
  RaiseStackLimit();
  const Schedule schedule = Schedule::FromSeed(seed);
  if (verbose) std::printf("%s", schedule.ToString().c_str());
  World world(schedule, verbose);
  std::string failure = world.Run();
  const World::Counts& counts = world.counts();
  ++totals->runs;
  totals->steps += counts.steps;
  totals->operations += counts.operations;
  totals->done += counts.done;
  totals->undecided += counts.undecided;
  return failure;
}

[[noreturn]] void Work(Shared& shared, Slot& slot, uint64_t first, uint64_t end, uint64_t stride) {
  for (uint64_t seed = first; seed < end && !shared.stop; seed += stride) {
    slot.seed = seed;
    const std::string failure = Run(seed, /*verbose=*/false, &slot.totals);
    if (failure.empty()) continue;
    std::strncpy(slot.text, failure.c_str(), kTextBytes - 1);
    slot.failed = true;
    shared.stop = true;
  }
  ::_exit(0);
}

template <typename T>
T* MakeShared(size_t count) {
  void* memory =
      ::mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : new (memory) T[count]{};
}

}  // namespace

std::string RunSeed(uint64_t seed, bool verbose) {
  RunTotals totals;
  return Run(seed, verbose, &totals);
}

RunReport RunSeeds(uint64_t first, uint64_t count, uint32_t jobs, const std::string& bug_name) {
  Shared* shared = MakeShared<Shared>(1);
  Slot* slots = MakeShared<Slot>(jobs);
  std::vector<pid_t> children;
  for (uint32_t i = 0; i < jobs; ++i) {
    const pid_t child = ::fork();
    if (child == 0) Work(*shared, slots[i], first + i, first + count, jobs);
    children.push_back(child);
  }
  RunReport report;
  for (uint32_t left = jobs; left > 0; --left) {
    int status = 0;
    const pid_t child = ::wait(&status);
    const auto which = std::find(children.begin(), children.end(), child) - children.begin();
    Slot& slot = slots[which];
    const bool died = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    if (died) shared->stop = true;
    if ((slot.failed || died) && !report.failure) {
      const std::string bug = bug_name.empty() ? "" : " --bug " + bug_name;
      const std::string what = died ? "the process died; its last line says why" : slot.text;
      report.failure = RunFailure{
          slot.seed, fmt::format("seed {} failed: {}\nrepeat with: sim --seed {}{} --verbose\n",
                                 slot.seed.load(), what, slot.seed.load(), bug)};
    }
    report.totals.runs += slot.totals.runs;
    report.totals.steps += slot.totals.steps;
    report.totals.operations += slot.totals.operations;
    report.totals.done += slot.totals.done;
    report.totals.undecided += slot.totals.undecided;
  }
  ::munmap(slots, jobs * sizeof(Slot));
  ::munmap(shared, sizeof(Shared));
  return report;
}

}  // namespace sheaf::sim
