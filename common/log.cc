#include "common/log.h"

#include <fcntl.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/dist_sink.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>

#include "common/fd.h"
#include "common/guarded.h"

namespace sheaf {
namespace {

constexpr const char* kPattern = "%Y-%m-%dT%H:%M:%S.%e %L [%t] %v";
constexpr std::chrono::seconds kFlushEvery{1};

std::optional<spdlog::level::level_enum> ParseLevel(const std::string& level) {
  if (level == "trace") return spdlog::level::trace;
  if (level == "debug") return spdlog::level::debug;
  if (level == "info") return spdlog::level::info;
  if (level == "warn") return spdlog::level::warn;
  if (level == "error") return spdlog::level::err;
  return std::nullopt;
}

// Tried with open(2) first: spdlog's exception does not carry the errno.
Status TryOpen(const std::string& file) {
  UniqueFd fd(open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  return fd.IsOpen() ? Status::Ok() : Status::FromErrno(errno, "open log file " + file);
}

Result<spdlog::sink_ptr> MakeSink(const LogOptions& options) {
  if (options.file.empty()) {
    return spdlog::sink_ptr(std::make_shared<spdlog::sinks::stderr_sink_mt>());
  }
  RETURN_IF_ERROR(TryOpen(options.file));
  try {
    if (options.max_file_bytes == 0) {
      return spdlog::sink_ptr(std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file));
    }
    return spdlog::sink_ptr(std::make_shared<spdlog::sinks::rotating_file_sink_mt>(
        options.file, options.max_file_bytes, options.max_files));
  } catch (const spdlog::spdlog_ex& error) {
    return Status(Code::kIo, "open log file " + options.file + ": " + error.what());
  }
}

// The one sink of the one logger: what lies behind it is exchanged under its lock, which spdlog
// does not offer for the logger itself while others use it.
spdlog::sinks::dist_sink_mt& Outlet() {
  static const auto outlet = [] {
    auto sink = std::make_shared<spdlog::sinks::dist_sink_mt>();
    auto logger = std::make_shared<spdlog::logger>("sheaf", sink);
    logger->flush_on(spdlog::level::warn);
    spdlog::set_default_logger(std::move(logger));
    return sink;
  }();
  return *outlet;
}

void UseSink(const spdlog::sink_ptr& sink, spdlog::level::level_enum level) {
  sink->set_formatter(
      std::make_unique<spdlog::pattern_formatter>(kPattern, spdlog::pattern_time_type::utc));
  Outlet().set_sinks({sink});
  spdlog::default_logger_raw()->set_level(level);
}

// Of the last InitLog.
Guarded<LogOptions>& CurrentOptions() {
  static Guarded<LogOptions> options;
  return options;
}

}  // namespace

Status InitLog(const LogOptions& options) {
  auto level = ParseLevel(options.level);
  if (!level.has_value()) {
    return {Code::kUsage, "log level \"" + options.level +
                              "\": not one of trace, debug, info, warn, error"};
  }
  ASSIGN_OR_RETURN(spdlog::sink_ptr sink, MakeSink(options));
  auto current = CurrentOptions().Lock();
  UseSink(sink, *level);
  *current = options;
  static std::once_flag flushes;
  if (!options.file.empty()) std::call_once(flushes, [] { spdlog::flush_every(kFlushEvery); });
  return Status::Ok();
}

void ReloadLog(const Result<LogOptions>& options) {
  Status status = options.status();
  if (status.ok()) status = InitLog(*options);
  if (status.ok()) {
    LogInfo("log reloaded: level {}", options->level);
    return FlushLog();
  }
  const LogOptions before = *CurrentOptions().Lock();
  // The old file stays in use if not even it can be opened.
  const Status reopened = InitLog(before);
  LogError("reload the log: {}; it goes on as before{}", status.message(),
           reopened.ok() ? "" : ", in the file that was open");
}

Status SetLogLevel(const std::string& level) {
  auto parsed = ParseLevel(level);
  if (!parsed.has_value()) {
    return {Code::kUsage,
            "log level \"" + level + "\": not one of trace, debug, info, warn, error"};
  }
  spdlog::default_logger()->set_level(*parsed);
  return Status::Ok();
}

void FlushLog() { spdlog::default_logger()->flush(); }

namespace internal {

bool LogToStandardError() {
  // Runs once a file that includes the header: only the first may replace the logger.
  static const bool done = [] {
    UseSink(std::make_shared<spdlog::sinks::stderr_sink_mt>(), spdlog::level::info);
    return true;
  }();
  return done;
}

}  // namespace internal
}  // namespace sheaf
