// Creates empty files by batches, from several threads: how many a second, and a namespace of any
// size to measure the metadata service with.
//
//   create_inodes --meta HOST:PORT --count N [--per-directory N] [--threads N] [--under /PATH]
//
// The files are /PATH/d000000/f00000000 and so on. Prints one JSON object. Exit code 0: all are
// there; 1: something failed; 2: wrong usage.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "client/sheaf.h"
#include "common/guarded.h"
#include "common/status.h"

namespace sheaf {
namespace {

constexpr uint64_t kCallEntries = 4096;  // of one CreateMany: as many batches as it sends at a time

struct Options {
  std::string meta;
  std::string under = "/inodes";
  uint64_t count = 0;
  uint64_t per_directory = 10'000;
  uint32_t threads = 4;
};

std::string Numbered(char letter, int width, uint64_t number) {
  std::string digits = std::to_string(number);
  digits.insert(0, static_cast<size_t>(width) - std::min(digits.size(), size_t(width)), '0');
  return letter + digits;
}

// The first error of those whose entry was not made.
Status FirstError(const std::vector<Result<FileAttr>>& results) {
  for (const auto& result : results) {
    if (!result.ok()) return result.status();
  }
  return Status::Ok();
}

class Maker {
 public:
  Maker(Client& client, const Options& options) : client_(client), options_(options) {}

  Status Run() {
    RETURN_IF_ERROR(client_.MkdirPath(options_.under).status());
    RETURN_IF_ERROR(MakeDirectories());
    {
      std::vector<std::jthread> workers;
      for (uint32_t i = 0; i < options_.threads; ++i) workers.emplace_back([this] { Work(); });
    }
    return *failure_.Lock();
  }

 private:
  Status MakeDirectories() {
    ASSIGN_OR_RETURN(const FileAttr under, client_.StatPath(options_.under));
    const uint64_t count = (options_.count + options_.per_directory - 1) / options_.per_directory;
    std::vector<Client::NewEntry> entries;
    for (uint64_t i = 0; i < count; ++i)
      entries.push_back({under.inode, Numbered('d', 6, i), 0755});
    const auto made = client_.MkdirMany(who_, entries);
    RETURN_IF_ERROR(FirstError(made));
    for (const auto& directory : made) directories_.push_back(directory->inode);
    return Status::Ok();
  }

  void Work() {
    while (failure_.Lock()->ok()) {
      const uint64_t first = next_.fetch_add(kCallEntries);
      if (first >= options_.count) return;
      std::vector<Client::NewEntry> entries;
      for (uint64_t i = first; i < std::min(first + kCallEntries, options_.count); ++i) {
        entries.push_back({directories_[i / options_.per_directory], Numbered('f', 8, i)});
      }
      const Status status = FirstError(client_.CreateMany(who_, entries));
      if (status.ok()) continue;
      auto failure = failure_.Lock();
      if (failure->ok()) *failure = status.With("create in " + options_.under);
    }
  }

  Client& client_;
  const Options& options_;
  const Credentials who_ = Credentials::OfProcess();
  std::vector<InodeId> directories_;
  std::atomic<uint64_t> next_ = 0;
  Guarded<Status> failure_;
};

Status Run(const Options& options) {
  ASSIGN_OR_RETURN(const auto client, Client::Connect({.meta_address = options.meta}));
  const auto start = std::chrono::steady_clock::now();
  RETURN_IF_ERROR(Maker(*client, options).Run());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::printf("{\"inodes\": %llu, \"seconds\": %.1f, \"per_second\": %.0f}\n",
              static_cast<unsigned long long>(options.count), took.count(),
              static_cast<double>(options.count) / took.count());
  return Status::Ok();
}

}  // namespace
}  // namespace sheaf

int main(int argc, char** argv) {
  CLI::App app("Creates empty files by batches, from several threads");
  sheaf::Options options;
  app.add_option("--meta", options.meta, "HOST:PORT of the metadata service")->required();
  app.add_option("--count", options.count, "Files")
      ->required()
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 32));
  app.add_option("--per-directory", options.per_directory, "Files of one directory")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 32))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "Threads that create")
      ->check(CLI::Range(1u, 256u))
      ->capture_default_str();
  app.add_option("--under", options.under, "Directory to make and to fill")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const sheaf::Status status = sheaf::Run(options);
  if (!status.ok()) std::fprintf(stderr, "create_inodes: error: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
