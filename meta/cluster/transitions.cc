#include "meta/cluster/transitions.h"

#include <algorithm>
#include <vector>

namespace sheaf::meta {
namespace {

struct Member {
  proto::ChainMember row;
  proto::TargetState now;
  proto::TargetState next;
  TargetHealth health;
};

bool IsUp(TargetHealth health) {
  return health == TargetHealth::kUp || health == TargetHealth::kComplete ||
         health == TargetHealth::kCutOff;
}

// Whatever it was doing, it does not do any more.
bool HasStopped(TargetHealth health) {
  return health == TargetHealth::kGone || health == TargetHealth::kRestarted;
}

int Rank(proto::TargetState state) {
  switch (state) {
    case proto::SERVING:
      return 0;
    case proto::LAST_SERVING:
      return 1;
    case proto::SYNCING:
      return 2;
    case proto::WAITING:
      return 3;
    default:
      return 4;
  }
}

// The members that served and still do; if all have gone at once, they are the last serving. Nobody
// is given up before it is known who is left: a chain that moved on to members that are dead as
// well would be theirs alone to resume.
bool SettleServing(std::vector<Member>& members) {
  bool any_left = false;
  bool undecided = false;
  for (const Member& member : members) {
    if (member.now != proto::SERVING) continue;
    any_left |= !HasStopped(member.health);
    undecided |= member.health == TargetHealth::kUnknown;
  }
  if (undecided) return true;
  for (Member& member : members) {
    if (member.now != proto::SERVING || !HasStopped(member.health)) continue;
    member.next = any_left ? proto::OFFLINE : proto::LAST_SERVING;
  }
  return any_left;
}

// A dead chain is resumed by the first of its last serving members that is up, rather by one that is
// not cut off. The others must catch up with it: what they hold uncommitted may differ.
bool SettleLastServing(std::vector<Member>& members, bool serving) {
  for (const bool cut_off : {false, true}) {
    for (Member& member : members) {
      if (member.now != proto::LAST_SERVING || serving || !IsUp(member.health)) continue;
      if ((member.health == TargetHealth::kCutOff) != cut_off) continue;
      member.next = proto::SERVING;
      serving = true;
    }
  }
  if (!serving) return false;
  for (Member& member : members) {
    if (member.next != proto::LAST_SERVING) continue;
    member.next = IsUp(member.health) ? proto::WAITING : proto::OFFLINE;
  }
  return true;
}

proto::TargetState AfterSyncing(TargetHealth health, bool serving) {
  if (HasStopped(health)) return proto::OFFLINE;
  if (!serving || health == TargetHealth::kCutOff) return proto::WAITING;
  return health == TargetHealth::kComplete ? proto::SERVING : proto::SYNCING;
}

void SettleOthers(std::vector<Member>& members, bool serving) {
  bool syncing = false;
  for (Member& member : members) {
    if (member.now != proto::SYNCING) continue;
    member.next = AfterSyncing(member.health, serving);
    syncing |= member.next == proto::SYNCING;
  }
  for (Member& member : members) {
    const bool gone = member.health == TargetHealth::kGone;
    const bool cut_off = member.health == TargetHealth::kCutOff;
    if (member.now == proto::OFFLINE && IsUp(member.health)) member.next = proto::WAITING;
    if (member.now != proto::WAITING) continue;
    if (gone) {
      member.next = proto::OFFLINE;
    } else if (IsUp(member.health) && !cut_off && serving && !syncing) {
      member.next = proto::SYNCING;
      syncing = true;
    }
  }
}

proto::ChainMember Settled(const Member& member, bool serving) {
  proto::ChainMember row = member.row;
  row.set_state(member.next);
  if (serving) row.clear_lost_uuid();  // what is committed from here on is not on that disk
  if (member.next != proto::SERVING && member.next != proto::LAST_SERVING) row.clear_leaving();
  return row;
}

}  // namespace

proto::Chain NextChain(const proto::Chain& chain,
                       const std::function<TargetHealth(TargetId)>& health) {
  std::vector<Member> members;
  members.reserve(chain.members_size());
  for (const proto::ChainMember& member : chain.members()) {
    const TargetHealth is = health(TargetId(member.target_id()));
    members.push_back({member, member.state(), member.state(), is});
  }
  const bool still_serving = SettleServing(members);
  const bool serving = SettleLastServing(members, still_serving);
  SettleOthers(members, serving);

  proto::Chain next = chain;
  bool changed = false;
  for (int i = 0; i < next.members_size(); ++i) {
    changed |= members[i].now != members[i].next;
    *next.mutable_members(i) = Settled(members[i], serving);
  }
  if (!changed) return chain;
  OrderMembers(&next);
  next.set_version(chain.version() + 1);
  return next;
}

void OrderMembers(proto::Chain* chain) {
  std::stable_sort(chain->mutable_members()->begin(), chain->mutable_members()->end(),
                   [](const proto::ChainMember& a, const proto::ChainMember& b) {
                     return Rank(a.state()) < Rank(b.state());
                   });
}

}  // namespace sheaf::meta
