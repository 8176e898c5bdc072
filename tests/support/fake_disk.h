#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <span>
#include <thread>
#include <vector>

#include "common/guarded.h"
#include "storage/disk/io_context.h"

namespace sheaf::testing {

// One moment at which a machine dies, shared by everything on it that can lose data (FakeDisk,
// FaultyFileSystem). Each step is one event that changes what a disk holds: a write, a sync, a
// file made, renamed or removed. At the chosen step the machine is dead: that step and all later
// ones fail and change nothing.
//
// Thread-safe.
class CrashPoint {
 public:
  static constexpr uint64_t kNever = UINT64_MAX;
  explicit CrashPoint(uint64_t at = kNever) : at_(at) {}

  // Counts one event; false when the machine is dead.
  bool Step() {
    const uint64_t step = steps_.fetch_add(1);
    if (step >= at_) dead_ = true;
    return !dead_;
  }
  void Kill() { dead_ = true; }
  bool dead() const { return dead_; }
  uint64_t steps() const { return steps_; }

 private:
  const uint64_t at_;
  std::atomic<uint64_t> steps_{0};
  std::atomic<bool> dead_{false};
};

// A disk in memory: the SlabFiles of one target. The fault model:
//
//  - A write is visible to reads once it is done, and survives a crash for sure only after a later
//    Sync of its file.
//  - After a crash each 512-byte sector of an unsynced write is there or not, by chance (torn
//    writes); synced sectors are there. A file is there once its Open with `create` has answered.
//  - RotBits changes a byte, as a failing medium would.
//  - FailReads, FailWrites, FailSyncs: the device answers kIo. FailNextReads: the next few reads
//    only. FailReadsAt: those that touch this 4 KiB unit.
//  - Open with `create` answers kNoSpace when `capacity` is used up.
//  - HoldSyncs: syncs wait, until ReleaseSyncs, before they do anything.
//  - IgnoreSync(k): the k-th sync (from 0) answers ok and does nothing, as a product without that
//    sync would. For tests that show a missing sync is found.
//
// Thread-safe.
class FakeDisk : public storage::SlabFiles {
 public:
  struct Options {
    uint64_t seed = 1;
    uint64_t capacity = uint64_t{1} << 40;
    std::shared_ptr<CrashPoint> crash;  // null: never
  };
  explicit FakeDisk(const Options& options);

  Result<storage::FileSlot> Open(uint32_t number, uint64_t bytes, bool create) override;
  Status Sync(storage::FileSlot file) override;
  Result<uint64_t> FreeBytes() override;
  Result<uint64_t> TotalBytes() override;

  // As a context does them.
  Status ReadAt(storage::FileSlot file, uint64_t offset, std::span<uint8_t> into);
  Status WriteAt(storage::FileSlot file, uint64_t offset, std::span<const uint8_t> from);

  // What a machine finds after a crash now: the same seed, the same loss.
  std::shared_ptr<FakeDisk> Survivor(uint64_t seed, std::shared_ptr<CrashPoint> crash) const;

  void RotBits(storage::FileSlot file, uint64_t offset, uint8_t flip = 0x10);
  void FailReads(bool fail) { fail_reads_ = fail; }
  void FailNextReads(int count) { fail_next_reads_ = count; }
  void FailReadsAt(storage::FileSlot file, uint64_t offset);
  void FailWrites(bool fail) { fail_writes_ = fail; }
  void FailSyncs(bool fail) { fail_syncs_ = fail; }
  void HoldSyncs();
  void ReleaseSyncs();
  uint64_t held_syncs() const { return holds_.Lock()->waiting; }
  void IgnoreSync(uint64_t number);
  void IgnoreAllSyncs() { ignore_all_syncs_ = true; }
  void SetCapacity(uint64_t bytes);
  uint64_t syncs() const { return syncs_; }
  uint64_t writes() const { return writes_; }

 private:
  static constexpr uint64_t kSector = 512;
  using Sector = std::array<uint8_t, kSector>;
  struct File {
    std::vector<uint8_t> bytes;           // as reads see them
    std::map<uint64_t, Sector> unsynced;  // by sector: what was there at the last sync
  };
  Status Check(const char* what, storage::FileSlot file, uint64_t offset, size_t length) const;

  const std::shared_ptr<CrashPoint> crash_;
  mutable std::mutex mutex_;
  uint64_t capacity_;
  std::map<uint32_t, File> files_;  // slot = slab number
  std::set<uint64_t> ignored_syncs_;
  std::set<std::pair<storage::FileSlot, uint64_t>> bad_units_;
  std::atomic<bool> ignore_all_syncs_{false};
  std::atomic<bool> fail_reads_{false};
  std::atomic<int> fail_next_reads_{0};
  std::atomic<bool> fail_writes_{false};
  std::atomic<bool> fail_syncs_{false};
  struct Holds {
    bool held = false;
    uint64_t waiting = 0;
  };
  Guarded<Holds> holds_;
  std::condition_variable released_;
  std::atomic<uint64_t> syncs_{0};
  std::atomic<uint64_t> writes_{0};
};

// An IoContext with its own thread over a FakeDisk. Completions and posted tasks run there; with
// `shuffle`, transfers that are under way complete in an order drawn from the seed.
class FakeIoContext : public storage::IoContext {
 public:
  struct Options {
    uint64_t seed = 1;
    bool shuffle = false;
    size_t buffer_bytes = size_t{256} << 20;  // of all buffers together; beyond, Allocate is null
  };
  FakeIoContext(std::shared_ptr<FakeDisk> disk, const Options& options);
  // Runs what is queued, then joins.
  ~FakeIoContext() override;

  void Read(storage::FileSlot file, uint64_t offset, storage::BufferRef buffer,
            std::span<uint8_t> into, storage::IoDone done) override;
  void Write(storage::FileSlot file, uint64_t offset, storage::BufferRef buffer,
             std::span<const uint8_t> from, storage::IoDone done) override;
  storage::BufferRef Allocate(size_t bytes) override;
  void Post(std::function<void()> task) override;

  // Holds transfers back, so that a test can look at what waits for them; posted tasks still run.
  void HoldTransfers();
  void ReleaseTransfers();
  // Runs `task` on the context's thread and waits for it.
  void RunAndWait(const std::function<void()>& task);

 private:
  class Buffer;
  struct Transfer {
    std::function<Status()> run;
    storage::IoDone done;
  };
  void CheckAligned(uint64_t offset, const void* memory, size_t length) const;
  void Add(Transfer transfer);
  void Run();

  const std::shared_ptr<FakeDisk> disk_;
  const bool shuffle_;
  std::mt19937_64 random_;
  std::shared_ptr<std::atomic<size_t>> buffers_left_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::function<void()>> tasks_;
  std::vector<Transfer> transfers_;
  bool holding_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace sheaf::testing
