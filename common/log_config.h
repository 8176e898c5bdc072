#pragma once

#include "common/config.h"
#include "common/log.h"

namespace sheaf {

// Reads the keys of the table [log], which every daemon's configuration has.
void ReadLogOptions(ConfigFile& file, LogOptions* options);

// Those keys, for --help.
inline constexpr const char* kLogConfigHelp =
    "  log.file          log file; \"\" for standard error (\"\")\n"
    "  log.level         trace, debug, info, warn or error (info)\n"
    "  log.max_file_mib  the log file is rotated at this size, MiB, 0 to 65536; 0: by others (64)\n"
    "  log.max_files     rotated log files that are kept, 1 to 1000 (4)\n"
    "SIGHUP reads the table [log] again and opens the log file anew; all else needs a restart.\n";

}  // namespace sheaf
