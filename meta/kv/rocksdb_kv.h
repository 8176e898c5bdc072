#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/status.h"
#include "meta/kv/kv_store.h"

namespace rocksdb {
class Env;
}

namespace sheaf::meta {

struct RocksDbKvOptions {
  size_t block_cache_bytes = 256 << 20;
  size_t write_buffer_bytes = 64 << 20;
  int max_open_files = 1024;
  // Of a log, written as zeros beforehand (common/zeroed_logs.h); the write buffer's at most. 0:
  // logs grow.
  uint64_t log_bytes = 0;
  rocksdb::Env* env = nullptr;  // the machine's when null; outlives the store
  // Disk space held back for a full disk, in a file of its own on the same file system; see
  // SpaceReserve. The write buffer is a quarter of it at most.
  std::string reserve_path;
  uint64_t reserve_bytes = 0;
  const Clock* clock = &Clock::System();
};

// A KvStore in one RocksDB database, one column family. Opens or creates `directory`; its parent
// exists. Everything that a synced Write acknowledged is found again after any crash: the log is
// replayed to its last whole record.
//
// On a full disk: a Write answers kNoSpace, the reserve is given up, and Recover opens the database
// anew within it, while readers go on.
Result<std::unique_ptr<KvStore>> OpenRocksDbKv(const std::string& directory,
                                               const RocksDbKvOptions& options);

// The same database to look at only: nothing is written, no lock is taken. Beside a process that has
// it open it shows the state at this call; where that process removes a file in between, it is
// tried again.
Result<std::unique_ptr<ReadView>> OpenRocksDbReadOnly(const std::string& directory);

}  // namespace sheaf::meta
