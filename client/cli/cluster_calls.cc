#include "client/cli/cluster_calls.h"

#include "common/rpc.h"
#include "proto/admin.grpc.pb.h"
#include "proto/cluster.grpc.pb.h"

namespace sheaf::cli {

struct ClusterCalls::Impl {
  std::unique_ptr<proto::Cluster::Stub> cluster;
  std::unique_ptr<proto::Admin::Stub> admin;
};

namespace {

using AdminStub = proto::Admin::Stub;
using ClusterStub = proto::Cluster::Stub;

// A server that is just starting refuses connections for a moment: the channel keeps trying.
template <typename Stub, typename Request, typename Response>
Status CallOnce(Stub& stub,
                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                const Request& request, Response* response, std::chrono::milliseconds timeout) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  context.set_wait_for_ready(true);
  return FromGrpc((stub.*method)(&context, request, response));
}

}  // namespace

ClusterCalls::ClusterCalls(const std::string& meta_address) : impl_(std::make_unique<Impl>()) {
  const auto channel = MakeChannel(meta_address);
  impl_->cluster = proto::Cluster::NewStub(channel);
  impl_->admin = proto::Admin::NewStub(channel);
}

ClusterCalls::~ClusterCalls() = default;

Result<proto::ClusterStatus> ClusterCalls::GetStatus(std::chrono::milliseconds timeout) {
  proto::ClusterStatus response;
  RETURN_IF_ERROR(CallOnce(*impl_->cluster, &ClusterStub::GetStatus, proto::GetStatusRequest(),
                           &response, timeout));
  return response;
}

Status ClusterCalls::CreateChains(uint32_t replicas, uint32_t chains_per_target,
                                  std::chrono::milliseconds timeout) {
  proto::CreateChainsRequest request;
  request.set_replicas(replicas);
  request.set_chains_per_target(chains_per_target);
  proto::CreateChainsResponse response;
  return CallOnce(*impl_->cluster, &ClusterStub::CreateChains, request, &response, timeout)
      .With("create chains");
}

Result<uint32_t> ClusterCalls::ReplaceTarget(uint32_t old_id, uint32_t new_id, bool accept_loss,
                                             std::chrono::milliseconds timeout) {
  proto::ReplaceTargetRequest request;
  request.set_old_id(old_id);
  request.set_new_id(new_id);
  request.set_accept_loss(accept_loss);
  proto::ReplaceTargetResponse response;
  RETURN_IF_ERROR(CallOnce(*impl_->admin, &AdminStub::ReplaceTarget, request, &response, timeout));
  return response.chains();
}

Result<uint32_t> ClusterCalls::DrainNode(uint32_t node, bool undo,
                                         std::chrono::milliseconds timeout) {
  proto::DrainNodeRequest request;
  request.set_node_id(node);
  request.set_undo(undo);
  proto::DrainNodeResponse response;
  RETURN_IF_ERROR(CallOnce(*impl_->admin, &AdminStub::DrainNode, request, &response, timeout));
  return response.chains_left();
}

Status ClusterCalls::ResetChain(uint32_t chain, uint32_t target,
                                std::chrono::milliseconds timeout) {
  proto::ResetChainRequest request;
  request.set_chain_id(chain);
  request.set_target_id(target);
  proto::ResetChainResponse response;
  return CallOnce(*impl_->admin, &AdminStub::ResetChain, request, &response, timeout);
}

}  // namespace sheaf::cli
