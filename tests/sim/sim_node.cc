#include "tests/sim/sim_node.h"

#include <algorithm>
#include <utility>

#include "tests/sim/sim_manager.h"

namespace sheaf::sim {
namespace {

constexpr Time kCallDeadline = 80 * kMillisecond;
constexpr Time kRegisterDeadline = kSecond;
constexpr Time kTick = 30 * kMillisecond;
constexpr Time kEarlyBeat = kHeartbeat / 10;

}  // namespace

std::string NodeUuid(uint32_t node, uint32_t disk) {
  return fmt::format("node-{}.{}", node, disk);
}

std::string TargetUuid(uint32_t node, uint32_t disk) {
  return fmt::format("target-{}.{}", node, disk);
}

std::string NodeProcess(uint32_t node, uint32_t life) {
  return fmt::format("node-{}-process-{}", node, life);
}

SimNode::SimNode(World& world, Actor& actor, uint32_t id)
    : world_(world),
      actor_(actor),
      id_(id),
      random_(world.random().Fork()),
      engine_(world.scheduler(), random_.Fork()) {}

std::string SimNode::ProcessName() const {
  return NodeProcess(id_, actor_.life);
}

Clock::Instant SimNode::LocalNow() const {
  const int64_t ppm = 1'000'000 + world_.schedule().drift_ppm[id_];
  return Clock::Instant(world_.now() * ppm / 1000 + jumped_ * 1000);
}

void SimNode::Kill() {
  if (!actor_.up) return;
  world_.Trace("node {} is killed", id_);
  killed_at_ = world_.now();
  actor_.up = false;
  actor_.frozen = false;
  actor_.backlog.clear();
  replicas_.clear();
  dropped_.clear();
  engine_.Crash();
}

void SimNode::LoseDisk() {
  ++disk_;
  engine_.Lose();
}

void SimNode::Boot(bool registered) {
  if (actor_.up && !registered) return;
  if (!registered) ++actor_.life;
  actor_.up = true;
  registered_ = registered;
  fetching_ = registering_ = false;
  lease_deadline_ = {};
  map_.reset();
  learned_.clear();
  in_force_ = 0;
  links_ = {};
  world_.Trace("node {} boots as {}", id_, ProcessName());
  Beat();
  Tick();
}

void SimNode::Tick() {
  world_.scheduler().At(world_.now() + kTick, actor_, actor_.life, [this] { Tick(); });
  for (auto& [chain, replica] : replicas_) replica->core().Tick();
}

SimReplica* SimNode::replica(ChainId chain) {
  const auto found = replicas_.find(chain);
  return found == replicas_.end() ? nullptr : found->second.get();
}

// ---- the manager ----

bool SimNode::Leased() const { return LocalNow() < lease_deadline_; }

void SimNode::Beat() {
  if (world_.now() >= next_probe_) Probe();
  if (registered_) {
    Heartbeat();
  } else {
    Register();
  }
  const Time pause = registered_ && Leased() ? kHeartbeat : kEarlyBeat;
  world_.scheduler().At(world_.now() + pause + random_.Between(0, pause / 4), actor_, actor_.life,
                        [this] { Beat(); });
}

void SimNode::AddReport(google::protobuf::RepeatedPtrField<proto::TargetReport>* reports) {
  proto::TargetReport* report = reports->Add();
  report->set_uuid(TargetUuid());
  report->set_place(kPlace);
  report->set_state(engine_.broken() ? proto::FAILED : proto::UP_TO_DATE);
  for (const auto& [chain, replica] : replicas_) {
    proto::ChainReport* row = report->add_chains();
    row->set_chain_id(chain.value());
    row->set_chain_version(replica->core().version().value());
    row->set_complete(replica->core().complete());
  }
}

void SimNode::Register() {
  if (std::exchange(registering_, true)) return;
  proto::RegisterNodeRequest request;
  request.set_uuid(Uuid());
  request.set_process(ProcessName());
  request.mutable_addresses()->set_framed("10.0.0." + std::to_string(id_) + ":7000");
  AddReport(request.mutable_targets());
  world_.network().Call<proto::RegisterNodeResponse>(
      actor_, world_.manager().actor(), kRegisterDeadline,
      [this, request](const auto& reply) { world_.manager().OnRegister(request, reply); },
      [this](const auto& answer) {
        registering_ = false;
        registered_ |= answer.ok();
      });
}

void SimNode::Heartbeat() {
  proto::HeartbeatRequest request;
  request.set_node_id(id_);
  request.set_uuid(Uuid());
  request.set_process(ProcessName());
  request.set_map_version(MapInForce());
  AddReport(request.mutable_targets());
  request.mutable_targets(0)->set_id(id_);
  for (NodeId node : links_.OutOfReach()) request.add_out_of_reach(node.value());
  const Clock::Instant sent = LocalNow();
  world_.network().Call<proto::HeartbeatResponse>(
      actor_, world_.manager().actor(), kCallDeadline,
      [this, request](const auto& reply) { world_.manager().OnHeartbeat(request, reply); },
      [this, sent](const Result<proto::HeartbeatResponse>& answer) {
        if (!answer.ok()) {
          if (answer.status().code() != Code::kNotFound) return;
          lease_deadline_ = {};
          registered_ = false;
          return;
        }
        const Clock::Instant until = sent + std::chrono::milliseconds(answer->lease_ms());
        lease_deadline_ = std::max(lease_deadline_, until);
        if (answer->map_version() > map_version()) FetchMap();
      });
}

// As LinkProbes.
void SimNode::Probe() {
  next_probe_ = world_.now() + kHeartbeat;
  for (NodeId other : links_.BeginRound()) {
    world_.network().Call<bool>(
        actor_, world_.node(other.value()).actor(), kCallDeadline,
        [](const auto& reply) { reply(true); },
        [this, other](const Result<bool>& answer) {
          if (answer.ok()) links_.OnAnswer(other);
        });
  }
}

void SimNode::FetchMap() {
  if (std::exchange(fetching_, true)) return;
  world_.network().Call<MapRef>(
      actor_, world_.manager().actor(), kCallDeadline,
      [this, known = map_version()](const auto& reply) { world_.manager().OnGetMap(known, reply); },
      [this](const Result<MapRef>& map) {
        fetching_ = false;
        if (map.ok() && *map) ApplyMap(*map);
      });
}

void SimNode::ApplyMap(const MapRef& map) {
  if (!registered_ || map->version() <= map_version()) return;
  map_ = std::make_unique<storage::ChainMap>(storage::BuildChainMap(*map, {TargetUuid()}));
  for (auto it = replicas_.begin(); it != replicas_.end();) {
    if (map_->chains.contains(it->first)) {
      ++it;
      continue;
    }
    it->second->Stop();
    dropped_.push_back(std::move(it->second));
    it = replicas_.erase(it);
  }
  std::set<NodeId> neighbours;
  for (const auto& [chain, view] : map_->chains) {
    for (const storage::MemberView& member : view.members) {
      const auto& row = map->nodes(static_cast<int>(member.node.value()) - 1);
      if (member.node.value() != id_ && row.state() != proto::NODE_DOWN)
        neighbours.insert(member.node);
    }
  }
  links_.SetNeighbours(neighbours);
  for (const auto& [chain, view] : map_->chains) {
    std::unique_ptr<SimReplica>& replica = replicas_[chain];
    if (!replica) replica = std::make_unique<SimReplica>(*this, chain, learned_.insert(chain).second);
    replica->Configure(view);
    replica->Forget([this](Incarnation session) { return map_->IsFenced(session); });
  }
}

// As ReplicaSet::map_in_force.
uint64_t SimNode::MapInForce() {
  if (!map_) return 0;
  const auto fenced = [this](Incarnation session) { return map_->IsFenced(session); };
  const bool under_way = std::any_of(replicas_.begin(), replicas_.end(), [&](const auto& entry) {
    return entry.second->core().AnyUnderWay(fenced);
  });
  if (!under_way) in_force_ = map_->version.value();
  return in_force_;
}

// ---- clients ----

Result<const storage::ChainView*> SimNode::Admit(const storage::AdmissionRequest& request) const {
  return storage::Admit({map_.get(), lease_deadline_, LocalNow()}, request);
}

void SimNode::OnMutate(const MutateRequest& request,
                       const Network::Responder<MutateAnswer>& reply) {
  if (auto admitted = Admit(request.admission); !admitted.ok()) return reply(admitted.status());
  replicas_.at(request.admission.chain)->Mutate(request, reply);
}

void SimNode::OnRead(const ReadRequest& request, const Network::Responder<Image>& reply) {
  if (auto admitted = Admit(request.admission); !admitted.ok()) return reply(admitted.status());
  replicas_.at(request.admission.chain)->Read(request, reply);
}

}  // namespace sheaf::sim
