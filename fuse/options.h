#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/log.h"
#include "common/status.h"

namespace sheaf::fuse {

inline constexpr uint32_t kRequestSizeMax = 1 << 20;  // bytes of one read or write request

// Everything a mount can be told. Plain values; ParseCommandLine checks them.
struct MountOptions {
  std::string meta_address;  // "host:port"; shown as the mount's source
  std::string directory;     // where to mount

  bool foreground = false;
  LogOptions log;           // without a file: standard error, and nowhere once in the background
  std::string config_file;  // says log and metrics in their place; empty: none
  std::string metrics_address;  // "host:port" for Prometheus; empty: none

  bool allow_other = false;
  bool default_permissions = true;  // the kernel checks permissions
  bool read_only = false;
  // How long the kernel trusts what it was told.
  std::chrono::duration<double> attr_timeout{1};
  std::chrono::duration<double> entry_timeout{1};
  std::chrono::duration<double> negative_timeout{0};
  uint32_t max_threads = 64;
  uint32_t read_ahead_kib = 4096;
  // After these a call ends with EIO.
  std::chrono::milliseconds meta_timeout{30'000};
  std::chrono::milliseconds data_timeout{30'000};
  // What write(2) leaves in the daemon's memory: at most so much, and so long.
  uint32_t write_behind_mib = 64;  // 0: none
  std::chrono::milliseconds write_behind{1000};
  std::vector<std::string> kernel_options;  // noatime, nodev, ...: handed on
};

struct CommandLine {
  enum class Action { kMount, kHelp, kVersion };
  Action action = Action::kMount;
  MountOptions options;
  std::string text;  // what --help or --version prints
};

// `arguments` without the program's name. kUsage names the option, its value and what is accepted.
Result<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments);

// Checks that what the configuration file says is not said twice, and reads it. Also how a reload
// learns the log's options. kUsage names file, key and value.
Status ReadConfigFile(MountOptions* options);

// One -o list: "allow_other,attr_timeout=0.5". Later ones win.
Status ApplyMountOptions(std::string_view list, MountOptions* options);

// The -o list for the kernel and libfuse.
std::string KernelOptions(const MountOptions& options);

}  // namespace sheaf::fuse
