#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/metrics.h"
#include "common/state_dir.h"
#include "common/status.h"

namespace sheaf::meta {

struct MetaServerOptions {
  std::string data_dir;
  std::string listen = "127.0.0.1:7700";
  std::string framed;                      // framed calls, "host:port"; empty: none
  std::string unix_path;                   // framed calls of this machine's clients; empty: none
  std::string metrics = "127.0.0.1:7701";  // empty: none
  // Disk space held back so that removals work on a full disk; see SpaceReserve. 0: none.
  uint64_t reserve_bytes = 128 << 20;
  uint64_t log_bytes = 16 << 20;  // of the store's log, zeros beforehand; 0: logs grow
  std::chrono::milliseconds heartbeat{500};
  std::chrono::milliseconds lease{2000};
  std::chrono::milliseconds session_renew{5000};
  std::chrono::milliseconds session_lease{15000};
  std::chrono::milliseconds reclaim_interval{500};
  size_t reader_threads = 4;
  size_t max_waiting_reads = 4096;
};

// The whole metadata service in one process: state directory, store, executor, manager, sessions,
// background work, gRPC. Everything is durable or rebuilt, so it may be killed at any time.
class MetaServer {
 public:
  // Format of the state directory as a whole.
  static constexpr uint32_t kStateFormat = 1;

  // Serves when it returns. Errors name the directory or address and the remedy.
  static Result<std::unique_ptr<MetaServer>> Start(const MetaServerOptions& options,
                                                   const Clock& clock = Clock::System());
  // Stops taking calls, lets those under way finish, stops background work, closes the store.
  ~MetaServer();

  // "host:port" that gRPC is really bound to.
  const std::string& address() const;
  const std::string& cluster_uuid() const;

 private:
  struct Parts;
  explicit MetaServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace sheaf::meta
