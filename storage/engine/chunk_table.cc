#include "storage/engine/chunk_table.h"

#include <algorithm>

namespace sheaf::storage {

std::vector<OpRef> ChunkSlot::TakeRunnable() {
  std::vector<OpRef> runnable;
  if (!loaded) return runnable;
  size_t looked_at = 0;
  for (auto at = queue.begin(); at != queue.end() && looked_at < kWindow; ++at, ++looked_at) {
    ChunkOp& op = **at;
    const bool blocked = std::any_of(
        queue.begin(), at, [&](const OpRef& before) { return before->ConflictsWith(op); });
    if (blocked && op.kind != ChunkOp::Kind::kWrite) break;  // it blocks all that follow
    if (blocked || op.running) continue;
    op.running = true;
    op.base = staged;
    runnable.push_back(*at);
  }
  return runnable;
}

SlotRef ChunkTable::FindOrAdd(const Engine::ChunkKey& key) {
  SlotRef& slot = slots_[key];
  if (slot == nullptr) {
    slot = std::make_shared<ChunkSlot>(key);
    lru_.push_front(slot.get());
    slot->lru = lru_.begin();
  } else {
    lru_.splice(lru_.begin(), lru_, slot->lru);
  }
  return slot;
}

SlotRef ChunkTable::Find(const Engine::ChunkKey& key) const {
  const auto found = slots_.find(key);
  return found != slots_.end() ? found->second : nullptr;
}

SlotRef ChunkTable::LookUp(const Engine::ChunkKey& key) {
  SlotRef slot = FindOrAdd(key);
  ++(slot->loaded ? hits_ : misses_);
  return slot;
}

void ChunkTable::Settle(ChunkSlot& slot) {
  bytes_ -= slot.charge;
  slot.charge = sizeof(ChunkSlot) + 128 + slot.held.bytes();  // with its map and list nodes
  if (slot.indexed != nullptr) slot.charge += slot.indexed->Footprint();
  bytes_ += slot.charge;
  Evict();
}

void ChunkTable::Evict() {
  // Busy slots at the cold end are stepped over, a few at a time: they settle soon.
  int busy = 0;
  while (bytes_ > limit_bytes_ && !lru_.empty() && busy < 8) {
    ChunkSlot* cold = lru_.back();
    if (cold->IsBusy()) {
      lru_.splice(lru_.begin(), lru_, cold->lru);
      ++busy;
      continue;
    }
    bytes_ -= cold->charge;
    lru_.pop_back();
    slots_.erase(Engine::ChunkKey(cold->key));
  }
}

}  // namespace sheaf::storage
