#include <fcntl.h>
#include <sys/resource.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>

#include "client/cli/latencies.h"
#include "client/cli/paths.h"
#include "client/cli/sizes.h"
#include "client/cli/verbs.h"
#include "client/sheaf.h"
#include "common/buffer.h"
#include "common/clock.h"
#include "common/guarded.h"
#include "common/layout.h"

// One workload on one file through the client library: `depth` calls always under way.

namespace sheaf::cli {
namespace {

constexpr uint64_t kMinBlock = 512;
constexpr uint64_t kMaxBlock = 64 << 20;
constexpr uint32_t kMaxDepth = 1024;
constexpr uint64_t kMaxMemory = uint64_t{4} << 30;  // depth times block
constexpr uint64_t kFillBlock = 4 << 20;
constexpr uint32_t kFillDepth = 4;

struct Options {
  std::string meta;
  std::string path;
  std::string size_text = "1G";
  std::string block_text = "1M";
  uint32_t depth = 8;
  bool random = false;
  bool json = false;

  uint64_t size = 0;
  uint64_t block = 0;
};

struct Outcome {
  uint64_t ops = 0;
  uint64_t bytes = 0;  // of calls without error
  uint64_t errors = 0;
  Status first_error;
  Latencies latencies;
  double seconds = 0;
  double cpu_s = 0;
};

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Runs blocks of one file with a set number under way, each slot with a buffer of its own. The
// calling thread starts the calls; completions come on the library's threads.
class Workload {
 public:
  struct Shape {
    bool write = false;
    bool random = false;
    uint64_t size = 0;
    uint64_t block = 0;
    uint32_t depth = 0;
  };

  Workload(File& file, const Shape& shape)
      : file_(file), shape_(shape), memory_(shape.block * shape.depth) {
    std::mt19937_64 bits(1);
    auto* words = reinterpret_cast<uint64_t*>(memory_.data());
    // Not compressible, and no block like another.
    for (size_t i = 0; i < memory_.size() / sizeof(uint64_t); ++i) words[i] = bits();
    auto state = state_.Lock();
    for (uint32_t slot = 0; slot < shape.depth; ++slot) state->free_slots.push_back(slot);
  }

  Outcome Run() {
    const double cpu = CpuSeconds();
    const Clock::Instant start = Clock::System().Now();
    // In sequence the last may be short; at random all are whole.
    const uint64_t tail = shape_.random ? 0 : shape_.block - 1;
    const uint64_t blocks = (shape_.size + tail) / shape_.block;
    std::mt19937_64 random(2);
    for (uint64_t i = 0; i < blocks; ++i) {
      StartOne(shape_.random ? random() % blocks : i);
    }
    auto state = state_.Lock();
    state.Wait(changed_, [&] { return state->free_slots.size() == shape_.depth; });
    if (shape_.write) Count(file_.Sync(), &state->outcome);
    state->outcome.ops = blocks;
    state->outcome.seconds = std::chrono::duration<double>(Clock::System().Now() - start).count();
    state->outcome.cpu_s = CpuSeconds() - cpu;
    return state->outcome;
  }

 private:
  struct State {
    std::vector<uint32_t> free_slots;
    Outcome outcome;
  };

  static void Count(const Status& status, Outcome* outcome) {
    if (status.ok()) return;
    if (outcome->errors++ == 0) outcome->first_error = status;
  }

  uint32_t TakeSlot() {
    auto state = state_.Lock();
    state.Wait(changed_, [&] { return !state->free_slots.empty(); });
    const uint32_t slot = state->free_slots.back();
    state->free_slots.pop_back();
    return slot;
  }

  void StartOne(uint64_t block) {
    const uint32_t slot = TakeSlot();
    const uint64_t offset = block * shape_.block;
    const uint64_t length = std::min(shape_.block, shape_.size - offset);
    const auto memory = memory_.span().subspan(slot * shape_.block, length);
    const Clock::Instant started = Clock::System().Now();
    auto done = [this, slot, length, started](Result<size_t> moved) {
      Finish(slot, length, started, moved);
    };
    if (shape_.write) {
      file_.WriteAsync(offset, memory, std::move(done));
    } else {
      file_.ReadAsync(offset, memory, std::move(done));
    }
  }

  void Finish(uint32_t slot, uint64_t length, Clock::Instant started, const Result<size_t>& moved) {
    const auto latency = Clock::System().Now() - started;
    auto state = state_.Lock();
    state->outcome.latencies.Add(latency);
    Count(moved.status(), &state->outcome);
    if (moved.ok()) state->outcome.bytes += *moved;
    if (moved.ok() && *moved != length) {
      Count({Code::kIo, "read: " + std::to_string(*moved) + " bytes instead of " +
                            std::to_string(length)}, &state->outcome);
    }
    state->free_slots.push_back(slot);
    changed_.notify_one();
  }

