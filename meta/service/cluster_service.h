#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>

#include "common/metrics.h"
#include "meta/cluster/cluster_manager.h"
#include "meta/cluster/sessions.h"
#include "meta/cluster/worker_pool.h"
#include "meta/ops/executor.h"
#include "meta/service/call_metrics.h"
#include "meta/service/unary_call.h"
#include "proto/cluster.grpc.pb.h"

namespace sheaf::meta {

// The cluster manager over gRPC: decode, admit, hand on, encode. Heartbeats and the map are
// answered from memory on the gRPC thread, so that no backlog of anything else can delay them.
// Thread-safe.
class ClusterService final : public proto::Cluster::CallbackService {
 public:
  // All outlive the service.
  struct Parts {
    ClusterManager& manager;
    Sessions& sessions;
    Executor& executor;
    WorkerPool& readers;
    Metrics& metrics;
  };
  explicit ClusterService(Parts parts);

  // What GetStatus says of this server. Once, before calls come in.
  void SetAddress(std::string address) { address_ = std::move(address); }
  // What a client that opens a session is told. Once, before calls come in.
  void SetFrames(proto::MetaFrames frames) { frames_ = std::move(frames); }
  // Hangs up on all watchers and refuses new ones. Before the server that calls this is stopped.
  void EndWatches();

  using Reactor = grpc::ServerUnaryReactor;
  using Ctx = grpc::CallbackServerContext;

  Reactor* RegisterNode(Ctx*, const proto::RegisterNodeRequest*,
                        proto::RegisterNodeResponse*) override;
  Reactor* Heartbeat(Ctx*, const proto::HeartbeatRequest*, proto::HeartbeatResponse*) override;
  Reactor* GetClusterMap(Ctx*, const proto::GetClusterMapRequest*,
                         proto::GetClusterMapResponse*) override;
  grpc::ServerWriteReactor<proto::ClusterMap>* WatchClusterMap(
      Ctx*, const proto::GetClusterMapRequest*) override;
  Reactor* CreateChains(Ctx*, const proto::CreateChainsRequest*,
                        proto::CreateChainsResponse*) override;
  Reactor* OpenSession(Ctx*, const proto::OpenSessionRequest*,
                       proto::OpenSessionResponse*) override;
  Reactor* RenewSession(Ctx*, const proto::RenewSessionRequest*,
                        proto::RenewSessionResponse*) override;
  Reactor* CloseSession(Ctx*, const proto::CloseSessionRequest*,
                        proto::CloseSessionResponse*) override;
  Reactor* GetStatus(Ctx*, const proto::GetStatusRequest*, proto::ClusterStatus*) override;

 private:
  class Watch;
  Result<proto::ClusterStatus> DescribeCluster() const;

  Parts parts_;
  std::string address_;
  proto::MetaFrames frames_;
  struct {
    CallMetrics register_node, heartbeat, get_map, create_chains, open_session, renew_session,
        close_session, get_status;
  } metrics_;

  std::mutex watches_mutex_;
  std::unordered_set<Watch*> watches_;
  bool ending_ = false;
};

}  // namespace sheaf::meta
