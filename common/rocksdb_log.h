#pragma once

#include <memory>
#include <string>

namespace rocksdb {
class Logger;
}

namespace sheaf {

// A RocksDB info log that sends warnings and errors to our own, with `name` before each line.
// RocksDB's own writer gives up the process after a failed write to its LOG file: on a full disk
// that would take the daemon down. Thread-safe.
std::shared_ptr<rocksdb::Logger> MakeRocksDbLog(const std::string& name);

}  // namespace sheaf
