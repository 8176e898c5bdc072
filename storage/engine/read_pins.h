#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "storage/engine/chunk_record.h"

namespace sheaf::storage {

// Keeps blocks of replaced versions from being used again while a read may still be under way in
// them. Time is counted in epochs: a read pins the epoch it begins in; blocks retired in an epoch
// are released once every read of that epoch and of earlier ones is over. Reads last as long as
// one disk transfer, so what waits here is small.
//
// Invariant: Pin comes before the read looks at a record, Retire after the record without the
// blocks was published; so a read that can see a retired block holds its epoch or an earlier one.
//
// Thread-safe. `release` runs with no lock held, on the thread of the call that set it off.
class ReadPins {
 public:
  using Release = std::function<void(std::span<const BlockNumber>)>;
  explicit ReadPins(Release release) : release_(std::move(release)) {}

  // A move-only hold on an epoch.
  class Pin {
   public:
    Pin() = default;
    Pin(ReadPins* pins, uint64_t epoch) : pins_(pins), epoch_(epoch) {}
    Pin(Pin&& other) noexcept : pins_(std::exchange(other.pins_, nullptr)), epoch_(other.epoch_) {}
    Pin& operator=(Pin&& other) noexcept {
      if (this != &other) {
        Reset();
        pins_ = std::exchange(other.pins_, nullptr);
        epoch_ = other.epoch_;
      }
      return *this;
    }
    ~Pin() { Reset(); }
    void Reset() {
      if (pins_ != nullptr) std::exchange(pins_, nullptr)->Unpin(epoch_);
    }

   private:
    ReadPins* pins_ = nullptr;
    uint64_t epoch_ = 0;
  };

  Pin Hold();
  void Retire(std::vector<BlockNumber> blocks);

 private:
  struct Epoch {
    uint64_t holds = 0;
    std::vector<BlockNumber> blocks;  // retired in it; the last epoch is open and has none
  };

  void Unpin(uint64_t epoch);
  // Blocks of the oldest epochs that nobody holds.
  std::vector<BlockNumber> TakeReleased();

  const Release release_;
  std::mutex mutex_;
  uint64_t first_epoch_ = 0;
  std::deque<Epoch> epochs_{1};
};

}  // namespace sheaf::storage
