#pragma once

#include <rocksdb/env.h>

#include <memory>
#include <string>

#include "tests/support/fake_disk.h"

namespace sheaf::testing {

// A RocksDB Env in memory. The fault model:
//
//  - Bytes of a file survive a crash for sure once the file was synced after them. Of bytes
//    appended later a prefix of chance length survives; of bytes written over older ones (a
//    recycled log) each 512-byte sector by chance.
//  - A name (made, renamed, removed) survives once its directory was synced after it.
//  - SetFull: appends answer NoSpace. FailSyncs: syncs answer IOError.
//  - IgnoreLogSync(k): the k-th sync of a write-ahead log file (from 0) answers ok and does
//    nothing.
//  - HoldLogSyncs: such syncs wait, until ReleaseLogSyncs, before they do anything.
//
// Thread-safe; outlives the database.
class FaultyEnv {
 public:
  explicit FaultyEnv(std::shared_ptr<CrashPoint> crash = nullptr);
  ~FaultyEnv();

  rocksdb::Env* env() { return env_.get(); }

  // What a machine finds after a crash now.
  std::unique_ptr<FaultyEnv> Survivor(uint64_t seed, std::shared_ptr<CrashPoint> crash) const;

  void SetFull(bool full);
  void FailSyncs(bool fail);
  void IgnoreLogSync(uint64_t number);
  void IgnoreAllLogSyncs();
  void HoldLogSyncs();
  void ReleaseLogSyncs();
  uint64_t held_log_syncs() const;  // that wait now
  uint64_t log_syncs() const;

 private:
  class Files;
  std::shared_ptr<Files> files_;
  std::unique_ptr<rocksdb::Env> env_;
};

}  // namespace sheaf::testing
