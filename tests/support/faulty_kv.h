#pragma once

#include <rocksdb/env.h>

#include <cstdint>
#include <memory>
#include <string>

namespace sheaf::meta {

class FaultyFileSystem;

// A rocksdb::Env over the real file system whose disk forgets what was not synced.
//
// Fault model:
//  - A file's bytes are durable up to its last sync. At a crash, of what was appended after it, a
//  seeded
//    random prefix stays (torn anywhere), and where `rot` says so one of its bits is turned.
//  - A new file's name is durable once its directory was synced; else the file is gone after a
//  crash.
//    Renames and removals are durable at once and in order, as a journaling file system orders
//    them.
//  - From Crash on every write, sync, creation, rename and removal fails, as if the process had
//  stopped
//    there. FailWritesAfter makes that moment the nth write, so that a test can visit each.
//  - A full disk: FillDisk makes appends and creations answer "no space".
//
//   FaultyEnv env(seed);
//   ... open the database with env.get(), write, env.Crash(), close the database ...
//   env.Recover();   // the disk as it is after the crash; writes work again
//
// Thread-safe.
class FaultyEnv {
 public:
  explicit FaultyEnv(uint64_t seed);
  ~FaultyEnv();

  rocksdb::Env* get() { return env_.get(); }

  void Crash();
  // Crashes at the nth append or sync of a log file (from 1), before it happens.
  void CrashAtLogOperation(uint64_t nth);
  bool crashed() const;
  // Log appends and syncs so far.
  uint64_t log_operations() const;
  void FillDisk(bool full);
  // REQUIRES: crashed, and no file of the database is open.
  void Recover(bool rot = false);

 private:
  std::shared_ptr<FaultyFileSystem> fs_;
  std::unique_ptr<rocksdb::Env> env_;
};

}  // namespace sheaf::meta