  File& file_;
  const Shape shape_;
  AlignedBuffer memory_;
  std::condition_variable changed_;
  Guarded<State> state_;
};

Status ParseNumbers(Options* options) {
  ASSIGN_OR_RETURN(options->block, ParseSize("--block", options->block_text, kMinBlock, kMaxBlock));
  ASSIGN_OR_RETURN(options->size,
                   ParseSize("--size", options->size_text, options->block, kMaxFileSize));
  if (options->block * options->depth <= kMaxMemory) return Status::Ok();
  return {Code::kUsage, "--depth " + std::to_string(options->depth) + ": times --block " +
                            FormatSize(options->block) + " is over " + FormatSize(kMaxMemory) +
                            " of memory; lower one of them"};
}

// For `read`: writes the file if it is missing or too short.
Status Fill(Client& client, const std::string& path, uint64_t size) {
  const auto found = client.StatPath(path);
  if (found.ok() && found->size >= size) return Status::Ok();
  if (!found.ok() && found.status().code() != Code::kNotFound) return found.status();
  std::fprintf(stderr, "writing %s to read it afterwards (not timed)\n", FormatSize(size).c_str());
  ASSIGN_OR_RETURN(auto file, client.OpenPath(path, O_RDWR | O_CREAT, 0644));
  const Outcome outcome = Workload(*file, {.write = true,
                                           .size = size,
                                           .block = std::min(size, kFillBlock),
                                           .depth = kFillDepth})
                              .Run();
  RETURN_IF_ERROR(outcome.first_error);
  return file->Close();
}

void Print(const Options& options, const Outcome& outcome) {
  const auto bytes = static_cast<double>(outcome.bytes);
  const nlohmann::ordered_json json = {
      {"ops", outcome.ops},
      {"ops_per_s", static_cast<double>(outcome.ops) / outcome.seconds},
      {"mib_per_s", bytes / outcome.seconds / (1 << 20)},
      {"p50_us", outcome.latencies.PercentileUs(0.50)},
      {"p99_us", outcome.latencies.PercentileUs(0.99)},
      {"cpu_s", outcome.cpu_s},
      {"errors", outcome.errors}};
  if (options.json) {
    std::printf("%s\n", json.dump().c_str());
    return;
  }
  std::printf("%.1f MiB/s, %.0f operations/s of %s at depth %u\n", json["mib_per_s"].get<double>(),
              json["ops_per_s"].get<double>(), FormatSize(options.block).c_str(), options.depth);
  std::printf("latency %.0f us median, %.0f us 99th percentile; %.2f s of client CPU; %llu errors\n",
              json["p50_us"].get<double>(), json["p99_us"].get<double>(), outcome.cpu_s,
              static_cast<unsigned long long>(outcome.errors));
}

Status Bench(Options options, bool write) {
  RETURN_IF_ERROR(ParseNumbers(&options));
  ASSIGN_OR_RETURN(const std::string meta, FindMeta(options.meta, {options.path}));
  ASSIGN_OR_RETURN(PathArgument path, ParsePath(options.path, meta));
  if (!path.in_sheaf && (options.meta.empty() || !options.path.starts_with("/"))) {
    return {Code::kUsage, "path " + options.path +
                              ": not in a Sheaf mount; write sheaf:/PATH, a path in a mount, or "
                              "/PATH with --meta"};
  }
  ClientOptions client_options;
  client_options.meta_address = meta;
  ASSIGN_OR_RETURN(auto client, Client::Connect(client_options));
  if (!write) RETURN_IF_ERROR(Fill(*client, path.path, options.size).With(options.path));
  const auto opened = client->OpenPath(path.path, write ? O_RDWR | O_CREAT : O_RDONLY, 0644);
  if (!opened.ok()) return opened.status().With("open " + options.path);
  File& file = **opened;
  const Outcome outcome = Workload(file, {.write = write,
                                           .random = options.random,
                                           .size = options.size,
                                           .block = options.block,
                                           .depth = options.depth})
                              .Run();
  const Status closed = file.Close();
  Print(options, outcome);
  if (!outcome.first_error.ok()) return outcome.first_error;
  return closed;
}

void AddOptions(CLI::App* command, Options* options) {
  command->add_option("PATH", options->path, "sheaf:/PATH, a path in a mount, or /PATH with --meta")
      ->required();
  command->add_option("--meta", options->meta,
                      "HOST:PORT of the metadata service (default: the mount, SHEAF_META, else "
                      "~/.sheaf's)");
  command->add_option("--size", options->size_text, "Bytes to move, with K, M, G or T")
      ->capture_default_str();
  command->add_option("--block", options->block_text, "Bytes a call, 512 to 64M")
      ->capture_default_str();
  command->add_option("--depth", options->depth, "Calls under way at once")
      ->check(CLI::Range(1u, kMaxDepth))
      ->capture_default_str();
  command->add_flag("--random", options->random, "Blocks in random order instead of in sequence");
  command->add_flag("--json", options->json, "One JSON object");
}

}  // namespace

Verb AddBench(CLI::App& app) {
  CLI::App* bench = app.add_subcommand("bench", "Measure reading or writing a file.");
  bench->require_subcommand(1);
  auto options = std::make_shared<Options>();
  CLI::App* read = bench->add_subcommand(
      "read", "Read a file; it is written first, untimed, if missing or shorter than --size.");
  CLI::App* write = bench->add_subcommand(
      "write", "Write a file and sync it. What is in it is overwritten.");
  AddOptions(read, options.get());
  AddOptions(write, options.get());
  return {bench, [options, write] { return Bench(*options, write->parsed()); }};
}

}  // namespace sheaf::cli
