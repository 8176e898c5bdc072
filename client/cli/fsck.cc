#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "client/cli/fsck_run.h"
#include "client/cli/paths.h"
#include "client/cli/verbs.h"

namespace sheaf::cli {
namespace {

struct Options {
  std::string meta;
  bool repair = false;
  bool json = false;
};

// File names are bytes; what is not text is shown all the same.
std::string Dump(const nlohmann::ordered_json& object) {
  return object.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

nlohmann::ordered_json ToJson(const Problem& problem) {
  nlohmann::ordered_json entry = {
      {"kind", problem.kind}, {"text", problem.text}, {"repaired", problem.repaired}};
  if (!problem.why_not.empty()) entry["why_not"] = problem.why_not;
  return entry;
}

void Print(const Problem& problem) {
  std::printf("%s%s%s%s\n", problem.repaired ? "repaired: " : "", problem.text.c_str(),
              problem.why_not.empty() ? "" : "; not repaired: ", problem.why_not.c_str());
}

Status Check(const Options& options) {
  ASSIGN_OR_RETURN(const std::string meta, FindMeta(options.meta, {}));
  const auto source = MakeCheckSource(meta);
  const bool show_progress = !options.json && isatty(STDERR_FILENO) != 0;
  nlohmann::ordered_json problems = nlohmann::ordered_json::array();
  FsckRun run(*source, {.repair = options.repair,
                        .tell =
                            [&](const Problem& problem) {
                              if (options.json) return problems.push_back(ToJson(problem));
                              if (show_progress) std::fputs("\r\033[K", stderr);
                              Print(problem);
                            },
                        .progress =
                            [&](const std::string& text) {
                              if (show_progress) std::fprintf(stderr, "\r\033[K%s", text.c_str());
                            }});
  const auto result = run.Run();
  if (show_progress) std::fputs("\r\033[K", stderr);
  if (!result.ok()) return result.status();
  if (options.json) {
    const nlohmann::ordered_json object = {{"clean", result->left == 0},   {"problems", problems},
                                           {"repaired", result->repaired}, {"left", result->left},
                                           {"inodes", result->inodes},     {"rows", result->rows},
                                           {"chunks", result->chunks}};
    std::printf("%s\n", Dump(object).c_str());
  } else {
    std::printf("%llu inodes, %llu chunks: ", static_cast<unsigned long long>(result->inodes),
                static_cast<unsigned long long>(result->chunks));
    std::printf("%llu repaired, %llu left\n", static_cast<unsigned long long>(result->repaired),
                static_cast<unsigned long long>(result->left));
  }
  if (result->left == 0) return Status::Ok();
  return {Code::kCorrupt, std::to_string(result->left) + " problems are left" +
                              (options.repair ? "" : "; --repair mends what can be mended")};
}

}  // namespace

Verb AddFsck(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* fsck = app.add_subcommand(
      "fsck",
      "Check a serving cluster: its metadata, its chunks against it, and its replicas against one "
      "another.");
  fsck->add_option("--meta", options->meta,
                   "HOST:PORT of the metadata service (default: the mount one is in, SHEAF_META, "
                   "else ~/.sheaf's)");
  fsck->add_flag("--repair", options->repair,
                 "Mend what is found; inodes without a name go to /lost+found, and replicas that differ "
                 "are left");
  fsck->add_flag("--json", options->json, "One JSON object");
  return {fsck, [options] { return Check(*options); }};
}

}  // namespace sheaf::cli
