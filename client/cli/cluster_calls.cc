#include "client/cli/cluster_calls.h"

#include "common/rpc.h"
#include "proto/cluster.grpc.pb.h"

namespace sheaf::cli {

struct ClusterCalls::Impl {
  std::unique_ptr<proto::Cluster::Stub> stub;
};

namespace {

// A server that is just starting refuses connections for a moment: the channel keeps trying.
void Prepare(grpc::ClientContext* context, std::chrono::milliseconds timeout) {
  context->set_deadline(std::chrono::system_clock::now() + timeout);
  context->set_wait_for_ready(true);
}

}  // namespace

ClusterCalls::ClusterCalls(const std::string& meta_address) : impl_(std::make_unique<Impl>()) {
  impl_->stub = proto::Cluster::NewStub(MakeChannel(meta_address));
}

ClusterCalls::~ClusterCalls() = default;

Result<proto::ClusterStatus> ClusterCalls::GetStatus(std::chrono::milliseconds timeout) {
  grpc::ClientContext context;
  Prepare(&context, timeout);
  proto::ClusterStatus response;
  const Status status = FromGrpc(impl_->stub->GetStatus(&context, {}, &response));
  if (!status.ok()) return status;
  return response;
}

Status ClusterCalls::CreateChains(uint32_t replicas, uint32_t chains_per_target,
                                  std::chrono::milliseconds timeout) {
  grpc::ClientContext context;
  Prepare(&context, timeout);
  proto::CreateChainsRequest request;
  request.set_replicas(replicas);
  request.set_chains_per_target(chains_per_target);
  proto::CreateChainsResponse response;
  return FromGrpc(impl_->stub->CreateChains(&context, request, &response)).With("create chains");
}

}  // namespace sheaf::cli
