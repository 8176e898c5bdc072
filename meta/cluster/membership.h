#pragma once

#include <functional>
#include <optional>
#include <string>

#include "common/ids.h"
#include "proto/cluster.pb.h"

namespace sheaf::meta {

// How the members of a chain change by other things than their health (transitions.h): a disk is
// replaced, a node is drained, members do not reach one another, an operator decides. Pure functions, as NextChain; what they answer
// is one version newer and keeps its invariants 1 to 4.
//
// A member that serves is removed in two steps, since the chain goes on without it while its lease
// runs. First it is marked as leaving, which changes nothing but that it answers no reads: it still
// takes part in every commit. Once its node is known to act on that it is taken out. So nobody
// answers a read by what it held before a commit that it was no part of.

// Whether the member takes part in the chain's commits.
bool TakesPart(const proto::ChainMember& member);
// The members that there are to be.
int WantedMembers(const proto::Chain& chain);
bool HasMember(const proto::Chain& chain, TargetId target);
// REQUIRES: it has it.
const proto::ChainMember& MemberOf(const proto::Chain& chain, TargetId target);
// Whether any member serves.
bool IsServed(const proto::Chain& chain);

// The disk of a member, `before`, is another now: `after`. What it held is lost, and if the member
// was to resume the chain it is not any more; unless `after` is the very disk that it held then.
// REQUIRES: the member neither serves nor syncs.
void ReplaceDisk(proto::Chain* chain, TargetId member, const std::string& before,
                 const std::string& after);

// `added`, whose disk is `after`, takes the place of a member: all else as ReplaceDisk.
proto::Chain ReplaceMember(const proto::Chain& chain, TargetId member, const std::string& before,
                           TargetId added, const std::string& after);
// One more member, the last.
proto::Chain AddMember(const proto::Chain& chain, TargetId added);
// What `member` holds counts as every commit; nobody else's does. REQUIRES: nobody serves.
proto::Chain ResetTo(const proto::Chain& chain, TargetId member);

// What is known of a member just now.
struct MemberView {
  std::function<bool(TargetId)> drains;  // its node is being drained
  std::function<bool(TargetId)> up;      // its node has been heard lately, and its disk works
  std::function<bool(TargetId)> knows;   // its node acts on the chain's present version
  std::function<bool(TargetId, TargetId)> broken;  // one of the two says that the other is silent
  std::function<bool(TargetId)> stalled;           // its disk hangs
};
// The next step of removing members: those on nodes that are drained, once as many others serve as
// the chain is to have; and those that are too many. Nothing while nobody serves.
std::optional<proto::Chain> NextRemoval(const proto::Chain& chain, const MemberView& view);

// Of the members that serve and are up, the one that the chain is to go on without since nothing is
// committed with it: one whose disk hangs, while that of another does not; else the one with the
// most broken links to others of them. Of several the last. Nothing where all is well.
std::optional<TargetId> CutOffMember(const proto::Chain& chain, const MemberView& view);
// The next step of going on without it, in the two steps of a removal; but it stays a member, offline,
// and comes back once who serves reaches it. REQUIRES: CutOffMember says so.
std::optional<proto::Chain> NextCutOff(const proto::Chain& chain, TargetId member,
                                       const MemberView& view);

}  // namespace sheaf::meta
