#pragma once

#include <cstddef>
#include <memory>
#include <string>

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
  rocksdb::Env* env = nullptr;  // the machine's when null; outlives the store
};

// A KvStore in one RocksDB database, one column family. Opens or creates `directory`; its parent
// exists. Everything that a synced Write acknowledged is found again after any crash: the log is
// replayed to its last whole record.
Result<std::unique_ptr<KvStore>> OpenRocksDbKv(const std::string& directory,
                                               const RocksDbKvOptions& options);

}  // namespace sheaf::meta
