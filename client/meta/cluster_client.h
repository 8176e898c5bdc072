#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "common/ids.h"
#include "common/status.h"
#include "proto/cluster.pb.h"

namespace sheaf::client {

// The cluster manager's calls a client makes, one try each, over a connection of their own: a
// session's renewal must not wait behind metadata traffic. Thread-safe.
class ClusterClient {
 public:
  explicit ClusterClient(const std::string& meta_address);
  ~ClusterClient();

  // kUnavailable names the address.
  Status WaitConnected(std::chrono::milliseconds timeout);

  // Nothing when the map is not newer than `known`.
  Result<std::optional<proto::ClusterMap>> GetMap(MapVersion known);
  Result<proto::ClusterStatus> GetStatus(std::chrono::milliseconds timeout);
  Result<proto::OpenSessionResponse> OpenSession(const std::string& description);
  Result<proto::RenewSessionResponse> RenewSession(const proto::RenewSessionRequest& request,
                                                   std::chrono::milliseconds timeout);
  Status CloseSession(Incarnation incarnation);

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace sheaf::client
