#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "storage/replica/planted.h"

namespace sheaf::sim {

// One run from one seed. What went wrong; empty: nothing.
std::string RunSeed(uint64_t seed, bool verbose);

struct RunTotals {
  uint64_t runs = 0;
  uint64_t steps = 0;
  uint64_t operations = 0;
  uint64_t done = 0;
  uint64_t undecided = 0;
};
struct RunFailure {
  uint64_t seed = 0;
  std::string text;  // what to print: what failed and how to repeat it
};
struct RunReport {
  RunTotals totals;
  std::optional<RunFailure> failure;  // of one of the failed seeds
};
// Runs seeds from `first`, in `jobs` processes: so an assertion that fails is a finding like
// others. All end after the first failure. `bug_name` is for the command that is printed.
RunReport RunSeeds(uint64_t first, uint64_t count, uint32_t jobs, const std::string& bug_name);

// The names that --bug takes, in the order of the enumeration; without kNone.
struct NamedBug {
  storage::Bug bug;
  const char* name;
};
inline constexpr NamedBug kBugs[] = {
    {storage::Bug::kNoTailQuery, "NoTailQuery"},
    {storage::Bug::kCommitWithoutToken, "CommitWithoutToken"},
    {storage::Bug::kAckBeforeCommit, "AckBeforeCommit"},
    {storage::Bug::kForgottenRetry, "ForgottenRetry"},
    {storage::Bug::kResyncWithoutStreams, "ResyncWithoutStreams"},
    {storage::Bug::kResyncByVersion, "ResyncByVersion"},
    {storage::Bug::kServeWithoutLease, "ServeWithoutLease"},
    {storage::Bug::kServeFenced, "ServeFenced"},
    {storage::Bug::kShortAbort, "ShortAbort"},
};

}  // namespace sheaf::sim
