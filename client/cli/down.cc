#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>

#include "client/cli/paths.h"
#include "client/cli/stopper.h"
#include "client/cli/verbs.h"

namespace sheaf::cli {
namespace {

struct Options {
  std::string directory = DefaultDirectory();
  uint32_t wait_s = 30;
  bool force = false;
};

Status Down(const Options& options) {
  ASSIGN_OR_RETURN(const LocalCluster cluster, LocalCluster::Open(options.directory, false));
  bool ran = false;
  for (const Daemon& daemon : cluster.Daemons()) ran = ran || Process::Find(daemon).has_value();
  StopOptions stop;
  stop.patience = std::chrono::seconds(options.wait_s);
  stop.force = options.force;
  RETURN_IF_ERROR(StopCluster(cluster, stop));
  std::printf(ran ? "Sheaf in %s is down; its data stays there for the next sheaf up\n"
                  : "Sheaf in %s was not running\n",
              cluster.directory().c_str());
  return Status::Ok();
}

}  // namespace

Verb AddDown(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* down = app.add_subcommand("down", "Stop what `sheaf up` started; the data stays.");
  down->add_option("--dir", options->directory, "The directory given to `sheaf up`")
      ->capture_default_str();
  down->add_option("--wait", options->wait_s, "How long a process may take before it is killed, seconds")
      ->check(CLI::Range(1u, 3600u))
      ->capture_default_str();
  down->add_flag("--force", options->force, "Unmount although files in the mount are in use");
  return {down, [options] { return Down(*options); }};
}

}  // namespace sheaf::cli
