#pragma once

#include <spdlog/spdlog.h>

#include <string>
#include <utility>

#include "common/status.h"

namespace sheaf {

struct LogOptions {
  std::string file;            // empty: standard error
  std::string level = "info";  // trace, debug, info, warn, error
  size_t max_file_bytes = 64 << 20;
  size_t max_files = 4;        // rotated ones kept beside the current
};

// Sets where this process logs. Call once, early in main; before it, lines go to standard error.
// kUsage for an unknown level, an errno for a file that cannot be opened.
Status InitLog(const LogOptions& options);
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
