#include "client/meta/cluster_client.h"

#include "common/rpc.h"
#include "proto/cluster.grpc.pb.h"

namespace sheaf::client {
namespace {

constexpr std::chrono::milliseconds kMapTimeout{2000};
constexpr std::chrono::milliseconds kOpenTimeout{5000};
constexpr std::chrono::milliseconds kCloseTimeout{1000};

}  // namespace

struct ClusterClient::Impl {
  std::string address;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<proto::Cluster::Stub> stub;

  template <typename Request, typename Response>
  Result<Response> Call(const char* name,
                        grpc::Status (proto::Cluster::Stub::*method)(grpc::ClientContext*,
                                                                     const Request&, Response*),
                        const Request& request, std::chrono::milliseconds timeout) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + timeout);
    Response response;
    const grpc::Status status = (stub.get()->*method)(&context, request, &response);
    if (!status.ok()) return FromGrpc(status).With(std::string(name) + " at " + address);
    return response;
  }
};

ClusterClient::ClusterClient(const std::string& meta_address) : impl_(std::make_unique<Impl>()) {
  impl_->address = meta_address;
  impl_->channel = MakeChannel(meta_address);
  impl_->stub = proto::Cluster::NewStub(impl_->channel);
}

ClusterClient::~ClusterClient() = default;

Status ClusterClient::WaitConnected(std::chrono::milliseconds timeout) {
  return sheaf::WaitConnected(impl_->channel, impl_->address, timeout);
}

Result<std::optional<proto::ClusterMap>> ClusterClient::GetMap(MapVersion known) {
  proto::GetClusterMapRequest request;
  request.set_known_version(known.value());
  ASSIGN_OR_RETURN(proto::GetClusterMapResponse response,
                   impl_->Call("get cluster map", &proto::Cluster::Stub::GetClusterMap, request,
                               kMapTimeout));
  if (!response.has_map()) return std::optional<proto::ClusterMap>();
  return std::optional<proto::ClusterMap>(std::move(*response.mutable_map()));
}

Result<proto::ClusterStatus> ClusterClient::GetStatus(std::chrono::milliseconds timeout) {
  return impl_->Call("get cluster status", &proto::Cluster::Stub::GetStatus,
                     proto::GetStatusRequest(), timeout);
}

Result<proto::OpenSessionResponse> ClusterClient::OpenSession(const std::string& description) {
  proto::OpenSessionRequest request;
  request.set_description(description);
  return impl_->Call("open session", &proto::Cluster::Stub::OpenSession, request, kOpenTimeout);
}

Result<proto::RenewSessionResponse> ClusterClient::RenewSession(
    const proto::RenewSessionRequest& request, std::chrono::milliseconds timeout) {
  return impl_->Call("renew session", &proto::Cluster::Stub::RenewSession, request, timeout);
}

Status ClusterClient::CloseSession(Incarnation incarnation) {
  proto::CloseSessionRequest request;
  request.set_incarnation(incarnation.value());
  return impl_->Call("close session", &proto::Cluster::Stub::CloseSession, request, kCloseTimeout)
      .status();
}

}  // namespace sheaf::client
