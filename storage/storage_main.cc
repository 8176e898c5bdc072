#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <string>

#include "common/address.h"
#include "common/daemon_signals.h"
#include "common/log.h"
#include "common/log_config.h"
#include "common/status.h"
#include "common/version.h"
#include "storage/inspect/inspect.h"
#include "storage/service/echo_handler.h"
#include "storage/storage_daemon.h"

// sheaf-storage: the chunk server. Reads its configuration, starts the daemon, waits for SIGTERM or
// SIGINT, stops it; SIGHUP reloads the log. With --echo it is a bare transport server for
// benchmarks instead.

namespace sheaf::storage {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

constexpr const char* kConfigHelp = R"(Configuration (TOML; unknown keys are errors):
  meta            the manager's gRPC address, "host:port"; required
  targets         array of directories, one a disk, made if missing; required
  listen          framed data path, "host:port" (127.0.0.1:7710)
  grpc            data service for stock gRPC clients, "host:port" (127.0.0.1:7711)
  metrics         Prometheus address, "host:port", or "" for none (127.0.0.1:7712)
  unix_path       Unix socket of the framed data path for this machine's clients (none)
  advertise       host that others reach this server by (the one listened on)
  failure_domain  replicas of a chain avoid sharing one (none)
  reactors        threads that drive sockets and disks, 1 to 64 (1)
  buffer_mib      data buffers of all reactors together, MiB, 16 to 65536 (128)
  slab_mib        size of one slab file, MiB, 64 to 65536 (256)
  resync_mib_per_s sent in all to replicas that catch up, MiB/s; 0: no limit (256)
  stage_from_kib  so large writes go to the next machine while they come in, KiB; 0: none (1024)
  near_stages     ... to servers on this machine, too (false)
  scrub_mib_per_s each target's chunks are read and verified so fast, MiB/s; 0: not at all (32)
  capacity_mib    of each target, MiB; 0: all that its disk has (0)
)";

int Fail(const Status& status) {
  std::cerr << "sheaf-storage: error: " << status.message() << std::endl;
  return status.code() == Code::kUsage ? kExitUsage : kExitFailed;
}

Status RunEcho(const std::string& listen, uint32_t reactors, const DaemonSignals& signals) {
  ASSIGN_OR_RETURN(const Address address, Address::Parse(listen));
  std::vector<UniqueFd> listeners;
  ASSIGN_OR_RETURN(UniqueFd socket, Listen(address, 128));
  ASSIGN_OR_RETURN(const Address bound, BoundAddress(socket.get(), address));
  listeners.push_back(std::move(socket));
  ReactorSet::Options options;
  options.reactors = reactors;
  ASSIGN_OR_RETURN(auto set, ReactorSet::Start(options));
  EchoHandler echo(options.limits.terms.max_payload);
  set->Serve(echo, std::move(listeners));
  std::cout << "listening on " << bound.ToString() << std::endl;
  signals.WaitForStop([] {});
  return set->StopServing(std::chrono::seconds(5));
}

Status RunDaemon(const std::string& config_path, const DaemonSignals& signals) {
  ASSIGN_OR_RETURN(const StorageConfig config, StorageConfig::Load(config_path));
  RETURN_IF_ERROR(InitLog(config.log));
  LogInfo("{} starts", VersionLine("sheaf-storage"));
  ASSIGN_OR_RETURN(auto daemon, StorageDaemon::Start(config));
  const char* signal = signals.WaitForStop([&] {
    auto again = StorageConfig::Load(config_path);
    ReloadLog(again.ok() ? Result<LogOptions>(again->log) : again.status());
  });
  LogInfo("stopping: {}", signal);
  daemon.reset();
  LogInfo("stopped");
  FlushLog();
  return Status::Ok();
}

int RunInspect(const InspectRequest& request, bool json) {
  if (Status status = InitLog({.level = "error"}); !status.ok()) return Fail(status);
  const Status status = Inspect(request, [json](const Facts& facts) {
    std::cout << (json ? facts.Json() : facts.Text()) << '\n';
  });
  std::cout.flush();
  return status.ok() ? 0 : Fail(status);
}

int Main(int argc, char** argv) {
  CLI::App app{"Sheaf's storage daemon: serves chunks from local disks.", "sheaf-storage"};
  std::string config_path;
  std::string echo;
  uint32_t reactors = 1;
  auto* config_option = app.add_option("--config", config_path, "Configuration file (TOML)");
  auto* echo_option = app.add_option(
      "--echo", echo, "Only answer echo requests on HOST:PORT or unix:PATH (benchmarks)");
  app.add_option("--reactors", reactors, "Threads of --echo")
      ->needs(echo_option)
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  config_option->excludes(echo_option);
  InspectRequest request;
  bool json = false;
  CLI::App* inspect = app.add_subcommand("inspect", "Show what is in a target's directory");
  inspect->add_option("directory", request.directory, "The target's directory")->required();
  inspect->add_option("what", request.what,
                      "summary, slabs, chunks [CHAIN] or chunk CHAIN DATA_ID INDEX (summary)");
  inspect->add_option("arguments", request.arguments, "Which");
  inspect->add_option("--limit", request.limit, "Chunks shown; 0: all (1000)");
  inspect->add_flag("--verify", request.verify, "Of one chunk: read its blocks, compare checksums");
  inspect->add_flag("--json", json, "One JSON object a line");
  app.set_version_flag("--version", VersionLine("sheaf-storage"));
  app.footer(std::string(kConfigHelp) + kLogConfigHelp);
  try {
    app.parse(argc, argv);
    if (config_path.empty() && echo.empty() && !inspect->parsed())
      throw CLI::RequiredError("--config FILE");
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    return Fail({Code::kUsage, std::string(error.what()) + "; see sheaf-storage --help"});
  }
  if (inspect->parsed()) return RunInspect(request, json);
  const DaemonSignals signals;
  const Status status =
      echo.empty() ? RunDaemon(config_path, signals) : RunEcho(echo, reactors, signals);
  return status.ok() ? 0 : Fail(status);
}

}  // namespace
}  // namespace sheaf::storage

int main(int argc, char** argv) { return sheaf::storage::Main(argc, argv); }
