#include "meta/service/cluster_service.h"

#include <unistd.h>

#include <utility>
#include <vector>

#include "common/version.h"
#include "meta/cluster/reclaimer.h"
#include "meta/schema/keys.h"
#include "meta/schema/values.h"

namespace sheaf::meta {

// One caller that watches the map. A slow one skips maps: what it is sent is always the newest.
//
// Maps are offered by the manager's thread while it holds its watchers' lock; so Offer never
// finishes the stream, since that may end in OnDone, which takes that lock.
class ClusterService::Watch final : public grpc::ServerWriteReactor<proto::ClusterMap> {
 public:
  explicit Watch(ClusterService& service) : service_(service) {}

  // False: there are too many watchers.
  bool Begin() {
    id_ = service_.parts_.manager.Watch([this](const ClusterManager::MapPtr& map) { Offer(map); });
    if (id_ == 0) return false;
    Offer(service_.parts_.manager.Map());
    return true;
  }

  void End(const Status& status) {
    {
      std::lock_guard lock(mutex_);
      if (ended_) return;
      ended_ = true;
      status_ = status;
      if (writing_ != nullptr) return;  // OnWriteDone finishes
    }
    Finish(ToGrpc(status));
  }

  void OnWriteDone(bool ok) override {
    Status finish;
    {
      std::lock_guard lock(mutex_);
      writing_ = nullptr;
      if (ok && !ended_) return WriteNewest();
      if (!ended_) status_ = {Code::kCancelled, "watch cluster map: the caller is gone"};
      ended_ = true;
      finish = status_;
    }
    Finish(ToGrpc(finish));
  }

  void OnCancel() override { End({Code::kCancelled, "watch cluster map: the caller hung up"}); }

  void OnDone() override {
    if (id_ != 0) service_.parts_.manager.Unwatch(id_);
    {
      std::lock_guard lock(service_.watches_mutex_);
      service_.watches_.erase(this);
    }
    delete this;
  }

 private:
  void Offer(const ClusterManager::MapPtr& map) {
    std::lock_guard lock(mutex_);
    if (newest_ != nullptr && map->version() <= newest_->version()) return;
    newest_ = map;
    WriteNewest();
  }

  // REQUIRES: mutex_ is held.
  void WriteNewest() {
    if (ended_ || writing_ != nullptr || newest_->version() <= sent_version_) return;
    writing_ = newest_;
    sent_version_ = writing_->version();
    StartWrite(writing_.get());
  }

