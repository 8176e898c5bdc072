#include "tests/sim/world.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "tests/sim/sim_client.h"
#include "tests/sim/sim_manager.h"
#include "tests/sim/sim_node.h"

namespace sheaf::sim {
namespace {

constexpr Time kLatest = 1100 * kMillisecond;  // longer than any message takes
constexpr Time kWatchEvery = 25 * kMillisecond;
constexpr uint64_t kMaxSteps = 3'000'000;  // far beyond any run that ends

SimEngine::Timing Disk() {
  return {.fast = 3 * kMillisecond, .slow = 20 * kMillisecond, .slow_percent = 5};
}
SimEngine::Timing SlowDisk() {
  return {.fast = 50 * kMillisecond, .slow = kSecond, .slow_percent = 40};
}

proto::ClusterMap FirstMap(const Schedule& schedule) {
  proto::ClusterMap map;
  map.set_version(1);
  map.set_cluster_uuid("cluster");
  for (uint32_t id = 1; id <= schedule.nodes; ++id) {
    proto::Node* node = map.add_nodes();
    node->set_id(id);
    node->set_uuid(NodeUuid(id, 1));
    node->set_process(NodeProcess(id, 1));
    node->mutable_addresses()->set_framed("10.0.0." + std::to_string(id) + ":7000");
    node->set_state(proto::NODE_UP);
    proto::Target* target = map.add_targets();
    target->set_id(id);
    target->set_node_id(id);
    target->set_uuid(TargetUuid(id, 1));
    target->set_place(kPlace);
  }
  for (size_t i = 0; i < schedule.chains.size(); ++i) {
    proto::Chain* chain = map.add_chains();
    chain->set_id(static_cast<uint32_t>(i + 1));
    chain->set_version(1);
    for (uint32_t node : schedule.chains[i]) {
      proto::ChainMember* member = chain->add_members();
      member->set_target_id(node);
      member->set_state(proto::SERVING);
    }
  }
  return map;
}

}  // namespace

World::World(const Schedule& schedule, bool verbose)
    : schedule_(schedule), verbose_(verbose), random_(schedule.seed ^ 0x5eafull) {
  const uint32_t actors = 1 + schedule_.nodes + schedule_.clients;
  network_ = std::make_unique<Network>(scheduler_, random_.Fork(), actors);
  for (uint32_t i = 0; i < actors; ++i) {
    actors_.push_back(std::make_unique<Actor>());
    actors_.back()->index = i;
  }
  manager_ = std::make_unique<SimManager>(*this, *actors_[0], FirstMap(schedule_));
  for (uint32_t id = 1; id <= schedule_.nodes; ++id) {
    nodes_.push_back(std::make_unique<SimNode>(*this, *actors_[id], id));
    nodes_.back()->engine().SetTiming(Disk());
    nodes_.back()->Boot(/*registered=*/true);
  }
  for (uint32_t id = 1; id <= schedule_.clients; ++id)
    clients_.push_back(std::make_unique<SimClient>(*this, *actors_[schedule_.nodes + id], id));
  ScheduleFaults();
  scheduler_.At(schedule_.faulty, [this] { CalmDown(); });
  scheduler_.At(kWatchEvery, [this] { Watch(); });
}

World::~World() = default;

void World::Fail(const std::string& what) {
  if (!failure_.empty()) return;
  failure_ = fmt::format("at {:.3f} ms: {}", now() / 1000.0, what);
  Trace("FAILED: {}", what);
}

void World::Print(const std::string& line) const {
  std::printf("%12.3f  %s\n", static_cast<double>(scheduler_.now()) / 1000.0, line.c_str());
}

std::string World::Run() {
  while (!settled_ && !failed() && scheduler_.Step()) {
    if (scheduler_.steps() > kMaxSteps) Fail("the run does not end");
  }
  counts_.steps = scheduler_.steps();
  counts_.operations = history_.size();
  if (failed()) return failure_;
  for (const auto& [session, when] : manager_->fenced()) history_.Fenced(session, when);
  for (size_t i = 0; i < history_.size(); ++i)
    counts_.done += history_.At(i).outcome == Operation::Outcome::kDone ? 1 : 0;
  const History::Verdict verdict = history_.Check();
  counts_.undecided = verdict.undecided;
  if (!verdict.failure.empty()) Fail(verdict.failure);
  return failure_;
}

// ---- what goes wrong ----

void World::ScheduleFaults() {
  for (const Fault& fault : schedule_.faults)
    scheduler_.At(fault.at, [this, &fault] { Strike(fault); });
}

void World::Strike(const Fault& fault) {
  Trace("fault: {}", fault.ToString());
  SimNode& node = this->node(std::max(fault.node, 1u));
  const Time until = now() + fault.lasts;
  const auto at_end = [&](Action action) {
    if (until < schedule_.faulty) scheduler_.At(until, std::move(action));
  };
  const auto thaw = [this](Actor& actor) {
    if (actor.frozen) scheduler_.Thaw(actor);
  };
  switch (fault.kind) {
    case Fault::Kind::kKill:
      node.Kill();
      at_end([&node] { node.Boot(false); });
      break;
    case Fault::Kind::kFreeze:
      node.actor().frozen = node.actor().up;
      at_end([&node, thaw] { thaw(node.actor()); });
      break;
    case Fault::Kind::kCut:
      network_->Cut(fault.node, fault.other % static_cast<uint32_t>(actors_.size()), until);
      break;
    case Fault::Kind::kSplit:
      for (uint32_t other = 0; other < actors_.size(); ++other) {
        if (fault.other % 2 == 0 && other > schedule_.nodes) continue;  // clients reach it
        if (fault.other % 4 == 1 && other == 0) continue;               // the manager reaches it
        network_->Cut(node.id(), other, until);
        network_->Cut(other, node.id(), until);
      }
      break;
    case Fault::Kind::kWeather:
      network_->SetWeather(fault.weather);
      at_end([this] { network_->SetWeather({}); });
      break;
    case Fault::Kind::kFullDisk:
      node.engine().SetFull(true);
      at_end([&node] { node.engine().SetFull(false); });
      break;
    case Fault::Kind::kBrokenDisk:
      if (!node.actor().up) break;
      node.engine().Break();
      at_end([&node] {
        node.Kill();
        node.Boot(false);
      });
      break;
    case Fault::Kind::kLostDisk:
      node.Kill();
      LoseDisk(node, node.actor().life, std::min(until, schedule_.faulty - 1));
      at_end([&node] { node.Boot(false); });
      break;
    case Fault::Kind::kDrain:
      // With another disk it would not be taken for the server that is drained.
      if (manager_->durable().nodes(static_cast<int>(node.id()) - 1).uuid() != node.Uuid()) break;
      drained_.insert(node.id());
      manager_->Drain(node.id(), /*undo=*/false);
      if (fault.other % 2 == 0) at_end([this, &node] { manager_->Drain(node.id(), /*undo=*/true); });
      break;
    case Fault::Kind::kReplace:
      manager_->Replace(node.id(), 1 + fault.other % schedule_.nodes);
      break;
    case Fault::Kind::kRot:
      node.engine().Rot(ChainId(1 + fault.other % static_cast<uint32_t>(schedule_.chains.size())),
                        {DataId(7), fault.other / 2 % schedule_.chunks});
      at_end([&node] { node.engine().HealRot(); });
      break;
    case Fault::Kind::kFlakyDisk:
      node.engine().SetFlaky(fault.other);
      at_end([&node] { node.engine().SetFlaky(0); });
      break;
    case Fault::Kind::kSlowNode:
      network_->Slow(node.id(), fault.other * kMillisecond);
      at_end([this, &node] { network_->Slow(node.id(), 0); });
      break;
    case Fault::Kind::kSlowDisk:
      node.engine().SetTiming(SlowDisk());
      at_end([&node] { node.engine().SetTiming(Disk()); });
      break;
    case Fault::Kind::kManagerDown:
      if (!manager_->actor().up) break;
      manager_->Kill();
      at_end([this] {
        if (!manager_->actor().up) manager_->Boot();
      });
      break;
    case Fault::Kind::kFreezeManager:
      manager_->actor().frozen = manager_->actor().up;
      at_end([this, thaw] { thaw(manager_->actor()); });
      break;
    case Fault::Kind::kClockJump:
      node.JumpClock(fault.lasts);
      break;
    case Fault::Kind::kEndSession:
      manager_->EndSession(clients_[fault.other % clients_.size()]->session());
      break;
    case Fault::Kind::kFreezeClient: {
      Actor& actor = clients_[fault.other % clients_.size()]->actor();
      actor.frozen = true;
      at_end([&actor, thaw] { thaw(actor); });
      break;
    }
  }
}

// A server comes back with an empty disk: at once, or when no chain needs what was on it. (The last
// complete replica of a chain cannot be replaced by an empty one; that is an operator's decision.)
void World::LoseDisk(SimNode& node, uint32_t life, Time until) {
  if (node.actor().up || node.actor().life != life || now() >= until) return;
  if (!MayLoseDisk(node)) {
    scheduler_.At(now() + 10 * kMillisecond,
                  [this, &node, life, until] { LoseDisk(node, life, until); });
    return;
  }
  Trace("node {} loses its disk", node.id());
  node.LoseDisk();
}

// Another member has to hold every commit, and the manager must be sure not to take this one for one
// that does: no word of its process is still under way. Where it serves, as far as is known, one
// that was heard lately is either given up together with it, or goes on.
bool World::MayLoseDisk(const SimNode& node) {
  const proto::ClusterMap& map = manager_->durable();
  if (drained_.contains(node.id())) return false;
  const Actor& manager = manager_->actor();
  if (!manager.up || manager.frozen || now() < node.killed_at() + kLatest) return false;
  const auto holds = [&](const proto::ChainMember& member) {
    const uint32_t id = member.target_id();
    SimNode& other = this->node(id);
    return id != node.id() && member.state() == proto::SERVING && !member.leaving() &&
           map.nodes(static_cast<int>(id) - 1).state() != proto::NODE_DRAINING &&
           other.actor().up && !other.actor().frozen && !other.engine().broken() &&
           manager_->HeardLately(id, other.ProcessName());
  };
  const auto resumes = [&](const proto::ChainMember& member) {
    const uint32_t id = member.target_id();
    return id != node.id() && member.state() == proto::LAST_SERVING &&
           map.targets(static_cast<int>(id) - 1).uuid() == this->node(id).TargetUuid();
  };
  return std::all_of(map.chains().begin(), map.chains().end(), [&](const proto::Chain& chain) {
    for (const proto::ChainMember& member : chain.members()) {
      if (member.target_id() != node.id()) continue;
      const bool serves = member.state() == proto::SERVING;
      if (!serves && member.state() != proto::LAST_SERVING) continue;
      const auto other = [&](const auto& each) { return serves ? holds(each) : resumes(each); };
      if (std::none_of(chain.members().begin(), chain.members().end(), other)) return false;
    }
    return true;
  });
}

void World::CalmDown() {
  Trace("calm");
  calm_ = true;
  network_->HealAll();
  network_->SetWeather({});
  if (!manager_->actor().up) manager_->Boot();
  for (auto& actor : actors_)
    if (actor->frozen) scheduler_.Thaw(*actor);
  for (auto& node : nodes_) {
    node->engine().SetFull(false);
    node->engine().SetFlaky(0);
    node->engine().HealRot();
    node->engine().SetTiming(Disk());
    if (node->engine().broken()) node->Kill();
    node->Boot(false);
  }
}

// ---- what must hold ----

void World::Watch() {
  CheckOrder();
  if (!failed()) CheckClean();
  if (failed()) return;
  if (calm_ && now() > schedule_.faulty + 50 * kMillisecond) {
    const std::string unsettled = Unsettled();
    if (unsettled.empty()) {
      CompareReplicas();
      FinalReads();
      settled_ = true;
      return;
    }
    if (now() > schedule_.faulty + schedule_.settles)
      return Fail("long after the last fault: " + unsettled + TellChains());
  }
  scheduler_.At(now() + kWatchEvery, [this] { Watch(); });
}

// Of each chain, over the members that know the same version: what one has received, the one
// before it has too; what one has committed is durable on the one behind it.
void World::CheckOrder() {
  for (const proto::Chain& chain : manager_->durable().chains()) {
    const storage::ChainCore* before = nullptr;
    for (const proto::ChainMember& member : chain.members()) {
      if (member.state() != proto::SERVING) break;
      SimReplica* replica = node(member.target_id()).replica(ChainId(chain.id()));
      if (replica == nullptr || replica->core().version().value() != chain.version()) {
        before = nullptr;
        continue;
      }
      const storage::ChainCore& core = replica->core();
      if (before != nullptr && before->received() < core.received())
        return Fail(fmt::format("chain {}: node {} has received {}, the one before it {}",
                                chain.id(), member.target_id(), core.received(),
                                before->received()));
      if (before != nullptr && before->committed() > core.settled())
        return Fail(fmt::format("chain {}: node {} has settled {}, the one before it committed {}",
                                chain.id(), member.target_id(), core.settled(),
                                before->committed()));
      before = &core;
    }
  }
}

// Of each chain: members that know the same version and have committed all that they have received,
// through the same, have the same.
void World::CheckClean() {
  for (const proto::Chain& chain : manager_->durable().chains()) {
    const storage::ChainCore* clean = nullptr;
    uint32_t holder = 0;
    for (const proto::ChainMember& member : chain.members()) {
      const uint32_t id = member.target_id();
      SimReplica* replica = node(id).replica(ChainId(chain.id()));
      if (member.state() != proto::SERVING || replica == nullptr) continue;
      const storage::ChainCore& core = replica->core();
      if (core.version().value() != chain.version() || core.received() != core.committed())
        continue;
      if (clean != nullptr && clean->committed() == core.committed()) {
        const std::string difference = Compare(chain, holder, id);
        if (!difference.empty()) return Fail(difference);
      }
      clean = &core;
      holder = id;
    }
  }
}

std::string World::Unsettled() {
  for (const auto& client : clients_)
    if (!client->idle()) return "a client waits";
  const proto::ClusterMap& map = manager_->durable();
  for (const auto& node : nodes_) {
    if (node->map_version() != map.version()) return fmt::format("node {}: old map", node->id());
    if (!node->engine().idle()) return fmt::format("node {}: its disk is busy", node->id());
  }
  for (const proto::Chain& chain : map.chains()) {
    uint64_t committed = 0;
    for (const proto::ChainMember& member : chain.members()) {
      if (member.state() != proto::SERVING)
        return fmt::format("chain {}: target {} is {}", chain.id(), member.target_id(),
                           proto::TargetState_Name(member.state()));
      SimReplica& replica = *node(member.target_id()).replica(ChainId(chain.id()));
      const storage::ChainCore& core = replica.core();
      if (core.received() != core.committed())
        return fmt::format("chain {}: node {} has received {}, committed {}", chain.id(),
                           member.target_id(), core.received(), core.committed());
      if (committed != 0 && core.committed() != committed)
        return fmt::format("chain {}: node {} has committed {}, others {}", chain.id(),
                           member.target_id(), core.committed(), committed);
      committed = core.committed();
      if (member.leaving())
        return fmt::format("chain {}: target {} is leaving", chain.id(), member.target_id());
      if (map.nodes(static_cast<int>(member.target_id()) - 1).state() == proto::NODE_DRAINING)
        return fmt::format("chain {}: node {} is being drained", chain.id(), member.target_id());
      if (!replica.idle()) return fmt::format("chain {}: a client's call waits", chain.id());
    }
  }
  for (const auto& client : clients_)
    if (manager_->ended().contains(client->session()) &&
        !manager_->fenced().contains(client->session()))
      return "a session is not fenced everywhere";
  return "";
}

std::string World::TellChains() {
  std::string text;
  for (const auto& each : nodes_) {
    for (const auto& [chain, replica] : each->replicas()) {
      const storage::ChainCore& core = replica->core();
      text += fmt::format(
          "\n  node {} chain {} version {}: received {:x} settled {:x} committed {:x}{}",
          each->id(), chain.value(), core.version().value(), core.received(), core.settled(),
          core.committed(), core.complete() ? " complete" : "");
    }
  }
  return text;
}

std::string World::Compare(const proto::Chain& chain, uint32_t first, uint32_t second) {
  const ChainId id(chain.id());
  for (uint32_t index = 0; index < schedule_.chunks; ++index) {
    const ChunkId chunk{DataId(7), index};
    const auto a = node(first).engine().ReadAt(id, chunk, SimEngine::kNewest);
    const auto b = node(second).engine().ReadAt(id, chunk, SimEngine::kNewest);
    if (!a.ok() || !b.ok() || *a == *b) continue;  // what cannot be read tells nothing
    return fmt::format(
        "replicas of chunk {}.{} differ: node {} has {} version {}.{}, node {} {} version {}.{}",
        chain.id(), index, first, a->content.ToString(), a->chain_version.value(),
        a->version.value(), second, b->content.ToString(), b->chain_version.value(),
        b->version.value());
  }
  return "";
}

void World::CompareReplicas() {
  for (const proto::Chain& chain : manager_->durable().chains()) {
    for (const proto::ChainMember& member : chain.members()) {
      const std::string difference =
          Compare(chain, chain.members(0).target_id(), member.target_id());
      if (!difference.empty()) return Fail(difference);
    }
    CompareStreams(chain);
  }
}

// What one member has stored as done the others have too, or a later one of the stream; and what is
// known to be done is stored. Versions and lengths in answers are not looked at: a member that
// loses a change while it syncs remembers others for those after it.
void World::CompareStreams(const proto::Chain& chain) {
  using Name = StreamTable::Name;
  using Stream = StreamTable::Stream;
  const ChainId id(chain.id());
  const auto tell = [&](const Name& name, uint32_t node, const std::string& what) {
    Fail(fmt::format("chain {}: {}.{}.{} is done on node {}, {}", chain.id(),
                     name.incarnation.value(), name.stream, name.sequence, node, what));
  };
  const auto stored = [&](uint32_t node, const Name& name, const Stream& stream) {
    for (const auto& [row, value] : this->node(node).engine().LoadRows(id)) {
      if (row.incarnation != name.incarnation || row.stream != name.stream) continue;
      const bool same = value.done && value.result.removed == stream.result.removed &&
                        value.result.more == stream.result.more;
      return row.sequence > name.sequence || (row.sequence == name.sequence && same);
    }
    return false;
  };
  const auto check = [&](uint32_t node, const Name& name, const Stream& stream) {
    if (!stream.done || manager_->ended().contains(name.incarnation)) return;
    if (!stored(node, name, stream)) return tell(name, node, "and not stored there");
    for (const proto::ChainMember& other : chain.members()) {
      const uint32_t there = other.target_id();
      if (!stored(there, name, stream)) tell(name, node, fmt::format("not on node {}", there));
    }
  };
  for (const proto::ChainMember& member : chain.members()) {
    const uint32_t at = member.target_id();
    for (const auto& [name, stream] : node(at).engine().LoadRows(id)) check(at, name, stream);
    node(at).replica(id)->core().streams().ForEach(
        [&](const Name& name, const Stream& stream) { check(at, name, stream); });
  }
}

// What is there in the end, as one more read of each chunk.
void World::FinalReads() {
  for (const proto::Chain& chain : manager_->durable().chains()) {
    for (uint32_t index = 0; index < schedule_.chunks; ++index) {
      const auto image = node(chain.members(0).target_id())
                             .engine()
                             .ReadAt(ChainId(chain.id()), {DataId(7), index}, SimEngine::kNewest);
      Operation operation;
      operation.outcome = Operation::Outcome::kDone;
      operation.chain = chain.id();
      operation.chunk = index;
      operation.seen = image->content;
      operation.begin = operation.end = now();
      history_.Add(operation);
    }
  }
}

}  // namespace sheaf::sim
