// Lists one directory through the library, page by page, and keeps nothing of it: how many entries
// a second, and by how much the process grew.
//
//   list_directory --meta HOST:PORT [--attributes] /PATH
//
// Prints one JSON object. Exit code 0: listed to its end; 1: something failed; 2: wrong usage.

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>

#include "client/sheaf.h"
#include "common/status.h"

namespace sheaf {
namespace {

constexpr uint32_t kPageEntries = 1024;

// A "VmHWM: 1234 kB" of /proc/self/status; 0 if it is not there.
uint64_t StatusKib(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(key + ":", 0) == 0) return std::stoull(line.substr(key.size() + 1));
  }
  return 0;
}

Status Run(const std::string& meta, const std::string& path, bool attributes) {
  ASSIGN_OR_RETURN(const auto client, Client::Connect({.meta_address = meta}));
  const Credentials who = Credentials::OfProcess();
  ASSIGN_OR_RETURN(const FileAttr directory, client->StatPath(path));
  const uint64_t before = StatusKib("VmRSS");
  const auto start = std::chrono::steady_clock::now();
  uint64_t entries = 0;
  for (uint64_t cookie = 0;;) {
    ASSIGN_OR_RETURN(const DirectoryPage page,
                     client->ReadDirectory(who, directory.inode, cookie, kPageEntries, attributes));
    entries += page.entries.size();
    if (!page.entries.empty()) cookie = page.entries.back().cookie;
    if (page.end) break;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::printf("{\"entries\": %llu, \"seconds\": %.1f, \"before_kib\": %llu, \"peak_kib\": %llu}\n",
              static_cast<unsigned long long>(entries), took.count(),
              static_cast<unsigned long long>(before),
              static_cast<unsigned long long>(StatusKib("VmHWM")));
  return Status::Ok();
}

}  // namespace
}  // namespace sheaf

int main(int argc, char** argv) {
  CLI::App app("Lists one directory through the library, page by page");
  std::string meta;
  std::string path;
  bool attributes = false;
  app.add_option("--meta", meta, "HOST:PORT of the metadata service")->required();
  app.add_flag("--attributes", attributes, "Ask for each entry's attributes, too");
  app.add_option("path", path, "The directory")->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const sheaf::Status status = sheaf::Run(meta, path, attributes);
  if (!status.ok()) std::fprintf(stderr, "list_directory: error: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
