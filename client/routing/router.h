#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "client/routing/cluster_view.h"
#include "client/routing/replica_choice.h"
#include "client/routing/server_link.h"
#include "common/clock.h"
#include "common/guarded.h"
#include "common/transport/connection.h"

namespace sheaf::client {

// Where a request for one chunk goes just now.
struct Route {
  ChainId chain;
  ChainVersion version;
  TargetId target;
  NodeId server;
  bool others = false;  // of a read: another replica serves that it was not told to pass over
  std::shared_ptr<transport::Connection> connection;  // null: not connected, and may not block
};

enum class Blocking { kNo, kYes };
enum class Access { kRead, kWrite };

// What a request is about, to find its way by.
struct Wanted {
  Layout layout;
  uint32_t index = 0;  // of the chunk
  Access access = Access::kRead;
  std::span<const TargetId> passed_over;  // of a read: replicas that have failed it already
};

// What chunk operations need to know of the cluster; faked in tests.
class Routes {
 public:
  virtual ~Routes() = default;
  // Writes go to the chain's head, reads to one of its serving replicas. Blocks only to connect,
  // and only where allowed: a read then tries each replica that it may go to. kUnavailable when
  // none is left.
  virtual Result<Route> Find(const Wanted& wanted, Blocking blocking) = 0;
  // Whether a call sent by `route` may still do what is wanted: for a write the chain has the same
  // version, for a read the replica serves.
  virtual bool IsCurrent(const Wanted& wanted, const Route& route) = 0;
  // `server` did not answer in time, or does not serve: reads go elsewhere for a while if they can.
  virtual void Avoid(NodeId server) = 0;
  // Asks for a newer map; returns at once.
  virtual void Refresh() = 0;
  // Of the map in use.
  virtual MapVersion version() const = 0;
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
    Random random;                          // null: seeded by the machine
    const Clock* clock = &Clock::System();  // by which servers are avoided
  };

  static constexpr std::chrono::milliseconds kMinRefresh{20};

  // Fetches the first map.
  static Result<std::unique_ptr<Router>> Create(const Options& options, FetchMap fetch);
  ~Router() override;

  Result<Route> Find(const Wanted& wanted, Blocking blocking) override;
  bool IsCurrent(const Wanted& wanted, const Route& route) override;
  void Avoid(NodeId server) override;
  void Refresh() override;
  MapVersion version() const override;

 private:
  struct Snapshot {
    std::shared_ptr<const ClusterView> view;
    std::vector<std::shared_ptr<ServerLink>> links;  // as view->servers()
  };
  struct Control {
    bool wanted = false;
    bool stopping = false;
  };

  using Replicas = std::vector<const ChainReplica*>;

  Router(const Options& options, FetchMap fetch);
  size_t Choose(const Snapshot& now, const Replicas& replicas, Blocking blocking) const;
  std::shared_ptr<const Snapshot> Current() const;
  Status FetchNow();
  Status Adopt(const proto::ClusterMap& map);
  void RefreshLoop();

  const Options options_;
  const Random random_;
  const FetchMap fetch_;
  const std::string boot_id_;
  transport::ConnectionPool pool_;
  Guarded<std::shared_ptr<const Snapshot>> snapshot_;
  Guarded<Control> control_;
  std::condition_variable changed_;
  std::thread refresher_;
};

}  // namespace sheaf::client
