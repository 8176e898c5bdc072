#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "common/fd.h"
#include "storage/disk/buffer_pool.h"
#include "storage/disk/disk_metrics.h"
#include "storage/disk/file_table.h"
#include "storage/disk/io_context.h"
#include "storage/disk/uring.h"

namespace sheaf::storage {

// The real IoContext: one ring, one registered buffer pool, a queue of posted tasks, and the thread
// that drives them by calling RunOnce.
//
// Thread safety: as IoContext; Create, RunOnce and Drain on the owner thread, the destructor there
// or, after Drain, anywhere.
class DiskContext : public IoContext {
 public:
  struct Options {
    uint64_t buffer_bytes = uint64_t{128} << 20;
    Uring::Options ring;
    std::shared_ptr<FileTable> files;
    DiskMetrics* metrics = nullptr;  // may be null
  };
  static Result<std::unique_ptr<DiskContext>> Create(const Options& options);
  ~DiskContext() override;

  void Read(FileSlot file, uint64_t offset, BufferRef buffer, std::span<uint8_t> into,
            IoDone done) override;
  void Write(FileSlot file, uint64_t offset, BufferRef buffer, std::span<const uint8_t> from,
             IoDone done) override;
  BufferRef Allocate(size_t bytes) override { return pool_->Allocate(bytes); }
  void Post(std::function<void()> task) override;

  // Ends the ring: transfers run to their end or are cancelled, all are reported; then runs what
  // was posted. Later transfers end with kCancelled, later posts are dropped.
  void Drain();

  // Submits, and waits up to `timeout` for something to happen.
  void Wait(std::chrono::nanoseconds timeout);
  // Runs completions, then posted tasks.
  void Dispatch();
  void RunOnce(std::chrono::nanoseconds timeout) {
    Wait(timeout);
    Dispatch();
  }

  bool HasRoom(size_t bytes) const { return pool_->HasRoom(bytes); }
  Uring& ring() { return *ring_; }
  BufferPool& pool() { return *pool_; }
  size_t registered_bytes() const { return registered_bytes_; }
  // Thread-safe.
  uint32_t transfers_in_flight() const {
    return transfers_in_flight_.load(std::memory_order_relaxed);
  }

 private:
  class Transfer;
  class WakeOp;
  struct KnownFile {
    std::shared_ptr<const OpenFile> file;
    bool registered = false;
  };

  DiskContext() = default;
  void Start(FileSlot file, uint64_t offset, BufferRef buffer, std::span<uint8_t> bytes, bool write,
             IoDone done);
  const KnownFile& Lookup(FileSlot file);
  std::unique_ptr<Transfer> TakeIdle();
  bool RunPosted();

  std::thread::id owner_ = std::this_thread::get_id();
  std::shared_ptr<FileTable> files_;
  std::vector<KnownFile> known_files_;  // by slot
  std::shared_ptr<BufferPool> pool_;
  size_t registered_bytes_ = 0;
  UniqueFd wake_fd_;
  std::unique_ptr<WakeOp> wake_op_;
  std::vector<std::unique_ptr<Transfer>> idle_;  // used again; at most kIdleTransfers
  std::atomic<uint32_t> transfers_in_flight_{0};
  DiskMetrics* metrics_ = nullptr;

  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;  // under mutex_
  bool wake_sent_ = false;                     // under mutex_; a wake-up is on its way

  std::unique_ptr<Uring> ring_;  // first to go: drains what uses the members above
};

}  // namespace sheaf::storage
