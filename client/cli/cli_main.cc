#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <csignal>
#include <cstdio>
#include <vector>

#include "client/cli/verbs.h"
#include "common/log.h"
#include "common/version.h"

namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

int Report(const CLI::App& command, const sheaf::Status& status) {
  if (status.ok()) return 0;
  std::fprintf(stderr, "sheaf %s: error: %s\n", command.get_name().c_str(),
               status.message().c_str());
  return status.code() == sheaf::Code::kUsage ? kExitUsage : kExitFailed;
}

// Help and version are what was asked for; everything else is wrong usage, in one line.
int ReportParse(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);
  std::string verb;
  for (const CLI::App* command : app.get_subcommands()) verb = " " + command->get_name();
  std::fprintf(stderr, "sheaf%s: error: %s (see sheaf%s --help)\n", verb.c_str(), error.what(),
               verb.c_str());
  return kExitUsage;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a server that went is an error of its call
  // What the library logs is for whoever looks into a failure; a person at a shell gets the error.
  if (const auto status = sheaf::InitLog({.level = "error"}); !status.ok()) return kExitFailed;

  CLI::App app("Sheaf, a distributed file system. Each command has --help.", "sheaf");
  app.set_version_flag("--version", sheaf::VersionLine("sheaf"));
  app.require_subcommand(0, 1);  // none is reported below: an unknown word is named then
  namespace cli = sheaf::cli;
  const std::vector<cli::Verb> verbs = {
      cli::AddUp(app),     cli::AddDown(app),    cli::AddMount(app),  cli::AddUmount(app),
      cli::AddStatus(app), cli::AddNode(app),    cli::AddTarget(app), cli::AddChain(app),
      cli::AddCp(app),     cli::AddVersion(app), cli::AddBench(app),  cli::AddFsck(app),
      cli::AddScrub(app),  cli::AddInspect(app)};
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return ReportParse(app, error);
  }
  for (const cli::Verb& verb : verbs) {
    if (verb.command->parsed()) return Report(*verb.command, verb.run());
  }
  std::fputs("sheaf: error: no command given (see sheaf --help)\n", stderr);
  return kExitUsage;
}
