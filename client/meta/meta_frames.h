#pragma once

#include <memory>
#include <string>

#include "common/transport/connection.h"
#include "proto/cluster.pb.h"

namespace sheaf::client {

// Framed connections to the metadata service, where it takes such: over its socket on this machine,
// else over TCP. Thread-safe.
class MetaFrames {
 public:
  // `meta_address` is the service's gRPC address, whose host has the framed port, too.
  explicit MetaFrames(const std::string& meta_address);

  // `told` is what the session was told. Null when there is none, or none can be had just now: then
  // gRPC does as well.
  std::shared_ptr<transport::Connection> Get(const proto::MetaFrames& told);

 private:
  const std::string host_;
  const std::string boot_id_;
  transport::ConnectionPool pool_;
};

}  // namespace sheaf::client
