#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>

#include "client/cli/paths.h"
#include "client/cli/status_table.h"
#include "client/cli/verbs.h"
#include "client/sheaf.h"

namespace sheaf::cli {
namespace {

// A person waits for this one.
constexpr std::chrono::milliseconds kTimeout{10'000};

struct Options {
  std::string meta;
  bool json = false;
};

Status Show(const Options& options) {
  ASSIGN_OR_RETURN(const std::string meta, FindMeta(options.meta, {}));
  ClientOptions client_options;
  client_options.meta_address = meta;
  client_options.meta_timeout = kTimeout;
  ASSIGN_OR_RETURN(auto client, Client::Connect(client_options));
  ASSIGN_OR_RETURN(const std::string json, client->StatusJson());
  if (options.json) {
    std::printf("%s\n", json.c_str());
    return Status::Ok();
  }
  ASSIGN_OR_RETURN(const std::string table, StatusTable(json));
  std::fputs(table.c_str(), stdout);
  return Status::Ok();
}

}  // namespace

Verb AddStatus(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* status = app.add_subcommand("status", "Show the health of a cluster.");
  status->add_option("--meta", options->meta,
                     "HOST:PORT of the metadata service (default: the mount one is in, SHEAF_META, "
                     "else ~/.sheaf's)");
  status->add_flag("--json", options->json, "One JSON object");
  return {status, [options] { return Show(*options); }};
}

}  // namespace sheaf::cli
