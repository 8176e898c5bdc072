#pragma once

#include <cstdint>

namespace sheaf::storage {

// Bugs that the simulation must find. They exist only where SHEAF_PLANTED_BUGS is defined, which is
// a copy of this folder that tests/sim compiles for itself; in the product Planted is false.
enum class Bug : uint8_t {
  kNone,
  kNoTailQuery,         // a dirty chunk is answered without asking the tail
  kCommitWithoutToken,  // the tail commits what is durable there alone
  kAckBeforeCommit,     // the head answers what is durable there alone
  kForgottenRetry,      // a repeated mutation is executed again
  kResyncWithoutStreams,  // a member that was resynced does not know what clients have done
  kResyncByVersion,       // equal chunk versions are taken for equal chunks
  kServeWithoutLease,
  kServeFenced,   // a mutation of a client whose session is over is admitted
  kShortAbort,    // an abort leaves a later version standing
};

#ifdef SHEAF_PLANTED_BUGS
inline Bug planted_bug = Bug::kNone;  // set by the test before it runs anything
inline bool Planted(Bug bug) { return planted_bug == bug; }
#else
constexpr bool Planted(Bug) { return false; }
#endif

}  // namespace sheaf::storage
