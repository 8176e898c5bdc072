#include "meta/cluster/membership.h"

#include <algorithm>
#include <vector>

#include "common/status.h"
#include "meta/cluster/transitions.h"

namespace sheaf::meta {
namespace {

int IndexOf(const proto::Chain& chain, TargetId target) {
  for (int i = 0; i < chain.members_size(); ++i) {
    if (chain.members(i).target_id() == target.value()) return i;
  }
  CHECK(false, "chain " + std::to_string(chain.id()) + " has no member " + ToString(target));
  return -1;
}

proto::ChainMember* Find(proto::Chain* chain, TargetId target) {
  return chain->mutable_members(IndexOf(*chain, target));
}

proto::Chain Changed(proto::Chain chain) {
  OrderMembers(&chain);
  chain.set_version(chain.version() + 1);
  return chain;
}

// The member to be removed next: of those on nodes that drain the last, else the last that is too
// many; -1: none.
int Leaver(const proto::Chain& chain, const MemberView& view) {
  for (int i = chain.members_size() - 1; i >= 0; --i) {
    if (view.drains(TargetId(chain.members(i).target_id()))) return i;
  }
  return chain.members_size() > WantedMembers(chain) ? chain.members_size() - 1 : -1;
}

struct Stayers {
  int members = 0;
  int serving = 0;
  int serving_now = 0;  // of these, heard lately
};

// Those that are left when the nodes that drain, and the leaver, are gone.
Stayers StayersOf(const proto::Chain& chain, int leaver, const MemberView& view) {
  Stayers stayers;
  for (int i = 0; i < chain.members_size(); ++i) {
    const TargetId target(chain.members(i).target_id());
    if (i == leaver || view.drains(target)) continue;
    ++stayers.members;
    if (chain.members(i).state() != proto::SERVING) continue;
    ++stayers.serving;
    stayers.serving_now += view.up(target);
  }
  return stayers;
}

// No member leaves but `leaver`: the node is no longer drained, or the replacement has gone.
bool CallBack(proto::Chain* chain, int leaver) {
  bool changed = false;
  for (int i = 0; i < chain->members_size(); ++i) {
    if (i == leaver || !chain->members(i).leaving()) continue;
    chain->mutable_members(i)->clear_leaving();
    changed = true;
  }
  return changed;
}

}  // namespace

bool TakesPart(const proto::ChainMember& member) {
  return member.state() == proto::SERVING || member.state() == proto::SYNCING;
}

int WantedMembers(const proto::Chain& chain) {
  return chain.replicas() == 0 ? chain.members_size() : static_cast<int>(chain.replicas());
}

bool HasMember(const proto::Chain& chain, TargetId target) {
  return std::any_of(chain.members().begin(), chain.members().end(),
                     [&](const auto& member) { return member.target_id() == target.value(); });
}

const proto::ChainMember& MemberOf(const proto::Chain& chain, TargetId target) {
  return chain.members(IndexOf(chain, target));
}

bool IsServed(const proto::Chain& chain) {
  return std::any_of(chain.members().begin(), chain.members().end(),
                     [](const auto& member) { return member.state() == proto::SERVING; });
}

void ReplaceDisk(proto::Chain* chain, TargetId member, const std::string& before,
                 const std::string& after) {
  proto::ChainMember* row = Find(chain, member);
  CHECK(!TakesPart(*row), "the disk of a member in service was replaced");
  if (row->lost_uuid() == after) {
    row->set_state(proto::LAST_SERVING);
    row->clear_lost_uuid();
  } else {
    if (row->state() == proto::LAST_SERVING) row->set_lost_uuid(before);
    row->set_state(proto::OFFLINE);
  }
  row->clear_leaving();
  OrderMembers(chain);
}

proto::Chain ReplaceMember(const proto::Chain& chain, TargetId member, const std::string& before,
                           TargetId added, const std::string& after) {
  proto::Chain next = chain;
  ReplaceDisk(&next, member, before, after);
  Find(&next, member)->set_target_id(added.value());
  return Changed(std::move(next));
}

proto::Chain AddMember(const proto::Chain& chain, TargetId added) {
  proto::Chain next = chain;
  next.set_replicas(static_cast<uint32_t>(WantedMembers(chain)));
  proto::ChainMember* row = next.add_members();
  row->set_target_id(added.value());
  row->set_state(proto::OFFLINE);
  return Changed(std::move(next));
}

proto::Chain ResetTo(const proto::Chain& chain, TargetId member) {
  proto::Chain next = chain;
  for (proto::ChainMember& row : *next.mutable_members()) {
    CHECK(row.state() != proto::SERVING, "a chain that serves was reset");
    row.clear_lost_uuid();
    if (row.state() == proto::LAST_SERVING) row.set_state(proto::OFFLINE);
    if (row.target_id() == member.value()) row.set_state(proto::LAST_SERVING);
  }
  return Changed(std::move(next));
}

std::optional<proto::Chain> NextRemoval(const proto::Chain& chain, const MemberView& view) {
  if (chain.members().empty() || chain.members(0).state() != proto::SERVING) return std::nullopt;
  const int leaver = Leaver(chain, view);
  const bool any_leaves = std::any_of(chain.members().begin(), chain.members().end(),
                                      [](const auto& member) { return member.leaving(); });
  if (leaver < 0 && !any_leaves) return std::nullopt;
  proto::Chain next = chain;
  const int wanted = WantedMembers(chain);
  const Stayers stayers = StayersOf(chain, leaver, view);
  if (CallBack(&next, stayers.serving >= wanted ? leaver : -1)) return Changed(std::move(next));
  if (leaver < 0) return std::nullopt;
  proto::ChainMember& member = *next.mutable_members(leaver);
  if (member.state() == proto::SERVING) {
    if (stayers.serving_now < wanted) return std::nullopt;
    if (!member.leaving()) {
      member.set_leaving(true);
      return Changed(std::move(next));
    }
    if (!view.knows(TargetId(member.target_id()))) return std::nullopt;
  } else if (stayers.members < wanted) {
    return std::nullopt;
  }
  next.mutable_members()->DeleteSubrange(leaver, 1);
  return Changed(std::move(next));
}

std::optional<TargetId> CutOffMember(const proto::Chain& chain, const MemberView& view) {
  std::vector<TargetId> serving;
  for (const proto::ChainMember& member : chain.members()) {
    const TargetId target(member.target_id());
    if (member.state() == proto::SERVING && view.up(target)) serving.push_back(target);
  }
  const auto hangs = std::find_if(serving.rbegin(), serving.rend(), view.stalled);
  if (hangs != serving.rend() && !std::all_of(serving.begin(), serving.end(), view.stalled)) {
    return *hangs;
  }
  std::optional<TargetId> worst;
  ptrdiff_t most = 0;
  for (TargetId target : serving) {
    const ptrdiff_t broken =
        std::count_if(serving.begin(), serving.end(), [&](TargetId other) {
          return other != target && view.broken(target, other);
        });
    if (broken == 0 || broken < most) continue;
    worst = target;
    most = broken;
  }
  return worst;
}

std::optional<proto::Chain> NextCutOff(const proto::Chain& chain, TargetId member,
                                       const MemberView& view) {
  proto::Chain next = chain;
  if (CallBack(&next, IndexOf(chain, member))) return Changed(std::move(next));
  proto::ChainMember* row = Find(&next, member);
  if (!row->leaving()) {
    row->set_leaving(true);
    return Changed(std::move(next));
  }
  if (!view.knows(member)) return std::nullopt;
  row->set_state(proto::OFFLINE);
  row->clear_leaving();
  return Changed(std::move(next));
}

}  // namespace sheaf::meta
