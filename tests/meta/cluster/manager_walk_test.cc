// The manager's rules under random faults: one chain, a node for each member, and an oracle that
// knows who holds which commit. Nodes act on the maps they have, under the leases they have,
// whatever the manager has decided meanwhile; they are killed, stopped, restarted and cut off, from
// one another too, and so is the manager. Their disks are replaced, also by those that were there before, and they are
// drained.
//
// SHEAF_SEED repeats a run.

#include <gtest/gtest.h>

#include <algorithm>
#include <bitset>
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "meta/cluster/manager_state.h"
#include "tests/support/sanitized.h"
#include "meta/cluster/membership.h"

namespace sheaf::meta {
namespace {

using std::chrono::milliseconds;

constexpr LeaseOptions kLeases{};
constexpr milliseconds kStep{10};
constexpr milliseconds kTick{50};
constexpr size_t kMaxCommits = 4096;
constexpr uint32_t kOthers = 100;  // ids of the other disks are above it

uint64_t Seed() {
  const char* text = std::getenv("SHEAF_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device{}();
}

bool TakesPart(proto::TargetState state) {
  return state == proto::SERVING || state == proto::SYNCING;
}

// A storage server of one target in the chain, and another disk that shows who it is. What is
// durable survives a kill; the rest begins anew.
struct Node {
  uint32_t id = 0;
  std::bitset<kMaxCommits> holds;                  // durable
  int disk = 0;                                    // that holds it
  std::map<int, std::bitset<kMaxCommits>> drawer;  // disks that were taken out
  bool alive = false;
  bool cut_off = false;  // from the manager
  int process = 0;
  bool registered = false;
  Clock::Instant leased_until{};
  Clock::Instant next_beat{};
  uint64_t map_version = 0;
  proto::Chain chain;                // as of that map
  uint32_t complete_at_version = 0;  // of the chain

  proto::ChainMember Member() const {
    for (const proto::ChainMember& member : chain.members()) {
      if (member.target_id() == id) return member;
    }
    proto::ChainMember none;
    none.set_state(proto::OFFLINE);
    return none;
  }
  proto::TargetState State() const { return Member().state(); }
  bool Acts(Clock::Instant now) const {
    return alive && registered && now < leased_until && TakesPart(State());
  }
};

class Walk {
 public:
  // A chain of `size` members, and nodes that are no member of it.
  Walk(uint64_t seed, uint32_t size, uint32_t spare = 0)
      : random_(seed), state_(kLeases, EmptyMap(), now_) {
    nodes_.resize(size + spare);
    for (uint32_t i = 0; i < size + spare; ++i) {
      nodes_[i].id = i + 1;
      Begin(nodes_[i]);
    }
    Run(milliseconds(100));
    std::vector<TargetId> members;
    for (uint32_t i = 0; i < size; ++i) members.emplace_back(nodes_[i].id);
    state_.Apply(state_.PlanCreateChains({members}, ChainId(1)));
    Run(milliseconds(1000));
  }

  // Faults of all kinds.
  void Disturb(milliseconds time) {
    for (milliseconds passed{0}; passed < time && !::testing::Test::HasFatalFailure();
         passed += kStep) {
      for (Node& node : nodes_) {
        if (Chance(400)) Kill(node);
        if (Chance(800)) Stop(node);
        if (!node.alive && Chance(100)) Begin(node);
        if (Chance(500)) node.cut_off = !node.cut_off;
        if (Chance(700)) BreakLink(node.id, 1 + static_cast<uint32_t>(random_() % nodes_.size()));
        if (Chance(300)) links_broken_.clear();
      }
      if (Chance(1500)) RestartManager();
      Step();
    }
  }
  // As Disturb, and operators change who holds the chain.
  void Change(milliseconds time) {
    for (milliseconds passed{0}; passed < time && !::testing::Test::HasFatalFailure();
         passed += kStep) {
      if (Chance(100)) ReplaceDisk(nodes_[random_() % nodes_.size()]);
      if (Chance(50)) Drain(nodes_[random_() % nodes_.size()].id, Chance(2));
      if (Chance(50)) ReplaceTarget();
      Disturb(kStep);
    }
  }
  void Heal() {
    Recover();
    if (!IsHeld()) {
      ASSERT_GT(replaced_, 0) << Chain().ShortDebugString();
      Reset();
    }
    Run(std::chrono::seconds(30));
    const proto::Chain chain = Chain();
    ASSERT_TRUE(IsHeld()) << chain.ShortDebugString();
    const int wanted = WantedMembers(chain);
    ASSERT_GE(chain.members_size(), wanted);
    ASSERT_LE(chain.members_size(), wanted + Draining()) << chain.ShortDebugString();
    for (const proto::ChainMember& member : chain.members()) {
      ASSERT_EQ(member.state(), proto::SERVING) << chain.ShortDebugString();
    }
  }
  // Nobody holds what was written: nobody serves, whoever comes, until the disk that did is back.
  void LoseAndFind() {
    Recover();
    const size_t before = commits_;
    for (Node& node : nodes_) {
      Kill(node);
      Run(RandomTime(milliseconds(100)));
    }
    Run(std::chrono::seconds(5));
    for (Node& node : nodes_) TakeOut(node);
    Recover();
    ASSERT_FALSE(IsHeld()) << Chain().ShortDebugString();
    ASSERT_EQ(commits_, before);
    Node& found = nodes_[random_() % nodes_.size()];
    Kill(found);
    PutIn(found, 0);
    Heal();
  }
  // Two do not reach one another, and nothing else is wrong.
  void BreakOneLink() {
    const auto target = [&] { return 1 + static_cast<uint32_t>(random_() % nodes_.size()); };
    const uint32_t one = target();
    uint32_t other = target();
    while (other == one && nodes_.size() > 1) other = target();
    BreakLink(one, other);
    Run(std::chrono::seconds(5));
    const size_t before = commits_;
    Run(std::chrono::seconds(2));
    ASSERT_GT(commits_, before) << Chain().ShortDebugString();
    Heal();
  }
  // Of one that is drained nothing is left, and what it held is elsewhere.
  void DrainAndStop() {
    Recover();
    const uint32_t node = Chain().members(random_() % Chain().members_size()).target_id();
    Drain(node, false);
    Run(std::chrono::seconds(30));
    ASSERT_FALSE(HasMember(Chain(), TargetId(node))) << Chain().ShortDebugString();
    Kill(nodes_[node - 1]);
    nodes_[node - 1].holds.reset();
    Run(std::chrono::seconds(5));
    const proto::Chain chain = Chain();
    ASSERT_EQ(chain.members_size(), WantedMembers(chain));
    for (const proto::ChainMember& member : chain.members()) {
      ASSERT_EQ(member.state(), proto::SERVING) << chain.ShortDebugString();
    }
  }

  // All go, each within `apart` of the first, and then one comes back.
  void AllGoAndOneComesBack(milliseconds apart) {
    std::vector<milliseconds> at;
    for (size_t i = 0; i < nodes_.size(); ++i) at.push_back(RandomTime(apart));
    const size_t back = random_() % nodes_.size();
    const milliseconds comes = apart + RandomTime(std::chrono::seconds(4));
    const milliseconds manager_restarts =
        Chance(2) ? RandomTime(std::chrono::seconds(4)) : milliseconds(-1);
    bool serves = false;  // at some time: lost answers may cost any single lease
    for (milliseconds passed{0}; passed < std::chrono::seconds(10); passed += kStep) {
      for (size_t i = 0; i < nodes_.size(); ++i) {
        if (at[i] / kStep == passed / kStep) Kill(nodes_[i]);
      }
      if (comes / kStep == passed / kStep) Begin(nodes_[back]);
      if (manager_restarts / kStep == passed / kStep) RestartManager();
      Step();
      serves |= passed > comes && nodes_[back].Acts(now_) &&
                nodes_[back].State() == proto::SERVING;
    }
    ASSERT_TRUE(serves) << Chain().ShortDebugString();
  }

 private:
  static proto::ClusterMap EmptyMap() {
    proto::ClusterMap map;
    map.set_version(1);
    map.set_cluster_uuid("the-cluster");
    return map;
  }

  bool Chance(uint64_t of) { return random_() % of == 0; }
  milliseconds RandomTime(milliseconds below) {
    return milliseconds(static_cast<int64_t>(random_() % static_cast<uint64_t>(below.count())));
  }
  proto::Chain Chain() const {
    const proto::ClusterMap map = state_.Map();
    return map.chains().empty() ? proto::Chain() : map.chains(0);
  }

  bool IsHeld() const {
    const proto::Chain chain = Chain();
    return std::any_of(chain.members().begin(), chain.members().end(), [](const auto& member) {
      return member.state() == proto::SERVING || member.state() == proto::LAST_SERVING;
    });
  }
  int Draining() const {
    const proto::ClusterMap map = state_.Map();
    return static_cast<int>(std::count_if(
        map.nodes().begin(), map.nodes().end(),
        [](const proto::Node& node) { return node.state() == proto::NODE_DRAINING; }));
  }
  std::bitset<kMaxCommits> Lacks(const Node& node) const {
    return committed_ & ~node.holds & ~given_up_;
  }

  void Recover() {
    links_broken_.clear();
    for (Node& node : nodes_) {
      node.cut_off = false;
      if (!node.alive) Begin(node);
    }
    Run(std::chrono::seconds(30));
  }
  void BreakLink(uint32_t one, uint32_t other) {
    if (one != other) links_broken_.insert({std::min(one, other), std::max(one, other)});
  }
  bool LinkBroken(uint32_t one, uint32_t other) const {
    return links_broken_.contains({std::min(one, other), std::max(one, other)});
  }
  void TakeOut(Node& node) {
    Kill(node);
    node.drawer[node.disk] = node.holds;
    node.holds.reset();
    node.disk = ++disks_;
    ++replaced_;
  }
  void PutIn(Node& node, int disk) {
    node.drawer[node.disk] = node.holds;
    node.disk = disk;
    node.holds = node.drawer.at(disk);
    ++replaced_;
  }
  void ReplaceDisk(Node& node) {
    if (node.drawer.empty() || Chance(2)) return TakeOut(node);
    Kill(node);
    auto which = node.drawer.begin();
    std::advance(which, random_() % node.drawer.size());
    PutIn(node, which->first);
  }
  void ApplyChange(const ManagerState::Change& change) {
    if (change.ok() && change->has_value()) state_.Apply(**change);
  }
  void Drain(uint32_t node, bool undo) {
    proto::DrainNodeRequest request;
    request.set_node_id(node);
    request.set_undo(undo);
    ApplyChange(state_.PlanDrain(request, now_));
  }
  void ReplaceTarget() {
    proto::ReplaceTargetRequest request;
    request.set_old_id(nodes_[random_() % nodes_.size()].id);
    request.set_new_id(nodes_[random_() % nodes_.size()].id);
    ApplyChange(state_.PlanReplaceTarget(request, now_));
  }
  // An operator takes what one of them has.
  void Reset() {
    proto::ResetChainRequest request;
    request.set_chain_id(1);
    const proto::Chain chain = Chain();
    request.set_target_id(chain.members(random_() % chain.members_size()).target_id());
    const auto change = state_.PlanResetChain(request, now_);
    ASSERT_TRUE(change.ok()) << change.status().ToString();
    given_up_ |= Lacks(*Find(request.target_id()));
    ApplyChange(change);
  }

  void Begin(Node& node) {
    ++node.process;
    node.alive = true;
    node.next_beat = now_;
  }
  static void Kill(Node& node) {
    node = {.id = node.id,
            .holds = node.holds,
            .disk = node.disk,
            .drawer = node.drawer,
            .cut_off = node.cut_off,
            .process = node.process};
  }
  // In good order: it serves nothing any more, and says so; that may be lost.
  void Stop(Node& node) {
    if (node.alive && node.registered && !node.cut_off && !Chance(10)) {
      proto::HeartbeatRequest last = HeartbeatOf(node);
      last.set_stopping(true);
      (void)state_.Heartbeat(last, now_);
    }
    Kill(node);
  }
  // What is durable of the map is all of it: no change is left half made here.
  void RestartManager() { state_ = ManagerState(kLeases, state_.Map(), now_); }

  void Run(milliseconds time) {
    for (milliseconds passed{0}; passed < time && !::testing::Test::HasFatalFailure();
         passed += kStep) {
      Step();
    }
  }

  void Step() {
    now_ += kStep;
    for (Node& node : nodes_) {
      if (!node.alive || node.cut_off) continue;
      if (!node.registered) {
        if (now_ >= node.next_beat) Register(node);
      } else if (now_ >= node.next_beat) {
        Beat(node);
      }
      if (node.registered && Chance(3)) TakeMap(node);
    }
    if (now_.count() % Clock::Instant(kTick).count() == 0) Transitions();
    for (int i = 0; i < 3; ++i) Commit();
    Resync();
    Check();
  }

  void Register(Node& node) {
    node.next_beat = now_ + RandomTime(milliseconds(200));
    proto::RegisterNodeRequest request;
    request.set_uuid("node" + std::to_string(node.id));
    request.set_process(std::to_string(node.process));
    request.mutable_addresses()->set_framed("10.0.0." + std::to_string(node.id) + ":7710");
    request.add_targets()->set_uuid("disk" + std::to_string(node.id) + "." +
                                    std::to_string(node.disk));
    request.mutable_targets(0)->set_state(proto::UP_TO_DATE);
    request.mutable_targets(0)->set_place("/mnt/disk");
    *request.add_targets() = request.targets(0);
    request.mutable_targets(1)->set_uuid("other" + std::to_string(node.id));
    request.mutable_targets(1)->set_place("/mnt/other");
    const auto needed = state_.CheckRegister(request);
    CHECK(needed.ok(), needed.status().ToString());
    if (!state_.MayRegister(request, now_)) return;
    std::vector<TargetId> targets;
    if (needed->targets > 0) targets = {TargetId(node.id), TargetId(node.id + kOthers)};
    const auto change = state_.PlanRegister(request, NodeId(node.id), targets, now_);
    if (change.has_value()) state_.Apply(*change);
    (void)state_.Registered(request, now_);
    node.registered = !Chance(10);  // else the answer is lost
    node.next_beat = now_;
  }

  // One of the two ends of a broken link may not notice.
  proto::HeartbeatRequest HeartbeatOf(const Node& node) {
    proto::HeartbeatRequest request;
    request.set_node_id(node.id);
    request.set_uuid("node" + std::to_string(node.id));
    request.set_process(std::to_string(node.process));
    request.set_map_version(node.map_version);
    proto::TargetReport* target = request.add_targets();
    target->set_id(node.id);
    target->set_state(proto::UP_TO_DATE);
    for (const Node& other : nodes_) {
      const bool notices = node.id < other.id || (node.id + other.id) % 2 == 0;
      if (notices && LinkBroken(node.id, other.id)) request.add_out_of_reach(other.id);
    }
    if (node.State() == proto::SYNCING) {
      proto::ChainReport* report = target->add_chains();
      report->set_chain_id(1);
      report->set_chain_version(node.complete_at_version);
      report->set_complete(node.complete_at_version == node.chain.version());
    }
    return request;
  }

  void Beat(Node& node) {
    const auto answer = state_.Heartbeat(HeartbeatOf(node), now_);
    if (!answer.ok()) {
      node.registered = false;
      node.leased_until = {};
      return;
    }
    node.next_beat = now_ + kLeases.heartbeat;
    if (Chance(10)) return;  // the answer is lost
    node.leased_until = std::max(node.leased_until, now_ + milliseconds(answer->lease_ms()));
    if (answer->lease_ms() == 0) node.next_beat = now_ + kLeases.heartbeat / 10;
  }

  void TakeMap(Node& node) {
    const uint64_t version = state_.version().value();
    if (version <= node.map_version) return;
    node.map_version = version;
    node.chain = Chain();
    if (node.chain.version() != node.complete_at_version) node.complete_at_version = 0;
  }

  void Transitions() {
    for (int i = 0; i < 100; ++i) {
      const auto change = state_.PlanTransitions(now_);
      if (!change.has_value()) return;
      state_.Apply(*change);
    }
    FAIL() << "transitions do not settle";
  }

  Node* Find(uint32_t target) { return &nodes_[target - 1]; }

  // A mutation that comes to some node: it takes every member of the chain as the head has it.
  void Commit() {
    if (commits_ == kMaxCommits) return;
    Node& head = nodes_[random_() % nodes_.size()];
    if (!head.Acts(now_) || head.chain.members(0).target_id() != head.id) return;
    std::vector<Node*> members;
    for (const proto::ChainMember& member : head.chain.members()) {
      if (!TakesPart(member.state())) continue;
      Node* node = Find(member.target_id());
      if (!node->Acts(now_) || node->chain.version() != head.chain.version()) return;
      if (!members.empty() && LinkBroken(members.back()->id, node->id)) return;
      members.push_back(node);
    }
    for (Node* node : members) node->holds.set(commits_);
    committed_.set(commits_++);
  }

  void Resync() {
    for (Node& node : nodes_) {
      if (!node.Acts(now_) || node.State() != proto::SYNCING || !Chance(20)) continue;
      const Node* source = Find(node.chain.members(0).target_id());
      if (!source->Acts(now_) || source->chain.version() != node.chain.version()) continue;
      if (LinkBroken(source->id, node.id)) continue;
      node.holds |= source->holds;
      node.complete_at_version = node.chain.version();
    }
  }

  // Whoever serves, by the manager's word or by its own, holds every commit; and under one version
  // of the chain a target is one process.
  void Check() {
    const proto::Chain chain = Chain();
    for (const proto::ChainMember& member : chain.members()) {
      // By the map as it is; a server whose disk was replaced serves nothing before it is known.
      const Node& node = *Find(member.target_id());
      if (member.state() != proto::SERVING || (replaced_ > 0 && !node.registered)) continue;
      ASSERT_TRUE(Lacks(node).none())
          << "target " << member.target_id() << ": " << chain.ShortDebugString();
    }
    for (const Node& node : nodes_) {
      if (!node.Acts(now_)) continue;
      const auto [acted, first] = acted_.try_emplace({node.id, node.chain.version()}, node.process);
      ASSERT_EQ(acted->second, node.process) << "target " << node.id << " goes on";
      if (node.State() != proto::SERVING || node.Member().leaving()) continue;
      ASSERT_TRUE(Lacks(node).none()) << "target " << node.id << " answers what is stale";
    }
  }

  std::mt19937_64 random_;
  Clock::Instant now_{std::chrono::hours(1)};
  ManagerState state_;
  std::vector<Node> nodes_;
  size_t commits_ = 0;
  std::bitset<kMaxCommits> committed_;
  std::bitset<kMaxCommits> given_up_;  // by an operator
  std::set<std::pair<uint32_t, uint32_t>> links_broken_;
  int disks_ = 0;
  int replaced_ = 0;
  std::map<std::pair<uint32_t, uint32_t>, int> acted_;  // process by target and chain version
};

class ManagerWalkTest : public ::testing::Test {
 protected:
  template <typename Faults>
  void ForMany(int walks, Faults faults, uint32_t spare = 0) {
    const uint64_t seed = Seed();
    std::cout << "SHEAF_SEED=" << seed << std::endl;
    if (sheaf::testing::kSanitized) walks = (walks + 9) / 10;
    for (int i = 0; i < walks; ++i) {
      for (uint32_t size = 1; size <= 4; ++size) {
        SCOPED_TRACE("SHEAF_SEED=" + std::to_string(seed + i) + ", " + std::to_string(size) +
                     " members");
        Walk walk(seed + i, size, spare);
        if (!HasFatalFailure()) faults(walk);
        if (HasFatalFailure()) return;
      }
    }
  }
};

TEST_F(ManagerWalkTest, WhoeverServesHoldsEveryCommitAndTheChainHeals) {
  ForMany(25, [](Walk& walk) {
    for (int i = 0; i < 2 && !HasFatalFailure(); ++i) {
      walk.Disturb(std::chrono::seconds(20));
      if (!HasFatalFailure()) walk.Heal();
    }
  });
}

TEST_F(ManagerWalkTest, WhoeverServesHoldsEveryCommitWhateverOperatorsChange) {
  for (uint32_t spare : {0u, 2u}) {
    ForMany(
        10,
        [](Walk& walk) {
          for (int i = 0; i < 2 && !HasFatalFailure(); ++i) {
            walk.Change(std::chrono::seconds(20));
            if (!HasFatalFailure()) walk.Heal();
          }
        },
        spare);
  }
}

TEST_F(ManagerWalkTest, AChainWhoseDisksWereAllReplacedWaitsForOneOfThem) {
  ForMany(10, [](Walk& walk) { walk.LoseAndFind(); });
}

TEST_F(ManagerWalkTest, AChainGoesOnWhereTwoOfItsMembersDoNotReachOneAnother) {
  ForMany(10, [](Walk& walk) { walk.BreakOneLink(); });
}

TEST_F(ManagerWalkTest, ADrainedNodeHoldsNothingAnyMore) {
  ForMany(
      10, [](Walk& walk) { walk.DrainAndStop(); }, 1);
}

TEST_F(ManagerWalkTest, AnyOneOfThoseThatWentTogetherResumesTheChain) {
  ForMany(40, [](Walk& walk) { walk.AllGoAndOneComesBack(milliseconds(700)); });
}

}  // namespace
}  // namespace sheaf::meta
