#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/ids.h"
#include "common/status.h"
#include "storage/engine/engine.h"
#include "storage/replica/pacer.h"
#include "storage/replica/peers.h"

namespace sheaf::storage {

// Puts right what is damaged in the chunks of this node, one after the other on a thread of its
// own, at a set rate: reads a chunk page by page here, and what cannot be read from other serving
// replicas of its chain. A page that none of them can read as a whole is put together from all.
//
// Rules:
//  1. The chunk stays what it is (Engine::Rewrite): bytes are put in only where they have the
//     checksums of the chunk's own record. So it does not matter whom they come from, nor what
//     becomes of the chunk and of the chain meanwhile.
//  2. What may work later (a replica cannot be reached, the chunk is another there by now) is tried
//     again after a pause, a few times; then it is given up, and the next who meets the damage
//     begins anew, after a short rest. What will not work (every replica is damaged there) is given
//     up at once, and rests longer: replicas that are all damaged in one place read it from one
//     another, which would go on for ever.
//
// Thread-safe.
class Repairer {
 public:
  static constexpr size_t kMaxQueued = 1024;  // chunks; beyond, not taken: they will be met again

  struct Options {
    uint64_t bytes_per_s = 256 << 20;  // read here or there; 0: no limit
    std::chrono::milliseconds call_timeout{5000};
    std::chrono::milliseconds pause{200};
    int tries = 25;
    std::chrono::milliseconds short_rest{5'000};
    std::chrono::milliseconds rest{60'000};
    // A chunk of `engine` was damaged and can be read again. On the repairer's thread.
    std::function<void(const Engine& engine, const Engine::ChunkKey&)> on_repaired;
  };
  // The others that serve the chain now.
  struct Sources {
    ChainVersion version;
    std::vector<TargetId> targets;
  };
  // Where a chunk is; `sources` is asked when its bytes are wanted.
  struct Place {
    Engine* engine = nullptr;
    IoContext* io = nullptr;
    Engine::ChunkKey key;
    std::function<Sources()> sources;
  };

  // `peers` outlives it.
  Repairer(Peers& peers, Options options);
  // As Stop.
  ~Repairer();
  // What is queued is forgotten, and nothing is taken any more. REQUIRES: calls to peers end.
  void Stop();

  // Takes the chunk, unless it is queued already or rests. Whether it may still be repaired soon:
  // false once every replica was found damaged there.
  bool Add(Place place);

  struct Counts {
    uint64_t repaired = 0;  // chunks
    uint64_t failed = 0;    // given up
    uint64_t queued = 0;
  };
  Counts counts() const;

 private:
  struct Job {
    Place place;
    int tries = 0;
    Clock::Instant not_before{};
    // What was done so far.
    uint32_t pages = 0;
    TargetId from;
    Status damage;  // the first
  };
  struct GivenUp {
    Clock::Instant until{};
    bool for_good = false;
  };
  using Id = std::pair<const Engine*, Engine::ChunkKey>;

  void Main();
  bool Next(Job& job);
  void End(Job job, const Status& status);
  // A range of the chunk that is looked at.
  struct Range {
    Engine::ChunkState state;  // of the chunk, before
    uint32_t offset = 0;
    uint32_t length = 0;
  };
  struct Piece {
    BufferRef buffer;
    std::span<const uint8_t> bytes;
    ChunkVersion version;
  };
  Status Repair(Job& job);
  Status RepairPage(Job& job, const Range& page);
  Status TakeWhole(Job& job, const Range& page, const Sources& sources);
  Status PutTogether(Job& job, const Range& page, const Sources& sources);
  Status ReadBlock(Job& job, const Range& block, const Sources& sources,
                   const std::vector<uint32_t>& crcs, std::span<uint8_t> into);
  Status FetchUnit(Job& job, const Range& unit, const Sources& sources, uint32_t crc,
                   std::span<uint8_t> into);
  BufferRef Allocate(const Place& place, size_t bytes);
  Result<Engine::ReadAnswer> ReadHere(const Place& place, uint32_t offset, uint32_t length);
  Result<std::vector<uint32_t>> ListUnits(const Place& place);
  Result<Piece> ReadThere(const Place& place, ChainVersion version, TargetId from,
                          const Range& range);
  Status Rewrite(const Place& place, uint32_t offset, BufferRef buffer,
                 std::span<const uint8_t> bytes);

  Peers& peers_;
  const Options options_;
  Pacer pacer_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // All under mutex_.
  std::deque<Job> jobs_;
  std::set<Id> known_;               // queued or under way
  std::map<Id, GivenUp> given_up_;  // at most kMaxQueued
  Counts counts_;
  bool stopping_ = false;
  std::thread thread_;
};

// Whether a read that answers so has met damage that another replica can mend.
bool IsDamage(const Status& status);

}  // namespace sheaf::storage
