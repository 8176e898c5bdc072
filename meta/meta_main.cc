#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <string>

#include "common/address.h"
#include "common/config.h"
#include "common/daemon_signals.h"
#include "common/log.h"
#include "common/log_config.h"
#include "common/status.h"
#include "common/version.h"
#include "meta/inspect/inspect.h"
#include "meta/service/meta_server.h"

// sheaf-meta: the namespace and the cluster manager. Reads its configuration, starts the server,
// waits for SIGTERM or SIGINT, stops it. SIGHUP reloads the log.

namespace sheaf::meta {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

constexpr const char* kConfigHelp = R"(Configuration (TOML; unknown keys are errors):
  data_dir          directory for all state, made if missing; required
  listen            gRPC address, "host:port" (127.0.0.1:7700)
  framed            framed calls of clients, "host:port", or "" for none (127.0.0.1:7702)
  unix_path         Unix socket of framed calls for this machine's clients (none)
  metrics           Prometheus address, "host:port", or "" for none (127.0.0.1:7701)
  reserve_mib       disk space held back so that removals work on a full disk, MiB, 0 to 65536 (128)
  heartbeat_ms      between heartbeats of a storage server, ms, 10 to 60000 (500)
  lease_ms          a storage server serves this long after a heartbeat, ms, 100 to 600000 (2000)
  session_renew_ms  between renewals of a client session, ms, 100 to 600000 (5000)
  session_lease_ms  a client session ends this long after a renewal, ms, 500 to 3600000 (15000)
)";

struct Config {
  MetaServerOptions server;
  LogOptions log;
};

void ReadMillis(ConfigFile& file, const char* key, std::chrono::milliseconds* value, int64_t min,
                int64_t max) {
  int64_t number = value->count();
  file.Read(key, &number, min, max);
  *value = std::chrono::milliseconds(number);
}

Status CheckListen(const std::string& path, const char* key, const std::string& text) {
  Result<Address> address = Address::Parse(text);
  if (!address.ok()) return address.status().With(path + ": " + key);
  if (!address->IsUnix()) return Status::Ok();
  return {Code::kUsage, path + ": " + key + " " + text + " is a Unix socket; give \"host:port\""};
}

Status Validate(const Config& config, const std::string& path) {
  const MetaServerOptions& server = config.server;
  RETURN_IF_ERROR(CheckListen(path, "listen", server.listen));
  if (!server.framed.empty()) {
    RETURN_IF_ERROR(CheckListen(path, "framed", server.framed));
  }
  if (!server.metrics.empty()) {
    RETURN_IF_ERROR(CheckListen(path, "metrics", server.metrics));
  }
  if (server.data_dir.empty()) {
    return {Code::kUsage, path + ": data_dir is missing; name the directory for the state"};
  }
  if (server.lease < 2 * server.heartbeat) {
    return {Code::kUsage, path + ": lease_ms " + std::to_string(server.lease.count()) +
                              " is below twice heartbeat_ms " +
                              std::to_string(server.heartbeat.count()) + "; raise lease_ms"};
  }
  if (server.session_lease < 2 * server.session_renew) {
    return {Code::kUsage,
            path + ": session_lease_ms " + std::to_string(server.session_lease.count()) +
                " is below twice session_renew_ms " + std::to_string(server.session_renew.count()) +
                "; raise session_lease_ms"};
  }
  return Status::Ok();
}

Result<Config> LoadConfig(const std::string& path) {
  Config config;
  ASSIGN_OR_RETURN(ConfigFile file, ConfigFile::Load(path));
  file.Read("data_dir", &config.server.data_dir);
  file.Read("listen", &config.server.listen);
  config.server.framed = "127.0.0.1:7702";
  file.Read("framed", &config.server.framed);
  file.Read("unix_path", &config.server.unix_path);
  file.Read("metrics", &config.server.metrics);
  int64_t reserve_mib = static_cast<int64_t>(config.server.reserve_bytes >> 20);
  file.Read("reserve_mib", &reserve_mib, 0, 65'536);
  config.server.reserve_bytes = static_cast<uint64_t>(reserve_mib) << 20;
  ReadMillis(file, "heartbeat_ms", &config.server.heartbeat, 10, 60'000);
  ReadMillis(file, "lease_ms", &config.server.lease, 100, 600'000);
  ReadMillis(file, "session_renew_ms", &config.server.session_renew, 100, 600'000);
  ReadMillis(file, "session_lease_ms", &config.server.session_lease, 500, 3'600'000);
  ReadLogOptions(file, &config.log);
  RETURN_IF_ERROR(file.Finish());
  RETURN_IF_ERROR(Validate(config, path));
  return config;
}

int Fail(const Status& status) {
  std::cerr << "sheaf-meta: error: " << status.message() << std::endl;
  return status.code() == Code::kUsage ? kExitUsage : kExitFailed;
}

int Run(const std::string& config_path) {
  Result<Config> config = LoadConfig(config_path);
  if (!config.ok()) return Fail(config.status());
  const DaemonSignals signals;  // before the first thread, which is the log's
  if (Status status = InitLog(config->log); !status.ok()) return Fail(status);
  Result<std::unique_ptr<MetaServer>> server = MetaServer::Start(config->server);
  if (!server.ok()) return Fail(server.status());
  FlushLog();
  const char* signal = signals.WaitForStop([&] {
    Result<Config> again = LoadConfig(config_path);
    ReloadLog(again.ok() ? Result<LogOptions>(again->log) : again.status());
  });
  LogInfo("stopping: {}", signal);
  server->reset();
  LogInfo("stopped");
  FlushLog();
  return 0;
}

int RunInspect(const InspectRequest& request, bool json) {
  if (Status status = InitLog({.level = "error"}); !status.ok()) return Fail(status);
  const Status status = Inspect(request, [json](const Facts& facts) {
    std::printf("%s\n", (json ? facts.Json() : facts.Text()).c_str());
  });
  return status.ok() ? 0 : Fail(status);
}

}  // namespace
}  // namespace sheaf::meta

int main(int argc, char** argv) {
  CLI::App app("Sheaf's metadata service and cluster manager; runs in the foreground");
  std::string config;
  app.add_option("--config", config, "Configuration file (TOML)")->type_name("FILE");
  sheaf::meta::InspectRequest request;
  bool json = false;
  CLI::App* inspect = app.add_subcommand("inspect", "Show what is in a data directory");
  inspect->add_option("directory", request.directory, "The data directory")->required();
  inspect->add_option("what", request.what,
                      "summary, rows [TABLE], inode N, dentry PARENT NAME, directory N, removals, "
                      "intents, sessions or chains (summary)");
  inspect->add_option("arguments", request.arguments, "Which");
  inspect->add_option("--limit", request.limit, "Rows shown; 0: all (1000)");
  inspect->add_flag("--json", json, "One JSON object a line");
  app.set_version_flag("--version", sheaf::VersionLine("sheaf-meta"));
  app.footer(std::string(sheaf::meta::kConfigHelp) + sheaf::kLogConfigHelp);
  try {
    app.parse(argc, argv);
    if (config.empty() && !inspect->parsed()) throw CLI::RequiredError("--config");
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    std::cerr << "sheaf-meta: error: " << error.what() << std::endl;
    return sheaf::meta::kExitUsage;
  }
  if (inspect->parsed()) return sheaf::meta::RunInspect(request, json);
  return sheaf::meta::Run(config);
}
