#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "storage/disk/disk_context.h"
#include "storage/engine/engine.h"
#include "tests/bench/storage/counting_files.h"
#include "tests/bench/storage/figure.h"

namespace sheaf::bench {

// A chunk engine on real files with chunks of 4 MiB, and the loads on it. Used from one thread,
// which drives the engine's only I/O context. Ends the program when a call fails.
class EngineSide {
 public:
  static constexpr uint32_t kChunkBytes = 4 << 20;
  static constexpr uint32_t kIoBytes = 1 << 20;
  static constexpr uint32_t kIosPerChunk = kChunkBytes / kIoBytes;

  // `mib` of chunks, in new files in `directory`.
  EngineSide(const std::string& directory, uint64_t mib);

  Figure Write();                     // all of it, 1 MiB at depth 16; an answer means durable
  Figure Read();                      // the same, verified
  Figure RandomRead(uint64_t count);  // 4 KiB at depth 32, verified

 private:
  using Done = std::function<void(const Status&)>;

  static storage::Engine::ChunkKey KeyOf(uint64_t chunk) {
    return {ChainId(1), {DataId(1), static_cast<uint32_t>(chunk)}};
  }
  void MakePayloads();
  // Keeps `depth` calls of `start` under way until `count` are answered.
  Figure Drive(uint64_t count, uint64_t depth,
               const std::function<void(uint64_t, const Done&)>& start);

  const uint64_t ios_;
  std::shared_ptr<CountingFileSystem> file_system_;
  std::unique_ptr<rocksdb::Env> env_;
  std::shared_ptr<CountingSlabs> slabs_;
  std::unique_ptr<storage::DiskContext> context_;
  std::vector<storage::BufferRef> payloads_;
  std::vector<uint32_t> crcs_;
  std::unique_ptr<storage::Engine> engine_;  // first to go: its calls end on the context
};

}  // namespace sheaf::bench
