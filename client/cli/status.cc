#include <poll.h>
#include <unistd.h>
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include <cerrno>
#include <cstdio>
#include <ctime>

#include "client/cli/paths.h"
#include "client/cli/status_table.h"
#include "client/cli/verbs.h"
#include "client/sheaf.h"

namespace sheaf::cli {
namespace {

// A person waits for this one.
constexpr std::chrono::milliseconds kTimeout{10'000};
constexpr const char* kClearScreen = "\033[H\033[2J";

struct Options {
  std::string meta;
  bool json = false;
  bool watch = false;
  double interval_s = 1;
};

std::string LocalTime() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return text;
}

// One look, as it is printed.
Result<std::string> Look(Client& client, const Options& options) {
  ASSIGN_OR_RETURN(const std::string json, client.StatusJson());
  if (options.json) return json + "\n";
  return StatusTable(json);
}

Status Print(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0) return Status::Ok();
  return Status::FromErrno(errno, "write to standard output");
}

// Goes on while the service is away, since that is when one watches: the screen or standard error
// says so. Ends with a signal, or when nobody reads any more.
Status Watch(Client& client, const Options& options) {
  const bool screen = isatty(STDOUT_FILENO) == 1 && !options.json;
  const auto wait = static_cast<int>(options.interval_s * 1000);
  for (;;) {
    const Result<std::string> seen = Look(client, options);
    const std::string heading =
        options.json ? "" : (screen ? kClearScreen : "") + LocalTime() + "\n";
    if (!seen.ok() && !screen) {
      std::fprintf(stderr, "%s sheaf status: error: %s\n", LocalTime().c_str(),
                   seen.status().message().c_str());
    } else {
      const std::string text = seen.ok() ? *seen : "error: " + seen.status().message() + "\n";
      const std::string end = screen || options.json ? "" : "\n";
      errno = 0;
      const Status printed = Print(heading + text + end);
      if (errno == EPIPE) return Status::Ok();  // whoever read has seen enough
      RETURN_IF_ERROR(printed);
    }
    poll(nullptr, 0, wait);
  }
}

Status Show(const Options& options) {
  ASSIGN_OR_RETURN(const std::string meta, FindMeta(options.meta, {}));
  ClientOptions client_options;
  client_options.meta_address = meta;
  client_options.meta_timeout = kTimeout;
  ASSIGN_OR_RETURN(auto client, Client::Connect(client_options));
  if (options.watch) return Watch(*client, options);
  ASSIGN_OR_RETURN(const std::string text, Look(*client, options));
  return Print(text);
}

}  // namespace

Verb AddStatus(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* status = app.add_subcommand("status", "Show the health of a cluster.");
  status->add_option("--meta", options->meta,
                     "HOST:PORT of the metadata service (default: the mount one is in, SHEAF_META, "
                     "else ~/.sheaf's)");
  status->add_flag("--json", options->json, "One JSON object; with --watch one a line");
  auto* watch = status->add_flag("--watch", options->watch,
                                 "Show it again and again, until interrupted: on a terminal in "
                                 "place, else one after the other");
  status->add_option("--interval", options->interval_s, "Between two looks of --watch, seconds")
      ->needs(watch)
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  return {status, [options] { return Show(*options); }};
}

}  // namespace sheaf::cli
