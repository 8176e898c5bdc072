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
// A spare of zeros waits under the name "spare" for the next log. The thread that removes a log that
// RocksDB is done with fills one; where there is none the maker of a log does. (Not the old log: who
// reads the database beside its server may have that open.) Where there is no room for it, four
// times its bytes, or it fails, the log grows.
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
