// The chunk engine against fio on the same file system, in one run: medians of interleaved rounds.
//
//   write   1 MiB writes at depth 16, durable; fio gets the same number of syncs
//   read    1 MiB reads at depth 16, verified
//   random  4 KiB reads at depth 32, verified
//
//   engine_bench [--dir DIR] [--mib 2048] [--rounds 3]
//
// Both sides work on blocks that were written before: the engine's slabs are filled and overwritten
// first, fio's file is laid out. One context thread and the engine's own threads; fio has one job.

#include <fcntl.h>
#include <rocksdb/file_system.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "common/crc32c.h"
#include "storage/disk/disk_context.h"
#include "storage/disk/slab_file_set.h"
#include "storage/engine/engine.h"

namespace sheaf::storage {
namespace {

constexpr uint32_t kChunkBytes = 4 << 20;
constexpr uint32_t kIoBytes = 1 << 20;
constexpr uint32_t kIosPerChunk = kChunkBytes / kIoBytes;

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double CpuSeconds(int who) {
  rusage usage;
  ::getrusage(who, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

template <typename T>
T Must(Result<T> result) {
  if (result.ok()) return std::move(*result);
  std::fprintf(stderr, "engine_bench: error: %s\n", result.status().ToString().c_str());
  std::exit(1);
}

// Counts syncs of slabs.
class CountingSlabs : public SlabFiles {
 public:
  explicit CountingSlabs(std::shared_ptr<SlabFiles> files) : files_(std::move(files)) {}
  Result<FileSlot> Open(uint32_t number, uint64_t bytes, bool create) override {
    return files_->Open(number, bytes, create);
  }
  Status Sync(FileSlot file) override {
    ++syncs;
    return files_->Sync(file);
  }
  Result<uint64_t> FreeBytes() override { return files_->FreeBytes(); }
  Result<uint64_t> TotalBytes() override { return files_->TotalBytes(); }

  std::atomic<uint64_t> syncs{0};

 private:
  std::shared_ptr<SlabFiles> files_;
};

// Counts syncs of the index's files.
class CountingFileSystem : public rocksdb::FileSystemWrapper {
 public:
  using rocksdb::FileSystemWrapper::FileSystemWrapper;
  const char* Name() const override { return "CountingFileSystem"; }

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override {
    return Wrap(FileSystemWrapper::NewWritableFile(path, options, file, debug), file);
  }
  rocksdb::IOStatus ReuseWritableFile(const std::string& path, const std::string& old,
                                      const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* file,
                                      rocksdb::IODebugContext* debug) override {
    return Wrap(FileSystemWrapper::ReuseWritableFile(path, old, options, file, debug), file);
  }

  std::atomic<uint64_t> syncs{0};

 private:
  class File : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(std::unique_ptr<rocksdb::FSWritableFile> file, std::atomic<uint64_t>& syncs)
        : FSWritableFileOwnerWrapper(std::move(file)), syncs_(syncs) {}
    rocksdb::IOStatus Sync(const rocksdb::IOOptions& options,
                           rocksdb::IODebugContext* debug) override {
      ++syncs_;
      return FSWritableFileOwnerWrapper::Sync(options, debug);
    }
    rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options,
                            rocksdb::IODebugContext* debug) override {
      ++syncs_;
      return FSWritableFileOwnerWrapper::Fsync(options, debug);
    }

   private:
    std::atomic<uint64_t>& syncs_;
  };
  rocksdb::IOStatus Wrap(rocksdb::IOStatus status, std::unique_ptr<rocksdb::FSWritableFile>* file) {
    if (status.ok()) *file = std::make_unique<File>(std::move(*file), syncs);
    return status;
  }
};

struct Figure {
  double seconds = 0;
  double per_second = 0;  // operations
  double cpu = 0;         // CPU seconds
  uint64_t syncs = 0;
};

class EngineSide {
 public:
  EngineSide(const std::string& directory, uint64_t mib)
      : ios_(mib), file_system_(std::make_shared<CountingFileSystem>(rocksdb::FileSystem::Default())) {
    auto table = std::make_shared<FileTable>();
    slabs_ = std::make_shared<CountingSlabs>(Must(SlabFileSet::Open(directory + "/slabs", table)));
    DiskContext::Options context;
    context.files = table;
    context_ = Must(DiskContext::Create(context));
    env_ = rocksdb::NewCompositeEnv(file_system_);
    Engine::Options options;
    options.index_path = directory + "/index";
    options.slabs = slabs_;
    options.slab_bytes = 256 << 20;
    options.capacity_bytes = (mib << 20) + (uint64_t{512} << 20);
    options.env = env_.get();
    engine_ = Must(Engine::Open(options));
    std::mt19937_64 random(1);
    for (int i = 0; i < 16; ++i) {
      auto buffer = context_->Allocate(kIoBytes);
      for (size_t at = 0; at < kIoBytes; at += 8) {
        const uint64_t word = random();
        std::memcpy(buffer->span().data() + at, &word, 8);
      }
      crcs_.push_back(Crc32c(buffer->span().first(kIoBytes)));
      payloads_.push_back(std::move(buffer));
    }
  }

