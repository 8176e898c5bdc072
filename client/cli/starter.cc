#include "client/cli/starter.h"

#include <poll.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>

#include "client/cli/mounts.h"

namespace sheaf::cli {
namespace {

using std::chrono::milliseconds;

constexpr uint32_t kChainsPerTarget = 8;
constexpr milliseconds kPollEvery{50};
constexpr milliseconds kCallTimeout{2000};
constexpr milliseconds kStopPatience{10'000};

size_t SizeOf(const std::string& path) {
  std::error_code failed;
  const auto size = std::filesystem::file_size(path, failed);
  return failed ? 0 : size;
}

bool Serves(const proto::Chain& chain) {
  return std::any_of(chain.members().begin(), chain.members().end(),
                     [](const auto& member) { return member.state() == proto::SERVING; });
}

}  // namespace

Starter::Starter(LocalCluster& cluster, const Options& options)
    : cluster_(cluster),
      options_(options),
      deadline_(std::chrono::steady_clock::now() + options.wait) {}

Status Starter::Run() {
  const Status status = StartAll();
  if (!status.ok()) StopStarted();
  return status;
}

Status Starter::StartAll() {
  RETURN_IF_ERROR(StartDaemon(cluster_.Meta()));
  for (uint32_t i = 0; i < cluster_.settings().storage; ++i) {
    RETURN_IF_ERROR(StartDaemon(cluster_.Storage(i)));
  }
  ClusterCalls calls(cluster_.MetaAddress());
  RETURN_IF_ERROR(WaitUntil("storage servers", [&] { return NodesAreUp(calls); }));
  RETURN_IF_ERROR(MakeChains(calls));
  RETURN_IF_ERROR(WaitUntil("chains", [&] { return ChainsServe(calls); }));
  return options_.mount ? StartMount() : Status::Ok();
}

Status Starter::StartDaemon(const Daemon& daemon) {
  if (Process::Find(daemon).has_value()) return Status::Ok();
  const size_t output_start = SizeOf(daemon.output_file);
  ASSIGN_OR_RETURN(Process process, Process::Start(daemon));
  started_.push_back({daemon, std::move(process), output_start});
  return Status::Ok();
}

Status Starter::StartMount() {
  const Daemon daemon = cluster_.Mount();
  const std::string& point = cluster_.settings().mount;
  const auto mounted = [&]() -> Status {
    const auto mount = SheafMountAt(point);
    if (mount.has_value() && mount->source == cluster_.MetaAddress()) return Status::Ok();
    return {Code::kUnavailable, "nothing is mounted at " + point + " yet"};
  };
  if (Process::Find(daemon).has_value()) return WaitUntil("mount", mounted);
  RETURN_IF_ERROR(ClearDeadMounts(point));
  if (mounted().ok()) return Status::Ok();  // by someone else's hand
  RETURN_IF_ERROR(StartDaemon(daemon));
  return WaitUntil("mount", mounted);
}

template <typename Ready>
Status Starter::WaitUntil(const std::string& what, Ready ready) {
  for (;;) {
    RETURN_IF_ERROR(CheckStarted());
    const Status status = ready();
    if (status.ok()) return status;
    if (std::chrono::steady_clock::now() >= deadline_) {
      return {Code::kDeadline, what + ": not ready after " +
                                   std::to_string(options_.wait.count() / 1000) +
                                   " s: " + status.message() + "\n" + SuspectWords()};
    }
    poll(nullptr, 0, static_cast<int>(kPollEvery.count()));
  }
}

Status Starter::CheckStarted() {
  for (const Started& each : started_) {
    if (each.process.Running()) continue;
    return {Code::kUnavailable, each.daemon.name + " (pid " + std::to_string(each.process.pid()) +
                                    ") ended with " + each.process.HowItEnded() + ":\n" +
                                    LastWords(each.daemon, each.output_start)};
  }
  return Status::Ok();
}

Status Starter::NodesAreUp(ClusterCalls& calls) {
  ASSIGN_OR_RETURN(const proto::ClusterStatus status, calls.GetStatus(kCallTimeout));
  uint32_t up = 0;
  for (const proto::Node& node : status.map().nodes()) up += node.state() != proto::NODE_DOWN;
  // A node that the map still holds for up, from before, is not up before it has come again.
  std::set<int64_t> pids;
  for (const proto::Node& node : status.map().nodes()) pids.insert(node.pid());
  for (const Started& each : started_) {
    if (each.daemon.name.starts_with("storage-") && !pids.contains(each.process.pid())) {
      return {Code::kUnavailable, each.daemon.name + " has not registered yet"};
    }
  }
  if (up >= cluster_.settings().storage) return Status::Ok();
  return {Code::kUnavailable, std::to_string(up) + " of " +
                                  std::to_string(cluster_.settings().storage) +
                                  " storage servers are up"};
}

Status Starter::MakeChains(ClusterCalls& calls) {
  ASSIGN_OR_RETURN(const proto::ClusterStatus status, calls.GetStatus(kCallTimeout));
  const bool present = !status.map().tables().empty();
  if (present && !options_.replicas.has_value()) return Status::Ok();
  return calls.CreateChains(options_.replicas.value_or(options_.new_replicas), kChainsPerTarget, kCallTimeout);
}

Status Starter::ChainsServe(ClusterCalls& calls) {
  ASSIGN_OR_RETURN(const proto::ClusterStatus status, calls.GetStatus(kCallTimeout));
  if (status.map().chains().empty()) return {Code::kUnavailable, "there are no chains yet"};
  for (const proto::Chain& chain : status.map().chains()) {
    if (Serves(chain)) continue;
    return {Code::kUnavailable, "chain " + std::to_string(chain.id()) + " does not serve"};
  }
  return Status::Ok();
}

std::string Starter::SuspectWords() const {
  std::string words;
  for (const Started& each : started_) {
    words += "  " + each.daemon.name + ":\n" + LastWords(each.daemon, each.output_start);
  }
  return words;
}

void Starter::StopStarted() {
  for (auto each = started_.rbegin(); each != started_.rend(); ++each) {
    const std::string& point = cluster_.settings().mount;
    if (each->daemon.name == "mount" && SheafMountAt(point)) (void)Unmount(point, true);
    if (each->process.Running()) Stop(each->process, each->daemon.name, kStopPatience);
    std::error_code ignored;
    std::filesystem::remove(each->daemon.pid_file, ignored);
  }
  started_.clear();
}

}  // namespace sheaf::cli
