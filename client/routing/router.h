#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "client/routing/cluster_view.h"
#include "client/routing/server_link.h"
#include "common/guarded.h"
#include "common/transport/connection.h"

namespace sheaf::client {

// Where a request for one chunk goes just now.
struct Route {
  ChainId chain;
  ChainVersion version;
  std::shared_ptr<transport::Connection> connection;  // null: not connected, and may not block
};

enum class Blocking { kNo, kYes };
enum class Access { kRead, kWrite };

// What chunk operations need to know of the cluster; faked in tests.
class Routes {
 public:
  virtual ~Routes() = default;
  // Writes go to the chain's head, reads to a serving replica. Blocks only to connect, and only
  // where allowed.
  virtual Result<Route> Find(const Layout& layout, uint32_t index, Access access,
                             Blocking blocking) = 0;
  // Asks for a newer map; returns at once.
  virtual void Refresh() = 0;
};

// Caches the cluster map and the links to its servers. One thread fetches newer maps when asked
// to, at most one every kMinRefresh. Thread-safe.
//
// Members go in this order: the thread stops first, links last, since connections are the pool's.
class Router : public Routes {
 public:
  // Answers the map if it is newer than `known`, else nothing.
  using FetchMap = std::function<Result<std::optional<proto::ClusterMap>>(MapVersion known)>;

  struct Options {
    bool use_unix_sockets = true;
    int connections_per_server = 1;
  };

  static constexpr std::chrono::milliseconds kMinRefresh{20};

  // Fetches the first map.
  static Result<std::unique_ptr<Router>> Create(const Options& options, FetchMap fetch);
  ~Router() override;

  Result<Route> Find(const Layout& layout, uint32_t index, Access access,
                     Blocking blocking) override;
  void Refresh() override;

  MapVersion version() const;

 private:
  struct Snapshot {
    std::shared_ptr<const ClusterView> view;
    std::vector<std::shared_ptr<ServerLink>> links;  // as view->servers()
  };
  struct Control {
    bool wanted = false;
    bool stopping = false;
  };

  Router(const Options& options, FetchMap fetch);
  std::shared_ptr<const Snapshot> Current() const;
  Status FetchNow();
  Status Adopt(const proto::ClusterMap& map);
  void RefreshLoop();

  const Options options_;
  const FetchMap fetch_;
  const std::string boot_id_;
  transport::ConnectionPool pool_;
  Guarded<std::shared_ptr<const Snapshot>> snapshot_;
  Guarded<Control> control_;
  std::condition_variable changed_;
  std::thread refresher_;
};

}  // namespace sheaf::client
