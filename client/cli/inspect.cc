#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "client/cli/process.h"
#include "client/cli/verbs.h"
#include "common/state_dir.h"

namespace sheaf::cli {
namespace {

struct Options {
  std::string directory;
  std::string what;
  std::vector<std::string> arguments;
  std::string limit;
  bool json = false;
  bool verify = false;
};

// Which program knows what is in a directory of this kind.
Result<const char*> ProgramFor(const std::string& directory) {
  ASSIGN_OR_RETURN(const StateMarker marker, ReadStateMarker(directory));
  if (marker.kind == "meta") return "sheaf-meta";
  if (marker.kind == "storage-target") return "sheaf-storage";
  return Status(Code::kUsage, "state directory " + directory + ": it is of kind " + marker.kind +
                                  "; name the metadata service's or a target's within it");
}

// The daemons know their own formats: this becomes the one whose directory it is.
Status Inspect(const Options& options) {
  ASSIGN_OR_RETURN(const char* program, ProgramFor(options.directory));
  ASSIGN_OR_RETURN(const std::string binary, FindBinary(program));
  std::vector<std::string> command = {binary, "inspect", options.directory};
  if (!options.what.empty()) command.push_back(options.what);
  command.insert(command.end(), options.arguments.begin(), options.arguments.end());
  if (!options.limit.empty()) command.insert(command.end(), {"--limit", options.limit});
  if (options.json) command.emplace_back("--json");
  if (options.verify) command.emplace_back("--verify");
  std::vector<char*> arguments;
  for (std::string& word : command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::execv(binary.c_str(), arguments.data());
  return Status::FromErrno(errno, "run " + binary);
}

}  // namespace

Verb AddInspect(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* inspect = app.add_subcommand(
      "inspect", "Show what is in a daemon's directory; changes nothing, works on a live one too.");
  inspect
      ->add_option("directory", options->directory, "The metadata service's directory or a target")
      ->required();
  inspect->add_option(
      "what", options->what,
      "Metadata: summary, rows [TABLE], inode N, dentry PARENT NAME, directory N, "
      "removals, intents, sessions, chains. Target: summary, slabs, chunks [CHAIN], "
      "chunk CHAIN DATA_ID INDEX");
  inspect->add_option("arguments", options->arguments, "Which");
  inspect->add_option("--limit", options->limit, "Rows shown; 0: all (1000)");
  inspect->add_flag("--verify", options->verify,
                    "Of one chunk: read its blocks, compare checksums");
  inspect->add_flag("--json", options->json, "One JSON object a line");
  return {inspect, [options] { return Inspect(*options); }};
}

}  // namespace sheaf::cli
