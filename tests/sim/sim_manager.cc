#include "tests/sim/sim_manager.h"

#include <utility>

#include "tests/sim/sim_node.h"

namespace sheaf::sim {
namespace {

constexpr Time kTick = 20 * kMillisecond;
constexpr Time kHoldRegistration = kSecond;
constexpr Time kSlowestCommit = 20 * kMillisecond;

meta::LeaseOptions Leases() {
  return {.heartbeat = std::chrono::milliseconds(kHeartbeat / kMillisecond),
          .lease = std::chrono::milliseconds(kLease / kMillisecond)};
}

template <typename Row, typename Key>
void Upsert(google::protobuf::RepeatedPtrField<Row>* rows, const Row& row, Key key) {
  for (Row& known : *rows) {
    if (key(known) == key(row)) {
      known = row;
      return;
    }
  }
  *rows->Add() = row;
}

void Merge(proto::ClusterMap* map, const proto::ClusterMap& change) {
  map->set_version(change.version());
  const auto by_id = [](const auto& row) { return row.id(); };
  for (const auto& row : change.nodes()) Upsert(map->mutable_nodes(), row, by_id);
  for (const auto& row : change.targets()) Upsert(map->mutable_targets(), row, by_id);
  for (const auto& row : change.chains()) Upsert(map->mutable_chains(), row, by_id);
  if (!change.fenced().empty()) *map->mutable_fenced() = change.fenced();
}

}  // namespace

SimManager::SimManager(World& world, Actor& actor, proto::ClusterMap first)
    : world_(world), actor_(actor), random_(world.random().Fork()), durable_(std::move(first)) {
  Boot();
}

Clock::Instant SimManager::LocalNow() const {
  const int64_t ppm = 1'000'000 + world_.schedule().drift_ppm[0];
  return Clock::Instant(world_.now() * ppm / 1000);
}

void SimManager::Kill() {
  actor_.up = false;
  ++actor_.life;
  actor_.frozen = false;
  actor_.backlog.clear();
  state_.reset();
  world_.Trace("manager is killed");
}

void SimManager::Boot() {
  actor_.up = true;
  queue_.clear();
  held_.clear();
  busy_ = false;
  fence_asked_ = true;
  state_ = std::make_unique<meta::ManagerState>(Leases(), durable_, LocalNow());
  map_ = std::make_shared<proto::ClusterMap>(state_->Map());
  world_.Trace("manager boots at map {}", state_->version().value());
  Tick();
}

void SimManager::Tick() {
  world_.scheduler().At(world_.now() + kTick, actor_, actor_.life, [this] { Tick(); });
  for (Then& task : held_) queue_.push_back(std::move(task));
  held_.clear();
  Next();
}

// The executor: one task after the other, transitions and fences between them.
void SimManager::Next() {
  if (busy_) return;
  if (queue_.empty()) return Settle();
  const Then task = std::move(queue_.front());
  queue_.pop_front();
  task();
  if (!busy_ && !queue_.empty()) Next();
}

void SimManager::Settle() {
  if (auto change = state_->PlanTransitions(LocalNow())) return Commit(*change, [] {});
  state_->SettleFence(LocalNow());
  NoteFenced();
  if (!fence_asked_ || !state_->FenceOver(LocalNow())) return;
  fence_asked_ = false;
  const std::vector<Incarnation> live(live_.begin(), live_.end());
  if (auto change = state_->PlanFence(meta::FencedRanges(live, next_session_)))
    Commit(*change, [] {});
}

void SimManager::NoteFenced() {
  for (Incarnation session : ended_)
    if (state_->FencedEverywhere(session) && fenced_.emplace(session, world_.now()).second)
      world_.Trace("session {} is fenced everywhere", session.value());
}

// A crash on the way leaves the change durable, or not.
void SimManager::Commit(const proto::ClusterMap& change, Then then) {
  busy_ = true;
  const Time durable = world_.now() + random_.Between(100, kSlowestCommit);
  const Time told = durable + random_.Between(0, kSlowestCommit / 4);
  world_.scheduler().At(durable, actor_, actor_.life, [this, change] { Merge(&durable_, change); });
  world_.scheduler().At(told, actor_, actor_.life, [this, change, then = std::move(then)] {
    state_->Apply(change);
    busy_ = false;
    Publish();
    then();
    Next();
  });
}

void SimManager::Publish() {
  map_ = std::make_shared<proto::ClusterMap>(state_->Map());
  for (const proto::Chain& chain : map_->chains()) {
    if (!world_.verbose()) break;
    std::string members;
    for (const proto::ChainMember& member : chain.members())
      members += fmt::format(" {}:{}", member.target_id(), proto::TargetState_Name(member.state()));
    world_.Trace("map {}: chain {} version {}{}", map_->version(), chain.id(), chain.version(),
                 members);
  }
  for (uint32_t id = 1; id <= world_.schedule().nodes; ++id) {
    SimNode& node = world_.node(id);
    world_.network().Send(actor_, node.actor(), Actor::kAnyLife,
                          [&node, map = map_] { node.ApplyMap(map); });
  }
}

void SimManager::OnRegister(const proto::RegisterNodeRequest& request,
                            const Network::Responder<proto::RegisterNodeResponse>& reply) {
  queue_.push_back([this, request, reply, until = world_.now() + kHoldRegistration] {
    TryRegister(request, reply, until);
  });
  Next();
}

void SimManager::TryRegister(const proto::RegisterNodeRequest& request,
                             const Network::Responder<proto::RegisterNodeResponse>& reply,
                             Time until) {
  const auto needed = state_->CheckRegister(request);
  if (!needed.ok()) return reply(needed.status());
  if (!state_->MayRegister(request, LocalNow())) {
    if (world_.now() >= until) return reply(Status(Code::kUnavailable, "register: not yet"));
    held_.push_back([this, request, reply, until] { TryRegister(request, reply, until); });
    return;
  }
  auto change = state_->PlanRegister(request, NodeId(), {}, LocalNow());
  const auto registered = [this, request, reply] {
    reply(state_->Registered(request, LocalNow()));
  };
  if (!change.has_value()) return registered();
  world_.Trace("manager registers {} as {}", request.uuid(), request.process());
  Commit(*change, registered);
}

void SimManager::OnHeartbeat(const proto::HeartbeatRequest& request,
                             const Network::Responder<proto::HeartbeatResponse>& reply) {
  auto answer = state_->Heartbeat(request, LocalNow());
  if (answer.ok()) heard_[request.node_id()] = {request.process(), world_.now()};
  reply(std::move(answer));
}

void SimManager::OnGetMap(uint64_t known, const Network::Responder<MapRef>& reply) {
  reply(map_->version() > known ? map_ : MapRef());
}

bool SimManager::HeardLately(uint32_t node, const std::string& process) const {
  const auto found = heard_.find(node);
  return found != heard_.end() && found->second.process == process &&
         found->second.at + 2 * kHeartbeat >= world_.now();
}

// ---- operators ----

void SimManager::Change(const std::string& what, Plan plan) {
  if (!actor_.up) return;
  queue_.push_back([this, what, plan = std::move(plan)] {
    auto change = plan();
    world_.Trace("{}: {}", what, change.status().ToString());
    if (change.ok() && change->has_value()) Commit(**change, [] {});
  });
  Next();
}

void SimManager::Drain(uint32_t node, bool undo) {
  proto::DrainNodeRequest request;
  request.set_node_id(node);
  request.set_undo(undo);
  Change(fmt::format("node {} is {}", node, undo ? "not drained any more" : "drained"),
         [this, request] { return state_->PlanDrain(request, LocalNow()); });
}

void SimManager::Replace(uint32_t from, uint32_t to) {
  proto::ReplaceTargetRequest request;
  request.set_old_id(from);
  request.set_new_id(to);
  Change(fmt::format("target {} is replaced by {}", from, to),
         [this, request] { return state_->PlanReplaceTarget(request, LocalNow()); });
}

Incarnation SimManager::OpenSession() {
  const Incarnation session(next_session_++);
  live_.insert(session);
  return session;
}

void SimManager::EndSession(Incarnation session) {
  if (live_.erase(session) == 0) return;
  ended_.insert(session);
  fence_asked_ = true;
  world_.Trace("session {} ends", session.value());
}

}  // namespace sheaf::sim
