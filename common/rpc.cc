#include "common/rpc.h"

#include <grpc/grpc.h>

#include <charconv>

#include "common/listen_probe.h"

namespace sheaf {
namespace {

// Largest gRPC message either way: the data service's 4 MiB payload and what goes with it.
constexpr int kMaxMessageBytes = 8 << 20;
// A peer that vanished without a word is found out within the sum of the two.
constexpr int kKeepaliveTimeMs = 10'000;
constexpr int kKeepaliveTimeoutMs = 5'000;
constexpr int kMinPingIntervalMs = 5'000;  // what a server puts up with
constexpr int kReconnectMsInitial = 100;
constexpr int kReconnectMsMin = 1'000;  // also the shortest time an attempt is given
constexpr int kReconnectMsMax = 2'000;

Code CodeOfPlainGrpc(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::UNAVAILABLE: return Code::kUnavailable;
    case grpc::StatusCode::DEADLINE_EXCEEDED: return Code::kDeadline;
    case grpc::StatusCode::CANCELLED: return Code::kCancelled;
    case grpc::StatusCode::UNIMPLEMENTED: return Code::kUnsupported;
    case grpc::StatusCode::RESOURCE_EXHAUSTED: return Code::kBusy;
    default: return Code::kIo;
  }
}

}  // namespace

grpc::Status ToGrpc(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  int code = GrpcCode(status.code());
  // A code that is no error to the kernel still ends the call as one: details carry which.
  if (code == 0) code = grpc::StatusCode::FAILED_PRECONDITION;
  return {static_cast<grpc::StatusCode>(code), status.message(),
          std::to_string(static_cast<int>(status.code()))};
}

Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return Status::Ok();
  const std::string details = status.error_details();
  uint32_t number = 0;
  const char* last = details.data() + details.size();
  auto [end, error] = std::from_chars(details.data(), last, number);
  // An error never becomes success, whatever a peer writes.
  if (!details.empty() && error == std::errc() && end == last && number != 0) {
    return {CodeFromNumber(number), status.error_message()};
  }
  return {CodeOfPlainGrpc(status.error_code()), status.error_message()};
}

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address) {
  // Kept up for good: a library that goes down with its last channel, on a thread of its own, may
  // crash who makes the next one meanwhile (seen with 1.51).
  [[maybe_unused]] static const bool kept_up = (grpc_init(), true);
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectMsInitial);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kReconnectMsMin);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMsMax);
  // One connection of its own: heartbeats must not wait behind another channel's bulk.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // Servers are on our own network, whatever http_proxy says.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

Status WaitConnected(const std::shared_ptr<grpc::Channel>& channel, const std::string& address,
                     std::chrono::milliseconds timeout) {
  if (channel->WaitForConnected(std::chrono::system_clock::now() + timeout)) return Status::Ok();
  return {Code::kUnavailable, "connect to " + address + ": no answer within " +
                                  std::to_string(timeout.count()) +
                                  " ms; check the address and that the server runs"};
}

Status AdmitCall(const grpc::ServerContextBase& context) {
  if (context.deadline() < std::chrono::system_clock::now()) {
    return {Code::kDeadline, "call: its deadline had passed when it arrived"};
  }
  return Status::Ok();
}

Result<std::unique_ptr<RpcServer>> RpcServer::Start(const Options& options) {
  // gRPC says only that it failed.
  RETURN_IF_ERROR(ProbeListen(options.listen));
  grpc::ServerBuilder builder;
  int port = 0;
  // Two servers on one port would share its calls unseen.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinPingIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.AddListeningPort(options.listen, grpc::InsecureServerCredentials(), &port);
  for (grpc::Service* service : options.services) builder.RegisterService(service);

  std::unique_ptr<RpcServer> server(new RpcServer);
  server->grace_ = options.grace;
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || port == 0) {
    return Status(Code::kIo, "listen on " + options.listen + ": gRPC could not start a server");
  }
  const std::string host = options.listen.substr(0, options.listen.rfind(':'));
  server->address_ = host + ":" + std::to_string(port);
  return server;
}

RpcServer::~RpcServer() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now() + grace_);
  server_->Wait();
}

}  // namespace sheaf
