#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include "common/clock.h"
#include "common/fd.h"
#include "common/status.h"
#include "storage/disk/disk_context.h"
#include "storage/service/limits.h"
#include "storage/service/request.h"
#include "storage/service/room_queue.h"
#include "storage/service/server_connection.h"
#include "storage/service/service_metrics.h"

namespace sheaf::storage {

// Counts shared by all reactors of a process. Thread-safe.
struct ServiceCounts {
  std::atomic<uint32_t> connections{0};
  std::atomic<uint32_t> requests{0};
  std::atomic<uint64_t> connections_refused{0};
  std::atomic<uint64_t> requests_refused{0};  // too many under way, or waiting for a buffer
};

// One thread with one ring that drives sockets and disks. A request runs to completion on it: the
// handler is called from the receive's completion, its disk transfers and its answer go through the
// same ring.
//
// Thread safety: the calls marked so; all else on the reactor's own thread.
class Reactor : public ServiceContext, public ConnectionHost {
 public:
  struct Options {
    DiskContext::Options disk;
    ServiceLimits limits;
    const Clock* clock = nullptr;
    ServiceMetrics* metrics = nullptr;  // may be null
    ServiceCounts* counts = nullptr;
  };

  // Starts the thread and waits until its ring is there.
  static Result<std::unique_ptr<Reactor>> Start(const Options& options);
  // Ends the loop and joins. REQUIRES: no connections and no engine that still uses it.
  ~Reactor() override;

  // Thread-safe. Runs `task` on the reactor.
  void Post(std::function<void()> task) { disk_->Post(std::move(task)); }

  // On the reactor:
  void SetHandler(FramedHandler* handler) { handler_ = handler; }
  void AddConnection(UniqueFd socket);
  void CloseConnections();
  size_t connections() const { return connections_.size(); }
  DiskContext& disk() { return *disk_; }

  // ServiceContext
  IoContext& io() override { return *disk_; }
  bool HasRoom(size_t bytes, uint32_t hop = 0) const override {
    return rooms_[hop].empty() && MayTake(bytes, hop);
  }
  bool HasSpareRoom(size_t bytes, uint32_t hop) const override;
  void WhenRoom(size_t bytes, std::function<void(Status)> go, uint32_t hop = 0) override;

  // ConnectionHost
  Uring& ring() override { return disk_->ring(); }
  ServiceContext& context() override { return *this; }
  FramedHandler& handler() override { return *handler_; }
  const ServiceLimits& limits() const override { return options_.limits; }
  ServiceMetrics* metrics() override { return options_.metrics; }
  Clock::Instant now() const override { return now_; }
  void FlushLater(std::shared_ptr<ServerConnection> connection) override;
  void Forget(ServerConnection& connection) override;
  void GiveWay() override;
  bool BeginRequest(bool of_peer) override;
  void EndRequest() override;

  // Thread-safe, for metrics.
  uint64_t buffer_bytes_used() const { return pool_->used_bytes(); }
  uint64_t buffer_bytes_total() const { return pool_->region().size(); }
  uint32_t transfers_in_flight() const { return disk_->transfers_in_flight(); }
  size_t registered_bytes() const { return registered_bytes_; }
  const char* ring_mode() const { return ring_mode_; }
  uint32_t waiting_for_room() const { return waiting_; }

 private:
  explicit Reactor(const Options& options);
  void Main(std::function<void(Status)> started);
  void Turn();
  bool MayTake(size_t bytes, uint32_t hop) const;
  size_t Waiting() const;
  void FlushDirty();

  const Options options_;
  FramedHandler* handler_ = nullptr;
  std::vector<RoomQueue> rooms_;  // by hop
  std::atomic<uint32_t> waiting_{0};
  Clock::Instant now_{};
  Clock::Instant last_tick_{};
  std::vector<std::shared_ptr<ServerConnection>> dirty_;
  std::unordered_map<ServerConnection*, std::shared_ptr<ServerConnection>> connections_;
  bool stop_ = false;

  std::unique_ptr<DiskContext> disk_;  // made and destroyed on the thread
  std::shared_ptr<BufferPool> pool_;
  size_t registered_bytes_ = 0;
  const char* ring_mode_ = "";
  std::thread thread_;
};

}  // namespace sheaf::storage
