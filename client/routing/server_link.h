#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "client/routing/cluster_view.h"
#include "common/guarded.h"
#include "common/transport/connection.h"

namespace sheaf::client {

// The way to one storage server: its Unix socket while that works, else TCP. Keeps the pool's
// connections at hand, so that the usual call neither blocks nor looks anything up. Thread-safe.
class ServerLink {
 public:
  ServerLink(ServerAddress address, transport::ConnectionPool& pool, int connections);

  const ServerAddress& address() const { return address_; }

  // A working connection, or null when one would have to be made first. Never blocks.
  std::shared_ptr<transport::Connection> Live();
  // Connects if need be: blocks up to the pool's connect timeout.
  Result<std::shared_ptr<transport::Connection>> Connect();

 private:
  const ServerAddress address_;
  transport::ConnectionPool& pool_;
  std::atomic<uint32_t> next_ = 0;
  Guarded<std::vector<std::shared_ptr<transport::Connection>>> slots_;
};

}  // namespace sheaf::client
