#include "client/routing/router.h"

#include "common/log.h"

namespace sheaf::client {
namespace {

// The head for a write; for a read the first serving replica whose server is up, else the head,
// whose error then says what is wrong.
size_t ChooseServer(const ClusterView& view, const ChainRoute& chain, Access access) {
  if (access == Access::kRead) {
    for (const ChainReplica& replica : chain.replicas) {
      if (replica.serving && view.servers()[replica.server].up) return replica.server;
    }
  }
  return chain.replicas.front().server;
}

}  // namespace

Router::Router(const Options& options, FetchMap fetch)
    : options_(options),
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

Result<Route> Router::Find(const Layout& layout, uint32_t index, Access access,
                           Blocking blocking) {
  const std::shared_ptr<const Snapshot> now = Current();
  ASSIGN_OR_RETURN(const ChainRoute* chain, now->view->ChainOf(layout, index));
  ServerLink& link = *now->links[ChooseServer(*now->view, *chain, access)];
  Route route{.chain = chain->id, .version = chain->version, .connection = link.Live()};
  if (route.connection == nullptr && blocking == Blocking::kYes) {
    ASSIGN_OR_RETURN(route.connection, link.Connect());
  }
  return route;
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
      link = std::make_shared<ServerLink>(server, pool_, options_.connections_per_server);
    }
    next->links.push_back(std::move(link));
  }
  *snapshot_.Lock() = std::move(next);
  return Status::Ok();
}

}  // namespace sheaf::client
