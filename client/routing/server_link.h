#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <vector>

#include "client/routing/cluster_view.h"
#include "common/clock.h"
#include "common/guarded.h"
#include "common/transport/connection.h"

namespace sheaf::client {

// The way to one storage server: its Unix socket while that works, else TCP. Keeps the pool's
// connections at hand, so that the usual call neither blocks nor looks anything up. Thread-safe.
class ServerLink {
 public:
  // For so long a server that failed is avoided where another serves.
  static constexpr std::chrono::milliseconds kAvoid{1000};

  ServerLink(ServerAddress address, transport::ConnectionPool& pool, int connections,
             const Clock& clock);

  const ServerAddress& address() const { return address_; }

  // A working connection, or null when one would have to be made first. Never blocks.
  std::shared_ptr<transport::Connection> Live();
  // Connects if need be: blocks up to the pool's connect timeout. Avoids the server if it fails.
  Result<std::shared_ptr<transport::Connection>> Connect();

  // A request was not answered in time, or not by a server that serves.
  void Avoid();
  // It failed a moment ago, or somebody finds out just now: one caller waits for a server that is
  // frozen, and not all of them.
  bool IsAvoided() const;
  bool IsLive() const;
  // Calls under way on its connections.
  size_t UnderWay() const;

 private:
  const ServerAddress address_;
  transport::ConnectionPool& pool_;
  const Clock& clock_;
  std::atomic<uint32_t> next_ = 0;
  std::atomic<int> connecting_ = 0;
  std::atomic<int64_t> avoid_until_ns_ = 0;  // on clock_
  Guarded<std::vector<std::shared_ptr<transport::Connection>>> slots_;
};

}  // namespace sheaf::client
