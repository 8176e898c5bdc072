#pragma once

#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "common/status.h"

namespace sheaf::testing {

struct CommandOutcome {
  int exit_code = -1;
  std::string output;  // standard output
};

// Runs `sheaf`, as built beside this program.
inline CommandOutcome RunSheaf(const std::string& arguments) {
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe");
  const std::string command = self.parent_path().string() + "/sheaf " + arguments;
  std::FILE* pipe = ::popen(command.c_str(), "r");
  CHECK(pipe != nullptr);
  CommandOutcome outcome;
  char buffer[4096];
  for (size_t got; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
    outcome.output.append(buffer, got);
  }
  const int status = ::pclose(pipe);
  if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
  return outcome;
}

}  // namespace sheaf::testing
