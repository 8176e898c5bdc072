#include "common/rocksdb_log.h"

#include <rocksdb/env.h>

#include <cstdarg>
#include <cstdio>

#include "common/log.h"

namespace sheaf {
namespace {

class LineLogger final : public rocksdb::Logger {
 public:
  explicit LineLogger(const std::string& name)
      : rocksdb::Logger(rocksdb::InfoLogLevel::WARN_LEVEL), name_(name) {}

  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    char line[1024];
    std::vsnprintf(line, sizeof(line), format, arguments);
    LogWarn("{}: {}", name_, line);
  }

 private:
  const std::string name_;
};

}  // namespace

std::shared_ptr<rocksdb::Logger> MakeRocksDbLog(const std::string& name) {
  return std::make_shared<LineLogger>(name);
}

}  // namespace sheaf