  // Keeps `depth` calls of `start(i, done)` under way until `count` are answered.
  template <typename StartCall>
  Figure Drive(uint64_t count, uint64_t depth, const StartCall& start) {
    uint64_t started = 0;
    uint64_t ended = 0;
    const uint64_t syncs = slabs_->syncs + file_system_->syncs;
    const double cpu = CpuSeconds(RUSAGE_SELF);
    const double begin = Now();
    while (ended < count) {
      while (started < count && started - ended < depth) {
        start(started++, [&ended](const Status& status) {
          if (!status.ok()) {
            std::fprintf(stderr, "engine_bench: error: %s\n", status.ToString().c_str());
            std::exit(1);
          }
          ++ended;
        });
      }
      context_->RunOnce(std::chrono::milliseconds(100));
    }
    Figure figure;
    figure.seconds = Now() - begin;
    figure.per_second = static_cast<double>(count) / figure.seconds;
    figure.cpu = CpuSeconds(RUSAGE_SELF) - cpu;
    figure.syncs = slabs_->syncs + file_system_->syncs - syncs;
    return figure;
  }

  Figure Write() {
    return Drive(ios_, 16, [this](uint64_t i, auto done) {
      Engine::WriteArgs args;
      args.key = KeyOf(i / kIosPerChunk);
      args.offset = static_cast<uint32_t>(i % kIosPerChunk) * kIoBytes;
      args.chunk_size = kChunkBytes;
      args.crc32c = crcs_[i % 16];
      args.buffer = payloads_[i % 16];
      args.bytes = payloads_[i % 16]->span().first(kIoBytes);
      engine_->Write(*context_, std::move(args),
                     [done](Result<Engine::ChunkState> state) { done(state.status()); });
    });
  }
  Figure Read() {
    return Drive(ios_, 16, [this](uint64_t i, auto done) {
      engine_->Read(*context_, KeyOf(i / kIosPerChunk),
                    static_cast<uint32_t>(i % kIosPerChunk) * kIoBytes, kIoBytes,
                    [done](Result<Engine::ReadAnswer> answer) { done(answer.status()); });
    });
  }
  Figure RandomRead(uint64_t count) {
    std::mt19937_64 random(7);
    return Drive(count, 32, [this, &random](uint64_t, auto done) {
      engine_->Read(*context_, KeyOf(random() % (ios_ / kIosPerChunk)),
                    static_cast<uint32_t>(random() % (kChunkBytes / 4096)) * 4096, 4096,
                    [done](Result<Engine::ReadAnswer> answer) { done(answer.status()); });
    });
  }

 private:
  static Engine::ChunkKey KeyOf(uint64_t chunk) {
    return {ChainId(1), {DataId(1), static_cast<uint32_t>(chunk)}};
  }

