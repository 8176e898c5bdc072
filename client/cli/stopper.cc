#include "client/cli/stopper.h"

#include <poll.h>

#include <csignal>
#include <filesystem>

#include "client/cli/mounts.h"

namespace sheaf::cli {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kBusyPatience{3000};  // of a mount that someone is just leaving
constexpr milliseconds kBusyPollEvery{100};

Status UnmountSoon(const std::string& point, bool force) {
  milliseconds waited{0};
  for (;;) {
    const Status status = Unmount(point, false);
    if (status.code() != Code::kBusy) return status;
    if (force) return Unmount(point, true);
    if (waited >= kBusyPatience) return status.With("nothing was stopped (--force does)");
    poll(nullptr, 0, static_cast<int>(kBusyPollEvery.count()));
    waited += kBusyPollEvery;
  }
}

void Forget(const Daemon& daemon) {
  std::error_code ignored;
  std::filesystem::remove(daemon.pid_file, ignored);
}

Status StopMount(const LocalCluster& cluster, const StopOptions& options) {
  const std::string& point = cluster.settings().mount;
  const Daemon daemon = cluster.Mount();
  const auto process = Process::Find(daemon);
  if (!process.has_value()) {
    // Dead, but perhaps its mount is still there: only ours may be taken away.
    const auto mount = SheafMountAt(point);
    const bool ours = mount.has_value() && mount->source == cluster.MetaAddress();
    return ours ? ClearDeadMounts(point) : Status::Ok();
  }
  if (SheafMountAt(point).has_value()) RETURN_IF_ERROR(UnmountSoon(point, options.force));
  // Unmounted, it writes out what it holds and ends by itself.
  if (!process->WaitForEnd(options.patience)) Stop(*process, daemon.name, options.patience);
  Forget(daemon);
  return Status::Ok();
}

}  // namespace

Status StopCluster(const LocalCluster& cluster, const StopOptions& options) {
  RETURN_IF_ERROR(StopMount(cluster, options));
  std::vector<std::pair<Daemon, Process>> storage;
  for (uint32_t i = 0; i < cluster.settings().storage; ++i) {
    const Daemon daemon = cluster.Storage(i);
    if (auto process = Process::Find(daemon)) storage.emplace_back(daemon, std::move(*process));
  }
  // All are told before one is waited for.
  for (const auto& [daemon, process] : storage) process.Signal(SIGTERM);
  for (const auto& [daemon, process] : storage) {
    Stop(process, daemon.name, options.patience);
    Forget(daemon);
  }
  const Daemon meta = cluster.Meta();
  if (const auto process = Process::Find(meta)) {
    Stop(*process, meta.name, options.patience);
    Forget(meta);
  }
  return Status::Ok();
}

}  // namespace sheaf::cli
