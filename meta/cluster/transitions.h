#pragma once

#include <functional>

#include "common/ids.h"
#include "proto/cluster.pb.h"

namespace sheaf::meta {

// What the manager may assume of a target just now: its last report, while its node's lease runs.
enum class TargetHealth {
  kGone,      // the lease has surely run out, or its disk refuses
  kOnline,    // works, but may lack commits
  kUpToDate,  // says, knowing the chain's present version, that it holds every commit
  kUnknown,   // not heard of and not surely gone: nothing is moved on its account
};

// The next state of a chain. A pure function; the manager persists its answer before it tells
// anyone, and asks again until nothing changes.
//
//   health \ now  serving            syncing        waiting        last serving   offline
//   up to date    serving            serving (a)    waiting        serving (b)    waiting
//   online        serving            syncing (a)    syncing (c)    serving (b)    waiting
//   gone          last serving (d)   offline        offline        last serving   offline
//                 or offline
//
//   (a) while a member serves; waiting otherwise.
//   (b) when no member serves and no earlier one resumes the chain; otherwise it has missed what
//       the others commit: waiting, or offline if gone.
//   (c) while a member serves and no other syncs; waiting otherwise.
//   (d) when every serving member goes at once. Each of them then holds every commit, so any of
//       them may resume the chain.
//
// Invariants of a chain that began with all its members serving:
// 1. Members are ordered serving, last serving, syncing, waiting, offline; stable within a state.
// 2. At most one member syncs, and only while another serves.
// 3. Serving and last serving never occur together, and one of the two always occurs.
// 4. The version rises by one with every change and with nothing else.
proto::Chain NextChain(const proto::Chain& chain,
                       const std::function<TargetHealth(TargetId)>& health);

}  // namespace sheaf::meta
