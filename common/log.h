#pragma once

#include <spdlog/spdlog.h>

#include <string>
#include <utility>

#include "common/status.h"

namespace sheaf {

struct LogOptions {
  std::string file;            // empty: standard error
  std::string level = "info";  // trace, debug, info, warn, error
  // At this size the file becomes file.1 (with the suffix last: meta.1.log) and a new one begins;
  // 0: never, another program rotates.
  size_t max_file_bytes = 64 << 20;
  size_t max_files = 4;        // rotated ones kept beside the current
};

// Sets where this process logs; before it, lines go to standard error. Opens the file anew, so
// that a later call also serves a log that was moved away. Thread-safe, beside lines being logged.
// kUsage for an unknown level, an errno for a file that cannot be opened: then all stays as it was.
Status InitLog(const LogOptions& options);
// InitLog with what a configuration that was read again says, and a line that it was done. With
// one that could not be read, says so and opens the file anew under the options it had.
void ReloadLog(const Result<LogOptions>& options);
// Changes the level at run time. Thread-safe.
Status SetLogLevel(const std::string& level);
// Writes out what is buffered.
void FlushLog();

namespace internal {
bool LogToStandardError();
// spdlog's own default is standard output.
inline const bool kLogsToStandardError = LogToStandardError();
}  // namespace internal

// One line each; format strings are fmt's. Log where an error is absorbed, not where it is
// returned.
template <typename... Args>
void LogDebug(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::debug(format, std::forward<Args>(args)...);
}
template <typename... Args>
void LogInfo(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::info(format, std::forward<Args>(args)...);
}
template <typename... Args>
void LogWarn(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::warn(format, std::forward<Args>(args)...);
}
template <typename... Args>
void LogError(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::error(format, std::forward<Args>(args)...);
}

}  // namespace sheaf
