#include "storage/engine/chunk_table.h"

#include <gtest/gtest.h>
#include <malloc.h>

namespace sheaf::storage {
namespace {

class ChunkTableTest : public ::testing::Test {
 protected:
  // A chunk that had a change, which is over, and is not there: as after its removal.
  static void AddAbsent(ChunkTable& table, uint64_t id) {
    const SlotRef slot = table.LookUp({.chain = ChainId(1), .chunk = {DataId(id), 0}});
    slot->queue.push_back(nullptr);
    slot->queue.pop_front();
    slot->loaded = true;
    table.Settle(*slot);
  }
  // Of the allocator, which a sanitizer replaces: zero there.
  static size_t BytesInUse() { return mallinfo2().uordblks; }
};

TEST_F(ChunkTableTest, MemoryIsWhatItSaysItIs) {
  constexpr size_t kLimit = 8 << 20;
  const size_t before = BytesInUse();
  ChunkTable table(kLimit);
  for (uint64_t id = 1; id <= 10'000; ++id) AddAbsent(table, id);
  EXPECT_EQ(table.size(), 10'000u);
  EXPECT_LE(BytesInUse() - before, table.bytes() * 5 / 4);
}

TEST_F(ChunkTableTest, ColdSlotsGoAtTheLimit) {
  constexpr size_t kLimit = 1 << 20;
  ChunkTable table(kLimit);
  for (uint64_t id = 1; id <= 20'000; ++id) AddAbsent(table, id);
  EXPECT_LE(table.bytes(), kLimit);
  EXPECT_LT(table.size(), 20'000u);
  const uint64_t misses = table.misses();
  AddAbsent(table, 20'000);
  EXPECT_EQ(table.misses(), misses) << "the newest is still there";
  AddAbsent(table, 1);
  EXPECT_EQ(table.misses(), misses + 1) << "the oldest is not";
}

}  // namespace
}  // namespace sheaf::storage
