#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "client/cli/local_cluster.h"
#include "client/cli/mounts.h"
#include "client/cli/paths.h"
#include "client/cli/starter.h"
#include "client/cli/stopper.h"
#include "client/cli/verbs.h"

namespace sheaf::cli {
namespace {

struct Options {
  std::string directory = DefaultDirectory();
  uint32_t storage = 3;
  uint32_t replicas = 3;
  std::string mount;
  bool no_mount = false;
  uint32_t wait_s = 60;
  bool storage_given = false;
  bool replicas_given = false;
};

Status CheckCommandLine(const Options& options) {
  if (options.replicas_given && options.storage_given && options.replicas > options.storage) {
    return {Code::kUsage, "--replicas " + std::to_string(options.replicas) +
                              ": more than the storage servers (--storage " +
                              std::to_string(options.storage) +
                              "); each replica is on a server of its own"};
  }
  if (options.no_mount && !options.mount.empty()) {
    return {Code::kUsage, "--mount " + options.mount + ": cannot be given with --no-mount"};
  }
  for (const char* program : {"sheaf-meta", "sheaf-storage", "sheaf-fuse"}) {
    if (options.no_mount && std::string(program) == "sheaf-fuse") continue;
    RETURN_IF_ERROR(FindBinary(program).status());
  }
  if (!options.no_mount && access("/dev/fuse", R_OK | W_OK) != 0) {
    return Status::FromErrno(errno, "mount: /dev/fuse cannot be used; load the fuse module or give "
                                    "this container the device, or use --no-mount");
  }
  return Status::Ok();
}

// A usable mount point: made if missing, empty, or showing this cluster already.
Status CheckMountPoint(const std::string& point, const std::string& meta) {
  const auto mount = SheafMountAt(point);
  if (mount.has_value() && mount->source == meta) return Status::Ok();
  if (mount.has_value()) {
    return {Code::kUsage, "mount point " + point + ": shows the Sheaf of " + mount->source +
                              "; unmount that first, or name another directory"};
  }
  std::error_code failed;
  std::filesystem::create_directories(point, failed);
  if (failed) return {Code::kIo, "mount point " + point + ": " + failed.message()};
  const bool empty = std::filesystem::is_empty(point, failed);
  if (failed) return {Code::kIo, "mount point " + point + ": " + failed.message()};
  if (empty) return Status::Ok();
  return {Code::kUsage, "mount point " + point + ": not empty; name an empty directory"};
}

// What was asked for, over what an earlier `up` has laid down.
Result<LocalCluster::Settings> Settle(const LocalCluster& cluster, const Options& options) {
  LocalCluster::Settings settings = cluster.settings();
  if (!cluster.HasSettings()) settings.storage = options.storage;
  if (options.storage_given && options.storage != settings.storage) {
    return Status(Code::kUsage, "--storage " + std::to_string(options.storage) +
                                    ": this cluster has " + std::to_string(settings.storage) +
                                    " storage servers, which cannot be changed yet; leave it out, "
                                    "or name another --dir");
  }
  if (options.replicas_given && options.replicas > settings.storage) {
    return Status(Code::kUsage, "--replicas " + std::to_string(options.replicas) +
                                    ": more than the cluster's " +
                                    std::to_string(settings.storage) + " storage servers");
  }
  if (!options.mount.empty()) {
    ASSIGN_OR_RETURN(std::string point, AbsolutePath(options.mount));
    if (point != settings.mount && Process::Find(cluster.Mount()).has_value()) {
      return Status(Code::kUsage, "--mount " + options.mount + ": the cluster is mounted at " +
                                      settings.mount + "; run sheaf down first");
    }
    settings.mount = point;
  }
  return settings;
}

void Describe(const LocalCluster& cluster, const Options& options, size_t started) {
  const bool defaults = options.directory == DefaultDirectory();
  std::printf("Sheaf %s: %u storage server%s\n", started > 0 ? "is up" : "was already running",
              cluster.settings().storage, cluster.settings().storage == 1 ? "" : "s");
  if (!options.no_mount) std::printf("  mounted at  %s\n", cluster.settings().mount.c_str());
  std::printf("  metadata    %s\n", cluster.MetaAddress().c_str());
  std::printf("  state       %s (config/ data/ log/ run/)\n", cluster.directory().c_str());
  std::printf("Stop it with: sheaf down%s%s\n", defaults ? "" : " --dir ",
              defaults ? "" : cluster.directory().c_str());
}

Status Up(const Options& options) {
  RETURN_IF_ERROR(CheckCommandLine(options));
  ASSIGN_OR_RETURN(LocalCluster cluster, LocalCluster::Open(options.directory, true));
  ASSIGN_OR_RETURN(const LocalCluster::Settings settings, Settle(cluster, options));
  if (!options.no_mount) {
    RETURN_IF_ERROR(ClearDeadMounts(settings.mount));
    RETURN_IF_ERROR(CheckMountPoint(settings.mount, cluster.MetaAddress()));
  }
  RETURN_IF_ERROR(cluster.SaveSettings(settings));

  const auto running = [&](const std::string& name) {
    for (const Daemon& daemon : cluster.Daemons()) {
      if (daemon.name == name) return Process::Find(daemon).has_value();
    }
    return false;
  };
  ASSIGN_OR_RETURN(const bool moved, cluster.WriteConfigurations(running));
  // Whoever knows the old addresses has to be told the new ones, by a start.
  if (moved) RETURN_IF_ERROR(StopCluster(cluster, {}));

  Starter::Options start;
  start.mount = !options.no_mount;
  start.wait = std::chrono::seconds(options.wait_s);
  if (options.replicas_given) start.replicas = options.replicas;
  start.new_replicas = std::min(options.replicas, settings.storage);
  Starter starter(cluster, start);
  RETURN_IF_ERROR(starter.Run());
  Describe(cluster, options, starter.started());
  return Status::Ok();
}

}  // namespace

Verb AddUp(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* up = app.add_subcommand(
      "up", "Start a whole cluster on this machine, as background processes, and mount it.\n"
            "With one that runs: start what is missing.");
  up->add_option("--dir", options->directory, "Where its state, logs and configuration are")
      ->capture_default_str();
  auto* storage =
      up->add_option("--storage", options->storage, "Storage servers, of a new cluster")
          ->check(CLI::Range(1u, kMaxLocalStorage))
          ->capture_default_str();
  auto* replicas = up->add_option("--replicas", options->replicas,
                                  "Copies of each chunk, of a new cluster; at most --storage, which "
                                  "is what counts when it is less")
                       ->check(CLI::Range(1u, kMaxLocalStorage))
                       ->capture_default_str();
  up->add_option("--mount", options->mount, "Where to mount it (default: DIR/mnt)");
  up->add_flag("--no-mount", options->no_mount, "Do not mount it");
  up->add_option("--wait", options->wait_s, "Longest wait until all are healthy, seconds")
      ->check(CLI::Range(1u, 3600u))
      ->capture_default_str();
  return {up, [options, storage, replicas] {
            options->storage_given = storage->count() > 0;
            options->replicas_given = replicas->count() > 0;
            return Up(*options);
          }};
}

}  // namespace sheaf::cli
