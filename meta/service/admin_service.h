#pragma once

#include "common/metrics.h"
#include "meta/check/check_runs.h"
#include "meta/cluster/cluster_manager.h"
#include "meta/cluster/worker_pool.h"
#include "meta/service/call_metrics.h"
#include "proto/admin.grpc.pb.h"

namespace sheaf::meta {

// Operators' calls over gRPC: decode, admit, hand on, encode. Those of a check run one by one on a
// thread of their own, so that it takes no reader from serving. Thread-safe.
class AdminService final : public proto::Admin::CallbackService {
 public:
  static constexpr size_t kMaxWaiting = 64;  // calls; beyond it kBusy

  // All outlive the service.
  AdminService(CheckRuns& runs, ClusterManager& manager, Metrics& metrics);

  using Reactor = grpc::ServerUnaryReactor;
  using Ctx = grpc::CallbackServerContext;

  Reactor* BeginCheck(Ctx*, const proto::BeginCheckRequest*, proto::BeginCheckResponse*) override;
  Reactor* StepCheck(Ctx*, const proto::StepCheckRequest*, proto::StepCheckResponse*) override;
  Reactor* RepairFinding(Ctx*, const proto::RepairFindingRequest*,
                         proto::RepairFindingResponse*) override;
  Reactor* EndCheck(Ctx*, const proto::EndCheckRequest*, proto::EndCheckResponse*) override;
  Reactor* ListData(Ctx*, const proto::ListDataRequest*, proto::ListDataResponse*) override;
  Reactor* GetData(Ctx*, const proto::GetDataRequest*, proto::GetDataResponse*) override;
  Reactor* DropOrphans(Ctx*, const proto::DropOrphansRequest*,
                       proto::DropOrphansResponse*) override;
  Reactor* ReplaceTarget(Ctx*, const proto::ReplaceTargetRequest*,
                         proto::ReplaceTargetResponse*) override;
  Reactor* DrainNode(Ctx*, const proto::DrainNodeRequest*, proto::DrainNodeResponse*) override;
  Reactor* ResetChain(Ctx*, const proto::ResetChainRequest*, proto::ResetChainResponse*) override;

 private:
  template <typename Response, typename Work>
  Reactor* Run(Ctx* context, Response* response, CallMetrics& metrics, Work work);
  template <typename Request, typename Response>
  using ManagerCall = void (ClusterManager::*)(const Request& request,
                                               std::function<void(Result<Response>)> done);
  template <typename Request, typename Response>
  Reactor* Change(Ctx* context, const Request& request, Response* response, CallMetrics& metrics,
                  ManagerCall<Request, Response> method);

  CheckRuns& runs_;
  ClusterManager& manager_;
  struct {
    CallMetrics begin, step, repair, end, list, get, drop, replace, drain, reset;
  } metrics_;
  WorkerPool worker_;  // last: its work uses all of the above
};

}  // namespace sheaf::meta
