#pragma once

#include <CLI/App.hpp>
#include <functional>

#include "common/status.h"

// The verbs of the `sheaf` command, one file each. Each Add* declares its options on `app` and
// answers what runs it once the command line has been read. kUsage ends the program with 2, any
// other error with 1.

namespace sheaf::cli {

struct Verb {
  CLI::App* command = nullptr;
  std::function<Status()> run;
};

Verb AddUp(CLI::App& app);
Verb AddDown(CLI::App& app);
Verb AddMount(CLI::App& app);
Verb AddUmount(CLI::App& app);
Verb AddStatus(CLI::App& app);
Verb AddNode(CLI::App& app);
Verb AddTarget(CLI::App& app);
Verb AddChain(CLI::App& app);
Verb AddCp(CLI::App& app);
Verb AddVersion(CLI::App& app);
Verb AddBench(CLI::App& app);
Verb AddFsck(CLI::App& app);
Verb AddScrub(CLI::App& app);
Verb AddInspect(CLI::App& app);

}  // namespace sheaf::cli
