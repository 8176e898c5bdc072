#pragma once

#include <cstdint>
#include <memory>

namespace rocksdb {
class Env;
}

namespace sheaf {

// A RocksDB environment over `base` (null: the machine's; outlives this one) whose write-ahead logs
// are written over `log_bytes` of zeros that are on the disk before. The sync of a log that grows
// has the file system commit the file's new length with it; that of one written over does not, and
// takes half of the time on ext4. 0: logs grow, as they do past `log_bytes`.
//
// A log that RocksDB is done with is filled with zeros on the thread that would remove it, and
// waits under the name "spare" for the next one. Where there is no spare the maker of the log fills
// one itself. Where there is no room (four times a log's bytes), or it fails, logs grow and are removed.
//
// RocksDB's reader passes over zeros without a word and takes what is torn for the end, so recovery
// finds each record up to the first that is not whole, as with a log that grows.
//
// Invariants, and the test that breaks without each:
//  1. A file named "spare" holds zeros, all of them durable before it has the name
//     (ZeroedLogsTest.ASpareIsZerosAfterACrashAnywhere).
//  2. The spare's new name is durable before the first byte of a log is written to it, so that no
//     spare ever holds records (the same test).
// RocksDB for its part syncs the name of a log once it has synced the log, before it acknowledges.
//
// The environment is thread-safe.
std::unique_ptr<rocksdb::Env> ZeroedLogsEnv(rocksdb::Env* base, uint64_t log_bytes);

}  // namespace sheaf
