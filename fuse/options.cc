#include "fuse/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "common/address.h"
#include "common/config.h"
#include "common/log_config.h"
#include "fuse/features.h"

namespace sheaf::fuse {
namespace {

constexpr double kTimeoutMaxSeconds = 86'400;
constexpr uint32_t kThreadsMax = 4096;
constexpr uint32_t kReadAheadMaxKib = 1 << 20;
constexpr uint32_t kWriteBehindMaxMib = 1 << 16;
constexpr uint32_t kWaitMaxMs = 3'600'000;

// Understood by the kernel (or by mount(8), which passes some of them on) and not by us.
constexpr std::array kKernelOptions = {"nosuid",  "suid",    "nodev", "dev",        "noexec",
                                       "exec",    "noatime", "atime", "nodiratime", "relatime",
                                       "dirsync", "sync",    "async"};
// What /etc/fstab and systemd add for themselves.
constexpr std::array kIgnoredOptions = {"defaults", "auto", "noauto", "nofail",
                                        "_netdev",  "user", "users",  "nouser"};

constexpr const char* kMountOptionsHelp = R"(Mount options (-o NAME[=VALUE],...):
  allow_other               users other than the one who mounts may use it
  no_default_permissions    the kernel leaves permission checks to the service
  ro, rw                    read-only, or not (rw)
  attr_timeout=SECONDS      the kernel trusts attributes for this long (1)
  entry_timeout=SECONDS     the kernel trusts names for this long (1)
  negative_timeout=SECONDS  the kernel trusts that a name is missing for this long (0)
  max_threads=N             requests served at once, 1 to 4096 (64)
  read_ahead_kib=N          read ahead of a sequential reader, 0 to 1048576 KiB (4096; needs root)
  meta_timeout_ms=N         a metadata call ends with EIO after this long, 1 to 3600000 (30000)
  data_timeout_ms=N         a data call ends with EIO after this long, 1 to 3600000 (30000)
  write_behind_mib=N        written bytes held in memory, 0 to 65536 MiB (64; 0: each write waits
                            until it is durable)
  write_behind_ms=N         held at most this long, 1 to 3600000 (1000)
  log_file=FILE, log_level=LEVEL, metrics=HOST:PORT, config=FILE: as --log-file and so on
  nosuid, suid, nodev, dev, noexec, exec, noatime, nodiratime, sync, dirsync: as in mount(8); x-* and _netdev are ignored

Configuration (--config FILE, TOML; unknown keys are errors):
  metrics           Prometheus address, "host:port", or "" for none ("")
)";

Status BadValue(std::string_view name, std::string_view value, const std::string& accepted) {
  return {Code::kUsage, "mount option " + std::string(name) + ": bad value '" + std::string(value) +
                            "', accepted is " + accepted};
}

Status ParseNumber(std::string_view name, std::string_view value, uint32_t min, uint32_t max,
                   uint32_t* out) {
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || number < min || number > max) {
    return BadValue(name, value, std::to_string(min) + " to " + std::to_string(max));
  }
  *out = number;
  return Status::Ok();
}

Status ParseSeconds(std::string_view name, std::string_view value,
                    std::chrono::duration<double>* out) {
  const std::string text(value);
  char* end = nullptr;
  const double seconds = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(seconds) || seconds < 0 ||
      seconds > kTimeoutMaxSeconds) {
    return BadValue(name, value, "seconds from 0 to 86400");
  }
  *out = std::chrono::duration<double>(seconds);
  return Status::Ok();
}

Status ParseMillis(std::string_view name, std::string_view value, std::chrono::milliseconds* out) {
  uint32_t number = 0;
  RETURN_IF_ERROR(ParseNumber(name, value, 1, kWaitMaxMs, &number));
  *out = std::chrono::milliseconds(number);
  return Status::Ok();
}

