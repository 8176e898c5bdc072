#include "common/log_config.h"

namespace sheaf {
namespace {

constexpr uint64_t kMib = 1 << 20;

}  // namespace

void ReadLogOptions(ConfigFile& file, LogOptions* options) {
  uint64_t max_file_mib = options->max_file_bytes / kMib;
  uint64_t max_files = options->max_files;
  file.Read("log.file", &options->file);
  file.Read("log.level", &options->level);
  file.Read("log.max_file_mib", &max_file_mib, 0, 65536);
  file.Read("log.max_files", &max_files, 1, 1000);
  options->max_file_bytes = max_file_mib * kMib;
  options->max_files = max_files;
}

}  // namespace sheaf
