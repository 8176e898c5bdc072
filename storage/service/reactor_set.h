#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/clock.h"
#include "common/fd.h"
#include "common/metrics.h"
#include "storage/disk/file_table.h"
#include "storage/service/limits.h"
#include "storage/service/reactor.h"

namespace sheaf::storage {

// The reactors of a process and the sockets they listen on. The first accepts and hands connections
// out in turn.
//
// Teardown: StopServing (connections closed, every request answered or dropped), then whatever the
// handler used (engines), then this.
class ReactorSet {
 public:
  struct Options {
    uint32_t reactors = 1;
    uint64_t buffer_bytes = uint64_t{128} << 20;  // all reactors together
    std::shared_ptr<FileTable> files;
    ServiceLimits limits;
    const Clock* clock = &Clock::System();
    Metrics* metrics = nullptr;  // may be null
  };

  static Result<std::unique_ptr<ReactorSet>> Start(const Options& options);
  ~ReactorSet();

  // Serves every listening socket with `handler`, which outlives StopServing. Once.
  void Serve(FramedHandler& handler, std::vector<UniqueFd> listeners);
  // Stops accepting, closes connections and waits until no request is under way, at most `wait`:
  // kDeadline then says how many are left.
  Status StopServing(std::chrono::milliseconds wait);

  // Thread-safe: a reactor, each in turn. What it answers is used on that reactor's thread only
  // (through Reactor::Post).
  Reactor& Next();
  const ServiceCounts& counts() const { return counts_; }
  Reactor& first() { return *reactors_.front(); }

 private:
  class Acceptor;
  ReactorSet() = default;
  void OnAccepted(UniqueFd socket);
  void AddMetrics(Metrics& metrics);

  ServiceLimits limits_;
  ServiceCounts counts_;
  std::unique_ptr<ServiceMetrics> metrics_;
  std::unique_ptr<DiskMetrics> disk_metrics_;
  std::vector<std::unique_ptr<Acceptor>> acceptors_;  // used on the first reactor
  bool serving_ = false;
  std::atomic<uint32_t> next_{0};
  std::vector<std::unique_ptr<Reactor>> reactors_;  // first to go
};

}  // namespace sheaf::storage
