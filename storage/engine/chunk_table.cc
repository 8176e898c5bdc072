#include "storage/engine/chunk_table.h"

#include <algorithm>

namespace sheaf::storage {

std::vector<OpRef> ChunkSlot::TakeRunnable() {
  std::vector<OpRef> runnable;
  if (!loaded) return runnable;
  for (size_t i = 0; i < std::min(queue.size(), kWindow); ++i) {
    ChunkOp& op = *queue[i];
    bool blocked = false;
    for (size_t before = 0; before < i && !blocked; ++before) {
      blocked = queue[before]->ConflictsWith(op);
    }
    if (blocked && op.kind != ChunkOp::Kind::kWrite) break;  // it blocks all that follow
    if (blocked || op.running) continue;
    op.running = true;
    op.base = staged;
    runnable.push_back(queue[i]);
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

SlotRef ChunkTable::LookUp(const Engine::ChunkKey& key) {
  SlotRef slot = FindOrAdd(key);
  ++(slot->loaded ? hits_ : misses_);
  return slot;
}

void ChunkTable::Settle(ChunkSlot& slot) {
  bytes_ -= slot.charge;
  slot.charge = sizeof(ChunkSlot) + 128;  // with its map and list nodes
  if (slot.committed != nullptr) slot.charge += slot.committed->Footprint();
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
