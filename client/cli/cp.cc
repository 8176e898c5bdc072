#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "client/cli/copier.h"
#include "client/cli/paths.h"
#include "client/cli/sizes.h"
#include "client/cli/verbs.h"
#include "common/clock.h"
#include "common/guarded.h"

namespace sheaf::cli {
namespace {

struct Options {
  std::string meta;
  std::string source;
  std::string target;
  int threads = 16;
};

std::string Describe(const Copier::Progress& progress, double seconds) {
  const uint64_t bytes = progress.bytes_done;
  const auto rate = static_cast<uint64_t>(static_cast<double>(bytes) / std::max(seconds, 1e-3));
  return std::to_string(progress.files_done) + " files, " + FormatSize(bytes) + " in " +
         std::to_string(static_cast<int>(seconds * 10) / 10) + "." +
         std::to_string(static_cast<int>(seconds * 10) % 10) + " s (" + FormatSize(rate) + "/s)";
}

// A line on standard error that follows the copy, when a terminal looks on.
class ProgressBar {
 public:
  ProgressBar(const Copier& copier, Clock::Instant start) : copier_(copier), start_(start) {
    if (isatty(STDERR_FILENO)) thread_ = std::thread([this] { Follow(); });
  }
  ~ProgressBar() {
    *ended_.Lock() = true;
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

 private:
  static constexpr std::chrono::milliseconds kEvery{200};
  static constexpr size_t kWidth = 30;

  void Follow() {
    auto ended = ended_.Lock();
    while (!ended.WaitUntil(changed_, std::chrono::steady_clock::now() + kEvery,
                            [&] { return *ended; })) {
      Draw();
    }
    std::fputs("\r\033[K", stderr);
  }

  void Draw() const {
    const Copier::Progress& progress = copier_.progress();
    const uint64_t found = std::max<uint64_t>(1, progress.bytes_found);
    const size_t full = static_cast<size_t>(std::min<uint64_t>(
        kWidth, progress.bytes_done * kWidth / found));
    const double seconds = std::chrono::duration<double>(Clock::System().Now() - start_).count();
    std::fprintf(stderr, "\r\033[K[%s%s] %s of %llu files, %s", std::string(full, '#').c_str(),
                 std::string(kWidth - full, ' ').c_str(), Describe(progress, seconds).c_str(),
                 static_cast<unsigned long long>(progress.files_found),
                 FormatSize(progress.bytes_found).c_str());
  }

  const Copier& copier_;
  const Clock::Instant start_;
  std::condition_variable changed_;
  Guarded<bool> ended_{false};
  std::thread thread_;
};

// Where the copy goes: into a directory that is there, else under the name given.
Result<Tree::Location> FindTarget(Tree& tree, const std::string& path, const std::string& name) {
  auto directory = tree.OpenDirectory(path);
  if (directory.ok()) return Tree::Location{std::move(*directory), name};
  const Code code = directory.status().code();
  if (code != Code::kNotFound && code != Code::kNotDirectory) return directory.status();
  ASSIGN_OR_RETURN(Tree::Location target, tree.Locate(path));
  RETURN_IF_ERROR(tree.Find(target.directory, "").status());
  return target;
}

Status Copy(const Options& options, Tree& from, const std::string& source, Tree& to,
            const std::string& target) {
  ASSIGN_OR_RETURN(const Tree::Location origin, from.Locate(source));
  ASSIGN_OR_RETURN(const Tree::Item item, from.Find(origin.directory, origin.name));
  ASSIGN_OR_RETURN(const Tree::Location goal, FindTarget(to, target, origin.name));

  const Clock::Instant start = Clock::System().Now();
  Copier copier(from, to, options.threads, [](const std::string& line) {
    std::fprintf(stderr, "%ssheaf cp: %s\n", isatty(STDERR_FILENO) ? "\r\033[K" : "", line.c_str());
  });
  {
    ProgressBar bar(copier, start);
    copier.Run(origin.directory, item, goal.directory, goal.name);
  }
  const double seconds = std::chrono::duration<double>(Clock::System().Now() - start).count();
  const Copier::Progress& progress = copier.progress();
  std::printf("copied %s, %llu directories\n", Describe(progress, seconds).c_str(),
              static_cast<unsigned long long>(progress.directories));
  if (progress.failures == 0) return Status::Ok();
  return {Code::kIo, std::to_string(progress.failures) + " could not be copied; see the lines above"};
}

Status Cp(const Options& options) {
  ASSIGN_OR_RETURN(const std::string meta, FindMeta(options.meta, {options.source, options.target}));
  ASSIGN_OR_RETURN(const PathArgument source, ParsePath(options.source, meta));
  ASSIGN_OR_RETURN(const PathArgument target, ParsePath(options.target, meta));
  if (!source.in_sheaf && !target.in_sheaf) {
    return {Code::kUsage, "neither " + options.source + " nor " + options.target +
                              " is in Sheaf: write sheaf:/PATH or a path in a mount, or use cp"};
  }
  const std::string inside = source.path == "/" ? "/" : source.path + "/";
  if (source.in_sheaf == target.in_sheaf &&
      (target.path == source.path || target.path.starts_with(inside))) {
    return {Code::kUsage, "cannot copy " + options.source + " into itself (" + options.target + ")"};
  }
  ClientOptions client_options;
  client_options.meta_address = meta;
  ASSIGN_OR_RETURN(auto client, Client::Connect(client_options));
  const auto local = MakeLocalTree();
  const auto sheaf = MakeSheafTree(*client);
  return Copy(options, source.in_sheaf ? *sheaf : *local, source.path,
              target.in_sheaf ? *sheaf : *local, target.path);
}

}  // namespace

Verb AddCp(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* cp = app.add_subcommand(
      "cp", "Copy files and whole trees in or out, in parallel; modes, times, symlinks, hard links\n"
            "and, as root, owners are kept. A side is sheaf:/PATH, a path in a mount, or local.");
  cp->add_option("SRC", options->source, "What to copy; directories with all in them")->required();
  cp->add_option("DST", options->target, "Its new name, or a directory to put it in")->required();
  cp->add_option("--meta", options->meta,
                 "HOST:PORT of the metadata service (default: the mount, SHEAF_META, else "
                 "~/.sheaf's)");
  cp->add_option("--threads", options->threads, "Files or 64 MiB pieces copied at once")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  return {cp, [options] { return Cp(*options); }};
}

}  // namespace sheaf::cli
