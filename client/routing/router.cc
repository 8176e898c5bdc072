#include "client/routing/router.h"

#include <algorithm>
#include <random>

#include "common/log.h"

namespace sheaf::client {
namespace {

uint32_t MachineRandom() {
  thread_local std::mt19937 random(std::random_device{}());
  return static_cast<uint32_t>(random());
}

// The replicas that a request may go to: the head alone, which is the first that serves, for a
// write; for a read each that serves, is not leaving, and that it was not told to pass over.
std::vector<const ChainReplica*> Eligible(const ChainRoute& chain, const Wanted& wanted) {
  std::vector<const ChainReplica*> eligible;
  eligible.reserve(chain.replicas.size());
  for (const ChainReplica& replica : chain.replicas) {
    if (!replica.serving) continue;
    if (replica.leaving && wanted.access == Access::kRead) continue;
    if (std::count(wanted.passed_over.begin(), wanted.passed_over.end(), replica.target) > 0) {
      continue;
    }
    eligible.push_back(&replica);
    if (wanted.access == Access::kWrite) break;
  }
  return eligible;
}

}  // namespace

Router::Router(const Options& options, FetchMap fetch)
    : options_(options),
      random_(options.random ? options.random : Random(MachineRandom)),
      fetch_(std::move(fetch)),
      boot_id_(options.use_unix_sockets ? BootId() : std::string()),
      pool_({.connection = {}, .per_address = options.connections_per_server}) {}

Result<std::unique_ptr<Router>> Router::Create(const Options& options, FetchMap fetch) {
  std::unique_ptr<Router> router(new Router(options, std::move(fetch)));
  RETURN_IF_ERROR(router->FetchNow());
  if (router->Current() == nullptr) {
    return Status(Code::kProtocol, "fetch cluster map: the answer has no map");
  }
  router->refresher_ = std::thread([raw = router.get()] { raw->RefreshLoop(); });
  return router;
}

Router::~Router() {
  control_.Lock()->stopping = true;
  changed_.notify_all();
  if (refresher_.joinable()) refresher_.join();
}

std::shared_ptr<const Router::Snapshot> Router::Current() const { return *snapshot_.Lock(); }

MapVersion Router::version() const { return Current()->view->version(); }

Result<Route> Router::Find(const Wanted& wanted, Blocking blocking) {
  const std::shared_ptr<const Snapshot> now = Current();
  ASSIGN_OR_RETURN(const ChainRoute* chain, now->view->ChainOf(wanted.layout, wanted.index));
  Status failure(Code::kUnavailable,
                 "chain " + ToString(chain->id) + ": no replica is left to ask");
  for (Replicas left = Eligible(*chain, wanted); !left.empty();) {
    const size_t chosen = Choose(*now, left, blocking);
    const ChainReplica& replica = *left[chosen];
    ServerLink& link = *now->links[replica.server];
    Route route{.chain = chain->id,
                .version = chain->version,
                .target = replica.target,
                .server = now->view->servers()[replica.server].node,
                .others = left.size() > 1,
                .connection = link.Live()};
    if (route.connection != nullptr || blocking == Blocking::kNo) return route;
    auto made = link.Connect();
    if (made.ok()) {
      route.connection = std::move(*made);
      return route;
    }
    failure = made.status();
    left.erase(left.begin() + static_cast<ptrdiff_t>(chosen));
  }
  return failure;
}

size_t Router::Choose(const Snapshot& now, const Replicas& replicas, Blocking blocking) const {
  if (replicas.size() == 1) return 0;
  std::vector<ReplicaState> states;
  states.reserve(replicas.size());
  for (const ChainReplica* replica : replicas) {
    ServerLink& link = *now.links[replica->server];
    states.push_back({.up = now.view->servers()[replica->server].up,
                      .avoided = link.IsAvoided(),
                      .must_wait = blocking == Blocking::kNo && !link.IsLive(),
                      .local = link.address().unix_socket.has_value(),
                      .under_way = link.UnderWay()});
  }
  return ChooseReplica(states, random_);
}

bool Router::IsCurrent(const Wanted& wanted, const Route& route) {
  const std::shared_ptr<const Snapshot> now = Current();
  const auto chain = now->view->ChainOf(wanted.layout, wanted.index);
  if (!chain.ok()) return false;
  if (wanted.access == Access::kWrite) return (*chain)->version == route.version;
  const auto& replicas = (*chain)->replicas;
  return std::any_of(replicas.begin(), replicas.end(), [&](const ChainReplica& replica) {
    return replica.serving && !replica.leaving && replica.target == route.target;
  });
}

void Router::Avoid(NodeId server) {
  const std::shared_ptr<const Snapshot> now = Current();
  for (size_t i = 0; i < now->links.size(); ++i) {
    if (now->view->servers()[i].node == server) now->links[i]->Avoid();
  }
}

void Router::Refresh() {
  {
    auto control = control_.Lock();
    if (control->wanted) return;
    control->wanted = true;
  }
  changed_.notify_one();
}

void Router::RefreshLoop() {
  for (;;) {
    {
      auto control = control_.Lock();
      control.Wait(changed_, [&] { return control->wanted || control->stopping; });
      if (control->stopping) return;
      control->wanted = false;
    }
    if (Status fetched = FetchNow(); !fetched.ok()) {
      LogDebug("client: {}", fetched.ToString());
    }
    auto control = control_.Lock();
    const auto next = std::chrono::steady_clock::now() + kMinRefresh;
    if (control.WaitUntil(changed_, next, [&] { return control->stopping; })) return;
  }
}

Status Router::FetchNow() {
  const auto now = Current();
  auto map = fetch_(now == nullptr ? MapVersion() : now->view->version());
  if (!map.ok()) return map.status().With("fetch cluster map");
  if (!map->has_value()) return Status::Ok();
  return Adopt(**map);
}

Status Router::Adopt(const proto::ClusterMap& map) {
  const auto old = Current();
  // A restarted manager never answers an older map than it told before, but answers may overtake
  // one another.
  if (old != nullptr && map.version() <= old->view->version().value()) return Status::Ok();
  auto next = std::make_shared<Snapshot>();
  ASSIGN_OR_RETURN(next->view, ClusterView::FromProto(map, boot_id_));
  for (const ServerAddress& server : next->view->servers()) {
    std::shared_ptr<ServerLink> link;
    if (old != nullptr) {
      for (const auto& known : old->links) {
        if (SameAddress(known->address(), server)) link = known;
      }
    }
    if (link == nullptr) {
      link = std::make_shared<ServerLink>(server, pool_, options_.connections_per_server,
                                          *options_.clock);
    }
    next->links.push_back(std::move(link));
  }
  *snapshot_.Lock() = std::move(next);
  return Status::Ok();
}

}  // namespace sheaf::client
