#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "common/status.h"

// gRPC's edge: the one place where channels are made, calls are admitted, and Status becomes a
// gRPC status and back. Not included from headers outside service adapters and stub users.

namespace sheaf {

// The code travels as a decimal number in the status' binary details, so that a stock client sees
// a plain gRPC code and text, and ours gets the exact code back. A status without details (made by
// gRPC itself) maps: UNAVAILABLE to kUnavailable, DEADLINE_EXCEEDED to kDeadline, CANCELLED to
// kCancelled, UNIMPLEMENTED to kUnsupported, RESOURCE_EXHAUSTED to kBusy, all else to kIo.
grpc::Status ToGrpc(const Status& status);
Status FromGrpc(const grpc::Status& status);

// A channel to "host:port" with keepalive and our message limits; one connection of its own.
// Connecting is lazy: a wrong address shows at the first call, by its deadline.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address);

// Waits for the channel to connect. kUnavailable names the address.
Status WaitConnected(const std::shared_ptr<grpc::Channel>& channel, const std::string& address,
                     std::chrono::milliseconds timeout);

// Decides whether a call may be served at all: every handler asks first. Today it refuses only
// calls whose deadline has passed; identities come in here.
Status AdmitCall(const grpc::ServerContextBase& context);

// A gRPC server over services that outlive it. The destructor stops taking calls, gives those
// under way `grace`, then cancels them and joins.
class RpcServer {
 public:
  struct Options {
    std::string listen;  // "host:port"; port 0 chooses a free one
    std::vector<grpc::Service*> services;
    std::chrono::milliseconds grace{2000};
  };
  // kExists names an address in use.
  static Result<std::unique_ptr<RpcServer>> Start(const Options& options);
  ~RpcServer();

  // "host:port" with the port really bound.
  const std::string& address() const { return address_; }

 private:
  RpcServer() = default;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  std::chrono::milliseconds grace_{};
};

}  // namespace sheaf
