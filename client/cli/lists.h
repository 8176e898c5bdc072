#pragma once

#include <CLI/App.hpp>
#include <memory>
#include <string>

#include "common/status.h"

namespace sheaf::cli {

// `sheaf node list`, `sheaf target list`, `sheaf chain list`: parts of what `sheaf status` knows,
// under the same names.

struct ListOptions {
  std::string meta;
  bool json = false;
};

enum class ListOf { kNodes, kTargets, kChains };

// The list out of `status`, the one object of `sheaf status --json`: a table, or an object with
// that list alone. kProtocol: not of that form.
Result<std::string> FormatList(ListOf what, const std::string& status, bool json);

// Asks the cluster and prints it.
Status PrintList(ListOf what, const ListOptions& options);

// Declares `list` with its options on `parent`.
CLI::App* AddList(CLI::App& parent, const std::string& help,
                  const std::shared_ptr<ListOptions>& options);

}  // namespace sheaf::cli
