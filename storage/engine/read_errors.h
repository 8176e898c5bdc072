#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "common/status.h"
#include "storage/engine/slab_space.h"

namespace sheaf::storage {

// When reads that fail mean that the disk does.
//
// A read that the device refuses is tried once more: a passing fault of a cable or controller is
// none of a chunk's. Refused again it counts, and the read answers kIo. One place that cannot be
// read is what disks come to with age: the rest of the target is served, and scrub and replicas see
// to that chunk. Refusals in kMaxPlaces different places mean that the disk is going: the target
// leaves service. A checksum that does not match is not counted: the device answered, and the one
// block is what is wrong.
//
// Thread-safe.
class ReadErrors {
 public:
  static constexpr size_t kMaxPlaces = 4;

  // Told once, when there are too many.
  explicit ReadErrors(std::function<void(const Status&)> fail) : fail_(std::move(fail)) {}

  // A read at `place` was refused twice.
  void Note(const SlabSpace::Place& place, const Status& status) {
    ++count_;
    {
      std::lock_guard lock(mutex_);
      if (places_.size() == kMaxPlaces) return;
      places_.insert({place.slab, place.offset});
      if (places_.size() < kMaxPlaces) return;
    }
    fail_(status.With("reads were refused in " + std::to_string(kMaxPlaces) + " places"));
  }

  uint64_t count() const { return count_; }

 private:
  const std::function<void(const Status&)> fail_;
  std::atomic<uint64_t> count_{0};
  std::mutex mutex_;
  std::set<std::pair<uint32_t, uint64_t>> places_;  // slab and offset
};

}  // namespace sheaf::storage
