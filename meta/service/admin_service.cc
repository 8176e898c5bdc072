#include "meta/service/admin_service.h"

#include <utility>

#include "meta/service/unary_call.h"

namespace sheaf::meta {

AdminService::AdminService(CheckRuns& runs, ClusterManager& manager, Metrics& metrics)
    : runs_(runs),
      manager_(manager),
      metrics_{{metrics, "admin", "begin_check"},    {metrics, "admin", "step_check"},
               {metrics, "admin", "repair_finding"}, {metrics, "admin", "end_check"},
               {metrics, "admin", "list_data"},      {metrics, "admin", "get_data"},
               {metrics, "admin", "drop_orphans"},   {metrics, "admin", "replace_target"},
               {metrics, "admin", "drain_node"},     {metrics, "admin", "reset_chain"}},
      worker_(1, kMaxWaiting) {}

template <typename Response, typename Work>
AdminService::Reactor* AdminService::Run(Ctx* context, Response* response, CallMetrics& metrics,
                                         Work work) {
  const UnaryCall<Response> call(context, response, metrics);
  if (!call.Admit()) return call.reactor();
  const bool queued = worker_.Submit([call, work] { call.Finish(work()); });
  if (!queued) call.Finish(Status(Code::kBusy, "admin call: too many are waiting"));
  return call.reactor();
}

AdminService::Reactor* AdminService::BeginCheck(Ctx* context, const proto::BeginCheckRequest*,
                                                proto::BeginCheckResponse* response) {
  return Run(context, response, metrics_.begin, [this] { return runs_.Begin(); });
}

AdminService::Reactor* AdminService::StepCheck(Ctx* context, const proto::StepCheckRequest* request,
                                               proto::StepCheckResponse* response) {
  return Run(context, response, metrics_.step, [this, request] { return runs_.Step(*request); });
}

AdminService::Reactor* AdminService::RepairFinding(Ctx* context,
                                                   const proto::RepairFindingRequest* request,
                                                   proto::RepairFindingResponse* response) {
  return Run(context, response, metrics_.repair,
             [this, request] { return runs_.Repair(*request); });
}

AdminService::Reactor* AdminService::EndCheck(Ctx* context, const proto::EndCheckRequest* request,
                                              proto::EndCheckResponse* response) {
  return Run(context, response, metrics_.end, [this, request] { return runs_.End(*request); });
}

AdminService::Reactor* AdminService::ListData(Ctx* context, const proto::ListDataRequest* request,
                                              proto::ListDataResponse* response) {
  return Run(context, response, metrics_.list, [this, request] { return runs_.List(*request); });
}

AdminService::Reactor* AdminService::GetData(Ctx* context, const proto::GetDataRequest* request,
                                             proto::GetDataResponse* response) {
  return Run(context, response, metrics_.get, [this, request] { return runs_.Get(*request); });
}

AdminService::Reactor* AdminService::DropOrphans(Ctx* context,
                                                 const proto::DropOrphansRequest* request,
                                                 proto::DropOrphansResponse* response) {
  return Run(context, response, metrics_.drop,
             [this, request] { return runs_.DropOrphans(*request); });
}

template <typename Request, typename Response>
AdminService::Reactor* AdminService::Change(Ctx* context, const Request& request,
                                            Response* response, CallMetrics& metrics,
                                            ManagerCall<Request, Response> method) {
  const UnaryCall<Response> call(context, response, metrics);
  if (!call.Admit()) return call.reactor();
  (manager_.*method)(request, [call](Result<Response> result) { call.Finish(std::move(result)); });
  return call.reactor();
}

AdminService::Reactor* AdminService::ReplaceTarget(Ctx* context,
                                                   const proto::ReplaceTargetRequest* request,
                                                   proto::ReplaceTargetResponse* response) {
  return Change(context, *request, response, metrics_.replace, &ClusterManager::ReplaceTarget);
}

AdminService::Reactor* AdminService::DrainNode(Ctx* context, const proto::DrainNodeRequest* request,
                                               proto::DrainNodeResponse* response) {
  return Change(context, *request, response, metrics_.drain, &ClusterManager::DrainNode);
}

AdminService::Reactor* AdminService::ResetChain(Ctx* context,
                                                const proto::ResetChainRequest* request,
                                                proto::ResetChainResponse* response) {
  return Change(context, *request, response, metrics_.reset, &ClusterManager::ResetChain);
}

}  // namespace sheaf::meta
