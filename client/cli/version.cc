#include "common/version.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>

#include "client/cli/process.h"
#include "client/cli/verbs.h"

namespace sheaf::cli {
namespace {

Status Show() {
  std::printf("%s\n", VersionLine("sheaf").c_str());
  for (const char* program : {"sheaf-meta", "sheaf-storage", "sheaf-fuse"}) {
    const auto binary = FindBinary(program);
    // sheaf-fuse's says what this machine's libfuse adds.
    if (!binary.ok()) {
      std::printf("%s: not installed beside sheaf\n", program);
    } else if (const auto text = RunTool({*binary, "--version"}); text.ok()) {
      std::printf("%s", text->c_str());
    } else {
      std::printf("%s: %s\n", program, text.status().message().c_str());
    }
  }
  return Status::Ok();
}

}  // namespace

Verb AddVersion(CLI::App& app) {
  CLI::App* version = app.add_subcommand(
      "version", "Show the versions of Sheaf's programs and what they were built with.");
  return {version, Show};
}

}  // namespace sheaf::cli