template <typename List>
bool Contains(const List& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

// Options without a value. False when `name` is none of them.
bool ApplyFlag(std::string_view name, MountOptions* options) {
  if (name == "allow_other") {
    options->allow_other = true;
  } else if (name == "default_permissions") {
    options->default_permissions = true;
  } else if (name == "no_default_permissions") {
    options->default_permissions = false;
  } else if (name == "ro") {
    options->read_only = true;
  } else if (name == "rw") {
    options->read_only = false;
  } else if (Contains(kKernelOptions, name)) {
    options->kernel_options.emplace_back(name);
  } else {
    return Contains(kIgnoredOptions, name);
  }
  return true;
}

// Options whose value is taken as it is; null for any other name.
std::string* TextOption(std::string_view name, MountOptions* options) {
  if (name == "log_file") return &options->log.file;
  if (name == "log_level") return &options->log.level;
  if (name == "metrics") return &options->metrics_address;
  if (name == "config") return &options->config_file;
  return nullptr;
}

bool IsComment(std::string_view name) {
  return name.starts_with("x-") || name.starts_with("X-") || name == "comment";
}

Status ApplyValue(std::string_view name, std::string_view value, MountOptions* options) {
  if (name == "attr_timeout") return ParseSeconds(name, value, &options->attr_timeout);
  if (name == "entry_timeout") return ParseSeconds(name, value, &options->entry_timeout);
  if (name == "negative_timeout") return ParseSeconds(name, value, &options->negative_timeout);
  if (name == "max_threads") return ParseNumber(name, value, 1, kThreadsMax, &options->max_threads);
  if (name == "read_ahead_kib") {
    return ParseNumber(name, value, 0, kReadAheadMaxKib, &options->read_ahead_kib);
  }
  if (name == "meta_timeout_ms") return ParseMillis(name, value, &options->meta_timeout);
  if (name == "data_timeout_ms") return ParseMillis(name, value, &options->data_timeout);
  if (name == "write_behind_mib") {
    return ParseNumber(name, value, 0, kWriteBehindMaxMib, &options->write_behind_mib);
  }
  if (name == "write_behind_ms") return ParseMillis(name, value, &options->write_behind);
  if (std::string* text = TextOption(name, options)) {
    *text = value;
    return Status::Ok();
  }
  // What mount(8), fstab and systemd keep there for themselves.
  if (IsComment(name)) return Status::Ok();
  return {Code::kUsage,
          "unknown mount option '" + std::string(name) + "'; sheaf-fuse --help lists them"};
}

Status ApplyOne(std::string_view item, MountOptions* options) {
  const size_t equals = item.find('=');
  if (equals != std::string_view::npos) {
    return ApplyValue(item.substr(0, equals), item.substr(equals + 1), options);
  }
  if (ApplyFlag(item, options) || IsComment(item)) return Status::Ok();
  for (const std::string_view name :
       {"attr_timeout", "entry_timeout", "negative_timeout", "max_threads", "read_ahead_kib",
        "meta_timeout_ms", "data_timeout_ms", "write_behind_mib", "write_behind_ms",
        "log_file", "log_level", "metrics", "config"}) {
    if (item == name) {
      return {Code::kUsage, "mount option " + std::string(name) + " needs a value, as in " +
                                std::string(name) + "=1"};
    }
  }
  return {Code::kUsage,
          "unknown mount option '" + std::string(item) + "'; sheaf-fuse --help lists them"};
}

Status Validate(const MountOptions& options) {
  if (options.meta_address.empty()) {
    return {Code::kUsage, "--meta is missing; give the metadata service's HOST:PORT"};
  }
  ASSIGN_OR_RETURN(const Address address, Address::Parse(options.meta_address));
  if (address.IsUnix() || options.meta_address.find(',') != std::string::npos) {
    return {Code::kUsage,
            "--meta: bad address '" + options.meta_address + "', accepted is HOST:PORT"};
  }
  if (!options.metrics_address.empty()) {
    RETURN_IF_ERROR(Address::Parse(options.metrics_address).status());
  }
  if (options.directory.empty()) return {Code::kUsage, "DIR is missing; give the mount point"};
  return Status::Ok();
}

}  // namespace

Status ApplyMountOptions(std::string_view list, MountOptions* options) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    const std::string_view item = list.substr(0, comma);
    if (!item.empty()) RETURN_IF_ERROR(ApplyOne(item, options));
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
  }
  return Status::Ok();
}

Status ReadConfigFile(MountOptions* options) {
  const MountOptions unset;
  if (!options->log.file.empty() || options->log.level != unset.log.level ||
      !options->metrics_address.empty()) {
    return {Code::kUsage, "config " + options->config_file +
                              ": says the log and the metrics address; leave out the options "
                              "log_file, log_level and metrics"};
  }
  ASSIGN_OR_RETURN(ConfigFile file, ConfigFile::Load(options->config_file));
  LogOptions log;
  std::string metrics;
  ReadLogOptions(file, &log);
  file.Read("metrics", &metrics);
  RETURN_IF_ERROR(file.Finish());
  if (!metrics.empty()) RETURN_IF_ERROR(Address::Parse(metrics).status().With("metrics"));
  options->log = log;
  options->metrics_address = metrics;
  return Status::Ok();
}

Result<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments) {
  CommandLine line;
  MountOptions& options = line.options;
  std::vector<std::string> lists;
  bool version = false;

  CLI::App app("Mounts a Sheaf file system.", "sheaf-fuse");
  app.footer(std::string(kMountOptionsHelp) + kLogConfigHelp);
  app.add_option("--meta", options.meta_address, "HOST:PORT of the metadata service");
  app.add_option("-o", lists, "mount options, separated by commas; may be repeated")
      ->allow_extra_args(false);
  app.add_flag("--foreground,-f", options.foreground, "stay in the foreground");
  app.add_option("--config", options.config_file,
                 "configuration file (TOML) of log and metrics, read again on SIGHUP");
  app.add_option("--log-file", options.log.file,
                 "append the log here (standard error; none in the background)");
  app.add_option("--log-level", options.log.level, "trace, debug, info, warn or error (info)");
  app.add_option("--metrics", options.metrics_address,
                 "serve Prometheus metrics on this HOST:PORT (none)");
  app.add_flag("--version", version, "show versions and built-in features");
  app.add_option("DIR", options.directory, "an existing directory to mount on");
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app.parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    line.action = CommandLine::Action::kHelp;
    line.text = app.help();
    return line;
  } catch (const CLI::ParseError& error) {
    return Status(Code::kUsage, error.what());
  }
  if (version) {
    line.action = CommandLine::Action::kVersion;
    line.text = VersionText() + "\n";
    return line;
  }
  for (const std::string& list : lists) RETURN_IF_ERROR(ApplyMountOptions(list, &options));
  RETURN_IF_ERROR(Validate(options));
  return line;
}

std::string KernelOptions(const MountOptions& options) {
  std::string list = "fsname=" + options.meta_address + ",subtype=sheaf";
  list += ",max_read=" + std::to_string(kRequestSizeMax);
  if (options.default_permissions) list += ",default_permissions";
  if (options.allow_other) list += ",allow_other";
  list += options.read_only ? ",ro" : ",rw";
  for (const std::string& option : options.kernel_options) list += "," + option;
  return list;
}

}  // namespace sheaf::fuse
