#include "tests/bench/storage/engine_side.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "common/crc32c.h"
#include "storage/disk/slab_file_set.h"

namespace sheaf::bench {
namespace {

using storage::DiskContext;
using storage::Engine;

constexpr size_t kPayloads = 16;

void Must(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "engine_bench: error: %s\n", status.ToString().c_str());
  std::exit(1);
}

template <typename T>
T Must(Result<T> result) {
  Must(result.status());
  return std::move(*result);
}

// Since the counts were copied.
struct SyncMark {
  explicit SyncMark(const SyncCount& of)
      : syncs(of), count(of.count), nanoseconds(of.nanoseconds) {}
  uint64_t Count() const { return syncs.count - count; }
  double MeanMs() const {
    const double total = static_cast<double>(syncs.nanoseconds - nanoseconds) * 1e-6;
    return Count() > 0 ? total / static_cast<double>(Count()) : 0;
  }

  const SyncCount& syncs;
  const uint64_t count;
  const uint64_t nanoseconds;
};

}  // namespace

EngineSide::EngineSide(const std::string& directory, uint64_t mib)
    : ios_(mib),
      file_system_(std::make_shared<CountingFileSystem>(rocksdb::FileSystem::Default())) {
  auto table = std::make_shared<storage::FileTable>();
  slabs_ = std::make_shared<CountingSlabs>(
      Must(storage::SlabFileSet::Open(directory + "/slabs", table)));
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
  MakePayloads();
}

void EngineSide::MakePayloads() {
  std::mt19937_64 random(1);
  for (size_t i = 0; i < kPayloads; ++i) {
    auto buffer = context_->Allocate(kIoBytes);
    for (size_t at = 0; at < kIoBytes; at += sizeof(uint64_t)) {
      const uint64_t word = random();
      std::memcpy(buffer->span().data() + at, &word, sizeof word);
    }
    crcs_.push_back(Crc32c(buffer->span().first(kIoBytes)));
    payloads_.push_back(std::move(buffer));
  }
}

Figure EngineSide::Drive(uint64_t count, uint64_t depth,
                         const std::function<void(uint64_t, const Done&)>& start) {
  uint64_t started = 0;
  uint64_t ended = 0;
  const Done done = [&ended](const Status& status) {
    Must(status);
    ++ended;
  };
  const SyncMark slabs(slabs_->syncs());
  const SyncMark index(file_system_->syncs());
  const double cpu = CpuSeconds(RUSAGE_SELF);
  const double begin = NowSeconds();
  while (ended < count) {
    while (started < count && started - ended < depth) start(started++, done);
    context_->RunOnce(std::chrono::milliseconds(100));
  }
  Figure figure;
  figure.seconds = NowSeconds() - begin;
  figure.per_second = static_cast<double>(count) / figure.seconds;
  figure.cpu_s = CpuSeconds(RUSAGE_SELF) - cpu;
  figure.syncs = slabs.Count() + index.Count();
  figure.slab_syncs = slabs.Count();
  figure.slab_sync_ms = slabs.MeanMs();
  figure.index_sync_ms = index.MeanMs();
  return figure;
}

Figure EngineSide::Write() {
  return Drive(ios_, 16, [this](uint64_t i, const Done& done) {
    Engine::WriteArgs args;
    args.key = KeyOf(i / kIosPerChunk);
    args.offset = static_cast<uint32_t>(i % kIosPerChunk) * kIoBytes;
    args.chunk_size = kChunkBytes;
    args.crc32c = crcs_[i % kPayloads];
    args.buffer = payloads_[i % kPayloads];
    args.bytes = payloads_[i % kPayloads]->span().first(kIoBytes);
    engine_->Write(*context_, std::move(args),
                   [&done](const Result<Engine::ChunkState>& state) { done(state.status()); });
  });
}

Figure EngineSide::Read() {
  return Drive(ios_, 16, [this](uint64_t i, const Done& done) {
    engine_->Read(*context_, KeyOf(i / kIosPerChunk),
                  static_cast<uint32_t>(i % kIosPerChunk) * kIoBytes, kIoBytes,
                  [&done](const Result<Engine::ReadAnswer>& answer) { done(answer.status()); });
  });
}

Figure EngineSide::RandomRead(uint64_t count) {
  std::mt19937_64 random(7);
  return Drive(count, 32, [this, &random](uint64_t, const Done& done) {
    engine_->Read(*context_, KeyOf(random() % (ios_ / kIosPerChunk)),
                  static_cast<uint32_t>(random() % (kChunkBytes / 4096)) * 4096, 4096,
                  [&done](const Result<Engine::ReadAnswer>& answer) { done(answer.status()); });
  });
}

}  // namespace sheaf::bench
