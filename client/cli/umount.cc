#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "client/cli/mounts.h"
#include "client/cli/paths.h"
#include "client/cli/verbs.h"

namespace sheaf::cli {
namespace {

Status Umount(const std::string& directory) {
  ASSIGN_OR_RETURN(const std::string point, AbsolutePath(directory));
  if (!SheafMountAt(point).has_value()) {
    return {Code::kUsage, "unmount " + point + ": no Sheaf is mounted there"};
  }
  return Unmount(point, false);
}

}  // namespace

Verb AddUmount(CLI::App& app) {
  auto directory = std::make_shared<std::string>();
  CLI::App* umount = app.add_subcommand("umount", "Unmount a directory.");
  umount->add_option("DIR", *directory, "A mount point of Sheaf's")->required();
  return {umount, [directory] { return Umount(*directory); }};
}

}  // namespace sheaf::cli
