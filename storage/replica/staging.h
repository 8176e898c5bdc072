#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <tuple>

#include "common/clock.h"
#include "common/ids.h"
#include "common/status.h"
#include "storage/disk/io_context.h"

namespace sheaf::storage {

// A large payload goes down a chain while it is still being received, as a *stage*: part by part,
// ahead of its change, which then only names it. A stage is bytes and no more: it has no place in
// the chain's order, nobody waits for it, and whoever has no use or room for it drops it. The
// change then comes with its bytes.
//
// The rules of both ends, without I/O, threads or a clock. What goes on the wire is StageForward's.

inline constexpr uint32_t kStagePart = 512 << 10;  // all but the last part; whole pages

// Whose stage: what it is named by on one connection.
struct StageKey {
  ChainId chain;
  ChainVersion version;
  TargetId from;
  uint64_t number = 0;
  friend auto operator<=>(const StageKey&, const StageKey&) = default;
};

struct StagePart {
  StageKey key;
  uint32_t offset = 0;
  uint32_t length = 0;
  uint32_t total = 0;
};

// Cuts a payload that is being received into the parts that are passed on. Not thread-safe.
class StageCutter {
 public:
  explicit StageCutter(uint32_t total, uint32_t part = kStagePart) : total_(total), part_(part) {}

  struct Cut {
    uint32_t offset = 0;
    uint32_t length = 0;
  };
  // The next part, if its bytes are among the first `landed` of the payload.
  std::optional<Cut> Next(size_t landed);
  // How many bytes have to be there for it.
  uint32_t WantsAt() const;
  bool AllCut() const { return cut_ == total_; }

 private:
  const uint32_t total_;
  const uint32_t part_;
  uint32_t cut_ = 0;
};

// The stages that come by one connection from a neighbour, each in one buffer.
//
// Invariants:
// 1. What Take answers is every byte of the payload, sent under that key in parts without a gap. A
//    part that is not the next of its stage ends it.
// 2. No more stages and bytes than the limits; a stage ends at the latest `life` after its first
//    part.
// 3. A buffer is let go when its stage ends, or is with whoever took it.
//
// Not thread-safe.
class StageShelf {
 public:
  struct Limits {
    size_t stages = 32;
    uint64_t bytes = 64 << 20;
    uint32_t largest = 4 << 20;
    Clock::Instant life = std::chrono::seconds(5);
  };
  // Passes a stage on; let go, it is given up there, too.
  class Onward {
   public:
    virtual ~Onward() = default;
    // The first `bytes` of the payload are in the buffer.
    virtual void Landed(size_t bytes) = 0;
  };
  struct Room {
    BufferRef buffer;
    std::shared_ptr<Onward> onward;  // null: nobody is behind
  };
  // Room for the bytes of a new stage: at once, or not at all.
  using Open = std::function<Result<Room>(uint32_t total)>;
  struct Place {
    BufferRef buffer;
    std::span<uint8_t> into;
  };

  explicit StageShelf(const Limits& limits) : limits_(limits) {}

  // Where the bytes of a part are to be put; then Landed, before the next call for its stage.
  // kInvalid names the field that cannot be; kCancelled: there is no such stage (any more), or this
  // is not its next part; kBusy: over a limit.
  Result<Place> Expect(const StagePart& part, Clock::Instant now, const Open& open);
  // kCancelled: its stage has ended meanwhile.
  Status Landed(const StagePart& part);

  // Ends the stage; its bytes, if all `total` of them are there.
  std::optional<Room> Take(const StageKey& key, uint32_t total);
  void Drop(const StageKey& key) { End(stages_.find(key)); }
  // Ends all: somebody waits for a buffer.
  void Clear();
  void Expire(Clock::Instant now);

  size_t size() const { return stages_.size(); }
  uint64_t bytes() const { return bytes_; }

 private:
  struct Stage {
    Room room;
    uint32_t total = 0;
    uint32_t landed = 0;
    Clock::Instant ends{};
  };
  using Stages = std::map<StageKey, Stage>;

  Status Check(const StagePart& part) const;
  Status Begin(const StagePart& part, Clock::Instant now, const Open& open);
  void End(Stages::iterator stage);

  const Limits limits_;
  Stages stages_;
  uint64_t bytes_ = 0;
};

}  // namespace sheaf::storage
