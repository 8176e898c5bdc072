#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/status.h"
#include "tests/support/temp_dir.h"

namespace sheaf::testing {

// A cluster of real processes for tests: sheaf-meta and sheaf-storage from this program's own
// directory, on free ports of this machine, with their state in a temporary directory. All of it
// is gone with the object, and the processes with this process, however it ends.
// Not thread-safe.
class ProcessCluster {
 public:
  struct Options {
    int servers = 3;
    uint32_t chains_per_target = 4;
    std::chrono::milliseconds session_renew{5000};
    std::chrono::milliseconds session_lease{15000};
    bool unix_sockets = true;
    uint32_t buffer_mib = 32;  // of each server
  };

  // Answers when every server is up and the chains are made; an error has the last lines of the
  // logs.
  static Result<std::unique_ptr<ProcessCluster>> Start(const Options& options);
  ~ProcessCluster();

  const std::string& meta_address() const { return meta_.listen; }
  // Where the metadata service, or a server's target, keeps its state.
  std::string meta_directory() const { return dir_ / "meta"; }
  std::string target_directory(int server) const {
    return dir_ / ("storage" + std::to_string(server));
  }
  int servers() const { return static_cast<int>(servers_.size()); }

  // kill -9, and the process is reaped. They may be started again: with the same state and
  // addresses.
  void KillMeta() { Kill(meta_); }
  void KillServer(int server) { Kill(servers_[static_cast<size_t>(server)]); }
  Status StartMeta() { return Launch(meta_); }
  Status StartServer(int server) { return Launch(servers_[static_cast<size_t>(server)]); }
  // SIGTERM, and waits for the exit; answers the exit code.
  Result<int> StopServer(int server);
  // SIGSTOP and SIGCONT.
  void PauseServer(int server);
  void ResumeServer(int server);

 private:
  struct Daemon {
    std::string program;
    std::string config;
    std::string log;
    std::string listen;
    pid_t pid = -1;
  };

  explicit ProcessCluster(const Options& options) : options_(options) {}
  Status PrepareMeta();
  Status PrepareServer(int number);
  Status MakeChains();
  static Status Launch(Daemon& daemon);
  static void Kill(Daemon& daemon);
  static std::string Tail(const Daemon& daemon);

  const Options options_;
  TempDir dir_;
  Daemon meta_;
  std::vector<Daemon> servers_;
};

}  // namespace sheaf::testing
