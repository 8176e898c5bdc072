#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "client/cli/mounts.h"
#include "client/cli/paths.h"
#include "client/cli/process.h"
#include "client/cli/verbs.h"

namespace sheaf::cli {
namespace {

struct Options {
  std::string meta;
  std::string point;
  std::string mount_options;
  std::string log_file;
  bool foreground = false;
};

Status CheckPoint(const std::string& point) {
  if (SheafMountAt(point).has_value()) {
    return {Code::kExists, "mount point " + point + ": a Sheaf is mounted there already; " +
                               "sheaf umount " + point + " first"};
  }
  std::error_code failed;
  if (!std::filesystem::is_directory(point, failed)) {
    return {Code::kUsage, "mount point " + point + ": not a directory; create it first"};
  }
  if (std::filesystem::is_empty(point, failed) || failed) return Status::Ok();
  return {Code::kUsage, "mount point " + point + ": not empty; name an empty directory"};
}

// Becomes the mount daemon, which reports for itself from there on.
Status MountAt(const Options& options) {
  ASSIGN_OR_RETURN(const std::string binary, FindBinary("sheaf-fuse"));
  ASSIGN_OR_RETURN(const std::string point, AbsolutePath(options.point));
  ASSIGN_OR_RETURN(const std::string meta, FindMeta(options.meta, {}));
  RETURN_IF_ERROR(CheckPoint(point));
  std::vector<std::string> arguments = {binary, "--meta", meta};
  if (!options.mount_options.empty()) {
    arguments.insert(arguments.end(), {"-o", options.mount_options});
  }
  if (!options.log_file.empty()) arguments.insert(arguments.end(), {"--log-file", options.log_file});
  if (options.foreground) arguments.push_back("--foreground");
  arguments.push_back(point);
  std::vector<char*> argv;
  for (std::string& each : arguments) argv.push_back(each.data());
  argv.push_back(nullptr);
  execv(binary.c_str(), argv.data());
  return Status::FromErrno(errno, "start " + binary);
}

}  // namespace

Verb AddMount(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* mount = app.add_subcommand("mount", "Mount a cluster's file system at a directory.");
  mount->add_option("--meta", options->meta,
                    "HOST:PORT of the metadata service (default: SHEAF_META, else ~/.sheaf's)");
  mount->add_option("DIR", options->point, "Where: an empty directory")->required();
  mount->add_option("-o,--options", options->mount_options,
                    "Mount options with commas between (see sheaf-fuse --help)");
  mount->add_option("--log-file", options->log_file, "Log there (default: standard error)");
  mount->add_flag("--foreground", options->foreground, "Stay; the mount ends with this process");
  return {mount, [options] { return MountAt(*options); }};
}

}  // namespace sheaf::cli