  const uint64_t ios_;
  std::shared_ptr<CountingFileSystem> file_system_;
  std::unique_ptr<rocksdb::Env> env_;
  std::shared_ptr<CountingSlabs> slabs_;
  std::unique_ptr<DiskContext> context_;
  std::vector<BufferRef> payloads_;
  std::vector<uint32_t> crcs_;
  std::unique_ptr<Engine> engine_;
};

Figure Fio(const std::string& directory, uint64_t mib, const std::string& options) {
  const std::string output = directory + "/fio.json";
  const std::string command =
      "fio --name=bench --filename=" + directory + "/fio.dat --size=" + std::to_string(mib) +
      "M --ioengine=io_uring --direct=1 --overwrite=1 --randrepeat=0 --output-format=json"
      " --output=" + output + " " + options + " >/dev/null 2>&1";
  const double cpu = CpuSeconds(RUSAGE_CHILDREN);
  if (std::system(command.c_str()) != 0) {
    std::fprintf(stderr, "engine_bench: error: fio failed: %s; is it installed?\n",
                 command.c_str());
    std::exit(1);
  }
  std::ifstream file(output);
  const auto job = nlohmann::json::parse(file)["jobs"][0];
  const bool is_write = job["write"]["total_ios"].get<uint64_t>() > 0;
  const auto& side = is_write ? job["write"] : job["read"];
  Figure figure;
  figure.seconds = side["runtime"].get<double>() / 1000;
  figure.per_second = side["total_ios"].get<double>() / figure.seconds;
  figure.cpu = CpuSeconds(RUSAGE_CHILDREN) - cpu;
  if (is_write) figure.syncs = job["sync"]["lat_ns"].value("N", uint64_t{0});
  return figure;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Series {
  const char* name;
  const char* unit;
  double target;
  std::vector<double> engine;
  std::vector<double> fio;
  std::vector<double> ratio;

  void Add(const Figure& ours, const Figure& theirs) {
    engine.push_back(ours.per_second);
    fio.push_back(theirs.per_second);
    ratio.push_back(ours.per_second / theirs.per_second);
    std::printf("  %-7s engine %9.0f %s %5.2f cpu s %5llu syncs   fio %9.0f %s %5.2f cpu s %5llu "
                "syncs   ratio %.2f\n",
                name, ours.per_second, unit, ours.cpu,
                static_cast<unsigned long long>(ours.syncs), theirs.per_second, unit, theirs.cpu,
                static_cast<unsigned long long>(theirs.syncs), ratio.back());
    std::fflush(stdout);
  }
  void Print() const {
    std::printf("%-7s engine %9.0f %s   fio %9.0f %s   ratio %.2f (target %.2f)\n", name,
                Median(engine), unit, Median(fio), unit, Median(ratio), target);
  }
};

int Run(const std::string& base, uint64_t mib, int rounds) {
  std::string directory = base + "/engine-bench-XXXXXX";
  if (::mkdtemp(directory.data()) == nullptr) {
    std::fprintf(stderr, "engine_bench: error: cannot make a directory in %s: %s\n", base.c_str(),
                 std::strerror(errno));
    return 1;
  }
  Series write{"write", "MiB/s", 0.9, {}, {}, {}};
  Series read{"read", "MiB/s", 0.9, {}, {}, {}};
  Series random{"random", "1/s  ", 0.6, {}, {}, {}};
  {
    EngineSide engine(directory, mib);
    for (int i = 0; i < 2; ++i) engine.Write();  // every slab's blocks have been written
    Fio(directory, mib, "--rw=write --bs=1M --iodepth=16");
    for (int round = 0; round < rounds; ++round) {
      const Figure ours = engine.Write();
      const uint64_t every = std::max<uint64_t>(1, mib / std::max<uint64_t>(1, ours.syncs));
      write.Add(ours, Fio(directory, mib,
                          "--rw=write --bs=1M --iodepth=16 --fdatasync=" + std::to_string(every)));
      read.Add(engine.Read(), Fio(directory, mib, "--rw=read --bs=1M --iodepth=16"));
      random.Add(engine.RandomRead(100000),
                 Fio(directory, mib, "--rw=randread --bs=4k --iodepth=32 --number_ios=100000"));
    }
  }
  for (const Series* series : {&write, &read, &random}) series->Print();
  std::filesystem::remove_all(directory);
  return 0;
}

}  // namespace
}  // namespace sheaf::storage

int main(int argc, char** argv) {
  std::string directory = ".";
  uint64_t mib = 2048;
  int rounds = 3;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (i + 1 < argc && option == "--dir") {
      directory = argv[++i];
    } else if (i + 1 < argc && option == "--mib") {
      mib = std::max(64l, std::atol(argv[++i])) / 4 * 4;
    } else if (i + 1 < argc && option == "--rounds") {
      rounds = std::max(1, std::atoi(argv[++i]));
    } else {
      std::fprintf(stderr, "usage: engine_bench [--dir DIR] [--mib 2048] [--rounds 3]\n");
      return 2;
    }
  }
  return sheaf::storage::Run(directory, mib, rounds);
}
