#include "storage/engine/read_pins.h"

#include "common/status.h"

namespace sheaf::storage {

ReadPins::Pin ReadPins::Hold() {
  std::lock_guard lock(mutex_);
  ++epochs_.back().holds;
  return Pin(this, first_epoch_ + epochs_.size() - 1);
}

void ReadPins::Retire(std::vector<BlockNumber> blocks) {
  if (blocks.empty()) return;
  std::vector<BlockNumber> released;
  {
    std::lock_guard lock(mutex_);
    epochs_.back().blocks = std::move(blocks);
    epochs_.emplace_back();
    released = TakeReleased();
  }
  if (!released.empty()) release_(released);
}

void ReadPins::Unpin(uint64_t epoch) {
  std::vector<BlockNumber> released;
  {
    std::lock_guard lock(mutex_);
    CHECK(epoch >= first_epoch_ && epochs_[epoch - first_epoch_].holds > 0, "unpinned twice");
    --epochs_[epoch - first_epoch_].holds;
    released = TakeReleased();
  }
  if (!released.empty()) release_(released);
}

std::vector<BlockNumber> ReadPins::TakeReleased() {
  std::vector<BlockNumber> released;
  while (epochs_.size() > 1 && epochs_.front().holds == 0) {
    const auto& blocks = epochs_.front().blocks;
    released.insert(released.end(), blocks.begin(), blocks.end());
    epochs_.pop_front();
    ++first_epoch_;
  }
  return released;
}

}  // namespace sheaf::storage
