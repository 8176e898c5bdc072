#pragma once

#include <functional>

#include "common/ids.h"
#include "proto/cluster.pb.h"

namespace sheaf::meta {

// What the manager may assume of a target just now: its last report, while its node's lease runs.
enum class TargetHealth {
  kGone,       // the lease has surely run out, or its disk refuses
  kRestarted,  // its server began anew: what is on the disk is there, what was in memory is not
  kUp,         // works, but may lack commits
  kComplete,   // works, and says of the chain's present version that it holds every commit
  kCutOff,     // up, but it and a member that serves do not reach one another, or its disk hangs
  kUnknown,    // not heard of lately and not surely gone: nothing is moved on its account
};

// The next state of a chain. A pure function; the manager persists its answer before it tells
// anyone, and asks again until nothing changes.
//
//   health \ now  serving            syncing        waiting        last serving       offline
//   complete      serving            serving (a)    syncing (c)    serving (b)        waiting
//   up            serving            syncing (a)    syncing (c)    serving (b)        waiting
//   cut off       serving (f)        waiting        waiting        serving (b)        waiting
//   restarted     offline (d)        offline        waiting        last serving (e)   offline
//   gone          offline (d)        offline        offline        last serving (e)   offline
//   unknown       serving            syncing (a)    waiting        last serving (e)   offline
//
//   (a) while a member serves; waiting otherwise.
//   (b) when no member serves and no earlier one resumes the chain; otherwise as (e), but waiting.
//   (c) while a member serves and no other syncs; waiting otherwise.
//   (d) while others serve on, all of them known to be up. Serving as before while one of them is
//       unknown: it may have gone as well. Last serving when every serving member goes at once:
//       each of them then holds every commit, so any of them may resume the chain.
//   (e) while no other member resumes the chain; then it misses what that one commits: offline.
//   (f) until the chain is known to go on without it (membership.h).
//
// A restarted server is let in, and brought back by its next health, once it does not serve here:
// so a chain's version always rises between what it did before and what it does after.
//
// A member keeps its mark of a lost disk until the chain serves again, and that of leaving while it
// serves or did last.
//
// Invariants of a chain that began with all its members serving:
// 1. Members are ordered serving, last serving, syncing, waiting, offline; stable within a state.
// 2. At most one member syncs, and only while another serves.
// 3. Serving and last serving never occur together, and one of the two occurs until the disk of the
//    last one that served is replaced (membership.h). Then nothing resumes the chain but that disk
//    or an operator.
// 4. The version rises by one with every change and with nothing else.
// 5. A commit takes every member that serves. So whoever serves holds every commit, and goes on
//    holding it until the chain's next version lets others commit without it.
proto::Chain NextChain(const proto::Chain& chain,
                       const std::function<TargetHealth(TargetId)>& health);

// Brings the members into the order of invariant 1.
void OrderMembers(proto::Chain* chain);

}  // namespace sheaf::meta