  ClusterService& service_;
  uint64_t id_ = 0;
  std::mutex mutex_;  // after the manager's lock on watchers
  ClusterManager::MapPtr newest_;
  ClusterManager::MapPtr writing_;  // alive until OnWriteDone
  uint64_t sent_version_ = 0;
  bool ended_ = false;
  Status status_;
};

ClusterService::ClusterService(Parts parts)
    : parts_(parts), metrics_{{parts.metrics, "cluster", "register_node"},
                              {parts.metrics, "cluster", "heartbeat"},
                              {parts.metrics, "cluster", "get_cluster_map"},
                              {parts.metrics, "cluster", "create_chains"},
                              {parts.metrics, "cluster", "open_session"},
                              {parts.metrics, "cluster", "renew_session"},
                              {parts.metrics, "cluster", "close_session"},
                              {parts.metrics, "cluster", "get_status"}} {}

void ClusterService::EndWatches() {
  // Under the lock, so that none of them goes meanwhile; OnDone comes on a gRPC thread.
  std::lock_guard lock(watches_mutex_);
  ending_ = true;
  for (Watch* watch : watches_) {
    watch->End({Code::kUnavailable, "watch cluster map: the server is stopping"});
  }
}

ClusterService::Reactor* ClusterService::RegisterNode(Ctx* context,
                                                      const proto::RegisterNodeRequest* request,
                                                      proto::RegisterNodeResponse* response) {
  const UnaryCall<proto::RegisterNodeResponse> call(context, response, metrics_.register_node);
  if (!call.Admit()) return call.reactor();
  parts_.manager.RegisterNode(*request, [call](Result<proto::RegisterNodeResponse> result) {
    call.Finish(std::move(result));
  });
  return call.reactor();
}

ClusterService::Reactor* ClusterService::Heartbeat(Ctx* context,
                                                   const proto::HeartbeatRequest* request,
                                                   proto::HeartbeatResponse* response) {
  const UnaryCall<proto::HeartbeatResponse> call(context, response, metrics_.heartbeat);
  if (call.Admit()) call.Finish(parts_.manager.Heartbeat(*request));
  return call.reactor();
}

ClusterService::Reactor* ClusterService::GetClusterMap(Ctx* context,
                                                       const proto::GetClusterMapRequest* request,
                                                       proto::GetClusterMapResponse* response) {
  const UnaryCall<proto::GetClusterMapResponse> call(context, response, metrics_.get_map);
  if (!call.Admit()) return call.reactor();
  const ClusterManager::MapPtr map = parts_.manager.Map();
  if (map->version() > request->known_version()) *response->mutable_map() = *map;
  call.Finish(Status::Ok());
  return call.reactor();
}

grpc::ServerWriteReactor<proto::ClusterMap>* ClusterService::WatchClusterMap(
    Ctx* context, const proto::GetClusterMapRequest*) {
  auto* watch = new Watch(*this);  // deletes itself in OnDone
  Status status = AdmitCall(*context);
  {
    std::lock_guard lock(watches_mutex_);
    if (status.ok() && ending_) {
      status = {Code::kUnavailable, "watch cluster map: the server is stopping"};
    }
    if (status.ok()) watches_.insert(watch);
  }
  if (status.ok() && !watch->Begin()) {
    status = {Code::kBusy, "watch cluster map: there are too many watchers"};
  }
  if (!status.ok()) watch->End(status);
  return watch;
}

ClusterService::Reactor* ClusterService::CreateChains(Ctx* context,
                                                      const proto::CreateChainsRequest* request,
                                                      proto::CreateChainsResponse* response) {
  const UnaryCall<proto::CreateChainsResponse> call(context, response, metrics_.create_chains);
  if (!call.Admit()) return call.reactor();
  parts_.manager.CreateChains(*request, [call](Result<proto::CreateChainsResponse> result) {
    call.Finish(std::move(result));
  });
  return call.reactor();
}

ClusterService::Reactor* ClusterService::OpenSession(Ctx* context,
                                                     const proto::OpenSessionRequest* request,
                                                     proto::OpenSessionResponse* response) {
  const UnaryCall<proto::OpenSessionResponse> call(context, response, metrics_.open_session);
  if (!call.Admit()) return call.reactor();
  parts_.sessions.OpenSession(*request, [this, call](Result<proto::OpenSessionResponse> result) {
    if (result.ok()) *result->mutable_frames() = frames_;
    call.Finish(std::move(result));
  });
  return call.reactor();
}

ClusterService::Reactor* ClusterService::RenewSession(Ctx* context,
                                                      const proto::RenewSessionRequest* request,
                                                      proto::RenewSessionResponse* response) {
  const UnaryCall<proto::RenewSessionResponse> call(context, response, metrics_.renew_session);
  if (!call.Admit()) return call.reactor();
  const bool queued = parts_.readers.Submit(
      [this, call, request] { call.Finish(parts_.sessions.RenewSession(*request)); });
  if (!queued) call.Finish(Status(Code::kBusy, "renew session: too many reads are waiting"));
  return call.reactor();
}

ClusterService::Reactor* ClusterService::CloseSession(Ctx* context,
                                                      const proto::CloseSessionRequest* request,
                                                      proto::CloseSessionResponse* response) {
  const UnaryCall<proto::CloseSessionResponse> call(context, response, metrics_.close_session);
  if (!call.Admit()) return call.reactor();
  parts_.sessions.CloseSession(Incarnation(request->incarnation()),
                               [call](const Status& status) { call.Finish(status); });
  return call.reactor();
}

ClusterService::Reactor* ClusterService::GetStatus(Ctx* context, const proto::GetStatusRequest*,
                                                   proto::ClusterStatus* response) {
  const UnaryCall<proto::ClusterStatus> call(context, response, metrics_.get_status);
  if (!call.Admit()) return call.reactor();
  const bool queued = parts_.readers.Submit([this, call] { call.Finish(DescribeCluster()); });
  if (!queued) call.Finish(Status(Code::kBusy, "get status: too many reads are waiting"));
  return call.reactor();
}

Result<proto::ClusterStatus> ClusterService::DescribeCluster() const {
  proto::ClusterStatus status;
  *status.mutable_map() = parts_.manager.MapWithSpace();
  for (const proto::Target& target : status.map().targets()) {
    status.set_raw_used_bytes(status.raw_used_bytes() + target.used_bytes());
    status.set_total_bytes(status.total_bytes() + target.total_bytes());
  }
  const std::shared_ptr<const ReadView> view = parts_.executor.Committed();
  ASSIGN_OR_RETURN(const std::optional<std::string> row, view->Get(UsageKey()));
  if (row.has_value()) {
    ASSIGN_OR_RETURN(const Usage usage, DecodeUsage(*row));
    status.set_files(usage.inodes);
    status.set_used_bytes(usage.bytes);
  }
  ASSIGN_OR_RETURN(const uint64_t backlog, Reclaimer::CountBacklog(*view));
  status.set_removal_backlog(backlog);
  *status.mutable_resync() = parts_.manager.Resync();
  status.set_meta_address(address_);
  status.set_meta_pid(getpid());
  status.set_version(Version());
  return status;
}

}  // namespace sheaf::meta
