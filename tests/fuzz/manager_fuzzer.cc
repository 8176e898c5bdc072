// The cluster manager under what storage servers and operators send it, in any order, with time
// passing and restarts between. Whatever they say, the map stays one that clients and servers can
// take: every name in it leads to something, versions rise, and one chain has at most one member
// that catches up.
//
// The input is steps: a byte that chooses, and for messages a piece.

#include "client/routing/cluster_view.h"
#include "meta/cluster/manager_state.h"
#include "tests/fuzz/input.h"

namespace sheaf::meta {
namespace {

constexpr int kMaxSteps = 32;
constexpr uint32_t kMaxChainsPerTarget = 64;  // placement's time is not what is looked for

class Manager {
 public:
  Manager() : state_(Empty()) {}

  void Register(const proto::RegisterNodeRequest& request) {
    const auto needed = state_->CheckRegister(request);
    if (!needed.ok()) {
      CHECK(!needed.status().message().empty());
      return;
    }
    if (!state_->MayRegister(request, now_)) return;
    std::vector<TargetId> targets;
    for (uint32_t i = 0; i < needed->targets; ++i) targets.emplace_back(next_id_++);
    Commit(state_->PlanRegister(request, NodeId(next_id_++), targets, now_));
    const proto::RegisterNodeResponse response = state_->Registered(request, now_);
    CHECK(response.target_ids_size() == request.targets_size(), "a target without an id");
  }

  void Heartbeat(const proto::HeartbeatRequest& request) {
    const auto response = state_->Heartbeat(request, now_);
    if (!response.ok()) return;
    CHECK(response->lease_ms() <= options_.lease.count(), "a lease longer than any");
    CHECK(response->lease_ms() == 0 || request.map_version() >= fence_version_,
          "a lease before the fence is known");
  }

  void CreateChains(const proto::CreateChainsRequest& request) {
    if (request.chains_per_target() > kMaxChainsPerTarget) return;
    const auto present = state_->FindChains(request);
    if (!present.ok() || present->has_value()) return;
    const auto members = state_->PlaceNewChains(request, now_);
    if (!members.ok()) return;
    Commit(state_->PlanCreateChains(*members, ChainId(next_id_)));
    next_id_ += static_cast<uint32_t>(members->size());
  }

  void Pass(std::chrono::milliseconds time) {
    now_ += time;
    for (int i = 0; i < 100; ++i) {
      auto change = state_->PlanTransitions(now_);
      if (!change.has_value()) return;
      Commit(std::move(change));
    }
    CHECK(false, "transitions do not settle");
  }

  // Every session there was ends.
  void Fence() {
    if (!state_->FenceOver(now_)) return;
    Commit(state_->PlanFence(FencedRanges({}, ++next_session_)));
    fence_version_ = state_->version().value();
    Pass(2 * options_.surely_over());  // those that are silent leave their chains, too
    state_->SettleFence(now_);
    CHECK(state_->FencedEverywhere(Incarnation(next_session_ - 1)), "leases outlast their time");
  }

  void Restart() { state_.emplace(options_, state_->Map(), now_); }

 private:
  std::optional<ManagerState> Empty() {
    proto::ClusterMap map;
    map.set_version(1);
    map.set_cluster_uuid("1b4e28ba-2fa1-41d2-883f-0016d3cca427");
    return ManagerState(options_, map, now_);
  }

  void Commit(const std::optional<proto::ClusterMap>& change) {
    if (!change.has_value()) return;
    const proto::ClusterMap before = state_->Map();
    state_->Apply(*change);
    const proto::ClusterMap after = state_->Map();
    CHECK(after.version() > before.version(), "a change without a new version");
    const auto view = client::ClusterView::FromProto(after, "boot");
    CHECK(view.ok(), view.status().ToString());
    for (int i = 0; i < before.chains_size(); ++i) {
      CHECK(after.chains(i).id() == before.chains(i).id() &&
                after.chains(i).version() >= before.chains(i).version(),
            "a chain went back");
    }
    for (const proto::Chain& chain : after.chains()) CheckChain(chain);
  }

  static void CheckChain(const proto::Chain& chain) {
    int syncing = 0;
    for (const proto::ChainMember& member : chain.members()) {
      syncing += member.state() == proto::SYNCING ? 1 : 0;
    }
    CHECK(syncing <= 1, "two members catch up at once");
  }

  const LeaseOptions options_;
  Clock::Instant now_{std::chrono::hours(1)};
  uint32_t next_id_ = 1;
  uint64_t next_session_ = 1;
  uint64_t fence_version_ = 0;
  std::optional<ManagerState> state_;
};

template <typename Message>
std::optional<Message> Take(fuzz::Input& input) {
  const std::string_view piece = input.TakePiece();
  Message message;
  if (!message.ParseFromArray(piece.data(), static_cast<int>(piece.size()))) return std::nullopt;
  return message;
}

void Fuzz(fuzz::Input input) {
  Manager manager;
  for (int step = 0; step < kMaxSteps && !input.empty(); ++step) {
    switch (input.TakeByte() % 6) {
      case 0:
        if (const auto request = Take<proto::RegisterNodeRequest>(input)) {
          manager.Register(*request);
        }
        break;
      case 1:
        if (const auto request = Take<proto::HeartbeatRequest>(input)) manager.Heartbeat(*request);
        break;
      case 2:
        if (const auto request = Take<proto::CreateChainsRequest>(input)) {
          manager.CreateChains(*request);
        }
        break;
      case 3:
        manager.Pass(std::chrono::milliseconds(input.TakeByte() * 20));
        break;
      case 4:
        manager.Restart();
        break;
      default:
        manager.Fence();
    }
  }
}

}  // namespace
}  // namespace sheaf::meta

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sheaf::meta::Fuzz(sheaf::fuzz::Input(data, size));
  return 0;
}
