#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/ids.h"
#include "common/status.h"
#include "storage/engine/engine.h"

namespace sheaf::storage {

// Reads and verifies every committed chunk of one target, again and again, so that rot is found
// while another copy is good. It reads as any reader does (Engine::Read): what it passes, a client
// can read.
//
// Rules:
//  1. One read of at most kPiece bytes is under way at a time: that is all the memory it takes.
//  2. It reads no faster than the set rate, and after each read rests at least as long as the read
//     took; so when others load the disk and reads become slow, it slows down with them. When
//     buffers are short it waits.
//  3. A pass goes through the chunks in key order. Where it is is kept in a file, so that a restart
//     goes on there: a pass over a large target takes days, and servers restart more often than
//     that. The file is not synced: losing it repeats a pass, no more.
//  4. What was bad and is repaired, is read well later (written anew) or is gone is forgotten.
//
// Thread safety: all calls, from any thread. One thread of its own.
class Scrubber {
 public:
  static constexpr uint32_t kPiece = 256 << 10;
  static constexpr uint32_t kPage = 256;   // chunks listed at a time
  static constexpr size_t kMaxBad = 1000;  // kept with their errors; beyond, counted

  struct BadChunk {
    Engine::ChunkKey key;
    Status status;  // kCorrupt, or kIo from the device
    int64_t found_ns = 0;
  };

  struct Options {
    std::string target;               // for the log
    std::string position_file;        // empty: every start begins at the first chunk
    uint64_t bytes_per_s = 32 << 20;  // 0: off
    std::chrono::seconds rest_between_passes{3600};
    // A bad chunk was found, or is still bad in this pass: repair hooks in here. On the scrubber's
    // thread; may be empty.
    std::function<void(const BadChunk&)> on_bad;
  };

  struct Progress {
    bool running = false;
    uint64_t passes = 0;
    uint64_t chunks = 0;  // of the pass
    uint64_t bytes = 0;
    uint64_t total_bytes = 0;  // since the start
    int64_t began_ns = 0;
    int64_t ended_ns = 0;
    uint64_t bad_count = 0;
    uint64_t repaired = 0;  // since the start
    std::vector<BadChunk> bad;
  };

  // `engine`, `io` and `clock` outlive it; `io` runs until it is gone.
  Scrubber(Engine& engine, IoContext& io, const Clock& clock, Options options);
  ~Scrubber();

  // Begins a pass at the first chunk. False: scrubbing is off.
  bool Start();
  // The chunk was repaired, whoever came upon its damage: it is counted, and bad no more.
  void Repaired(const Engine::ChunkKey& key);
  // `with_bad`: copies the list of bad chunks too.
  Progress GetProgress(bool with_bad) const;

 private:
  enum class Outcome { kGoOn, kStop };

  void Loop();
  void LoadPosition();
  void SavePosition();
  Outcome Pass();
  Outcome ScrubChunk(const Engine::ListedChunk& chunk);
  void FinishPass();
  void Note(const Engine::ChunkKey& key, const Status& status);
  // Waits for the answer; kCancelled when stopping.
  Result<std::vector<Engine::ListedChunk>> ListNext();
  Result<size_t> ReadPiece(const Engine::ChunkKey& key, uint32_t offset);
  // False: stopping, or a new pass was asked for.
  bool Rest(Clock::Instant duration);
  bool Interrupted() const;

  Engine& engine_;
  IoContext& io_;
  const Clock& clock_;
  const Options options_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  bool restart_ = false;
  Progress progress_;
  struct Bad {
    Status status;
    int64_t found_ns = 0;
    uint64_t pass = 0;  // in which it was bad last
  };
  std::map<Engine::ChunkKey, Bad> bad_;
  uint64_t bad_uncounted_ = 0;  // of this pass, beyond kMaxBad

  // The thread's own.
  std::optional<Engine::ChunkKey> after_;
  Clock::Instant saved_{};
  std::thread thread_;  // last: uses all of the above
};

}  // namespace sheaf::storage
