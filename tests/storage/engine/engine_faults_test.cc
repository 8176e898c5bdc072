#include <gmock/gmock.h>
#include <rocksdb/db.h>

#include "storage/engine/chunk_format.h"
#include "storage/engine/read_errors.h"
#include "tests/storage/engine/engine_rig.h"

namespace sheaf::storage {
namespace {

using ::testing::HasSubstr;

constexpr size_t kBytes = 600'000;  // three pages

// Disks that refuse reads, and index entries that are damaged.
class EngineFaultsTest : public ::testing::Test {
 protected:
  EngineFaultsTest() {
    EXPECT_TRUE(rig_.Open().ok());
    for (uint32_t index = 0; index < 6; ++index) {
      EXPECT_TRUE(rig_.Write(Key(1, 7, index), 0, RandomBytes(kBytes, index)).ok());
    }
  }
  bool Reads(uint32_t index) {
    const auto bytes = rig_.ReadAll(Key(1, 7, index));
    return bytes.ok() && *bytes == RandomBytes(kBytes, index);
  }
  Code ReadCode(uint32_t index) { return rig_.ReadAll(Key(1, 7, index)).status().code(); }

  // The index as another program would open it, while the engine does not run.
  void EditIndex(const std::function<void(rocksdb::DB&)>& edit) {
    rig_.Close();
    rocksdb::Options options;
    options.env = rig_.env().env();
    rocksdb::DB* db = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(options, "/index", &db).ok());
    const std::unique_ptr<rocksdb::DB> owned(db);
    edit(*db);
  }
  static void FlipByte(rocksdb::DB& db, const std::string& key, size_t at) {
    std::string value;
    ASSERT_TRUE(db.Get({}, key, &value).ok());
    value.at(at) ^= 0x40;
    ASSERT_TRUE(db.Put({}, key, value).ok());
  }
  void Reopen() {
    const Status status = rig_.Open();
    ASSERT_TRUE(status.ok()) << status.ToString();
    const Status checked = rig_.engine().Check();
    EXPECT_TRUE(checked.ok()) << checked.ToString();
  }

  EngineRig rig_{EngineRig::Options()};
};

TEST_F(EngineFaultsTest, APassingReadErrorIsTriedAgain) {
  rig_.disk().FailNextReads(1);
  EXPECT_TRUE(Reads(0));
  EXPECT_EQ(rig_.engine().GetFaults().read_errors, 0u);
}

TEST_F(EngineFaultsTest, OneUnreadablePlaceLeavesTheTargetInService) {
  rig_.disk().FailReadsAt(0, 8192);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(ReadCode(0), Code::kIo);
  EXPECT_THAT(rig_.Read(Key(1, 7, 0), 0, 4096 * 4).status().message(), HasSubstr("slab 0"));
  EXPECT_TRUE(Reads(1));
  EXPECT_TRUE(rig_.engine().Health().ok());
  EXPECT_EQ(rig_.engine().GetFaults().read_errors, 11u);
  EXPECT_TRUE(rig_.Write(Key(1, 8, 0), 0, RandomBytes(kBytes, 1)).ok());
}

TEST_F(EngineFaultsTest, ReadsRefusedInSeveralPlacesTakeTheTargetOutOfService) {
  rig_.disk().FailReads(true);
  static_assert(ReadErrors::kMaxPlaces == 4);
  for (uint32_t index = 0; index < 3; ++index) EXPECT_EQ(ReadCode(index), Code::kIo);
  EXPECT_TRUE(rig_.engine().Health().ok());
  EXPECT_EQ(ReadCode(3), Code::kIo);
  EXPECT_EQ(rig_.engine().Health().code(), Code::kIo);
  EXPECT_THAT(rig_.engine().Health().message(), HasSubstr("4 places"));
  // For good: the disk is not trusted again because it works for a while.
  rig_.disk().FailReads(false);
  EXPECT_EQ(rig_.Write(Key(1, 8, 0), 0, RandomBytes(4096, 1)).status().code(), Code::kIo);
}

TEST_F(EngineFaultsTest, RotDoesNotTakeTheTargetOutOfService) {
  for (uint64_t offset = 0; offset < (3u << 20); offset += 4096) rig_.disk().RotBits(0, offset);
  for (uint32_t index = 0; index < 6; ++index) (void)rig_.ReadAll(Key(1, 7, index));
  EXPECT_EQ(ReadCode(0), Code::kCorrupt);
  EXPECT_TRUE(rig_.engine().Health().ok());
}

TEST_F(EngineFaultsTest, AChunkWithADamagedHeadIsSetAside) {
  EditIndex([&](rocksdb::DB& db) { FlipByte(db, HeadKey(Key(1, 7, 2)), 5); });
  Reopen();
  EXPECT_EQ(rig_.engine().GetFaults().damaged_entries, 1u);
  EXPECT_EQ(ReadCode(2), Code::kCorrupt);
  EXPECT_EQ(rig_.Write(Key(1, 7, 2), 0, RandomBytes(4096, 1)).status().code(), Code::kCorrupt);
  for (uint32_t index : {0, 1, 3, 4, 5}) EXPECT_TRUE(Reads(index)) << index;
  // Named where one looks for damage, and in nobody's way elsewhere.
  EXPECT_EQ(rig_.List(1)->size(), 5u);
  const auto all = rig_.ListAll();
  ASSERT_EQ(all->size(), 6u);
  EXPECT_EQ((*all)[2].damage.code(), Code::kCorrupt);
  EXPECT_TRUE(rig_.Remove(1, 7).ok());
  EXPECT_TRUE(rig_.engine().Check().ok());
}

TEST_F(EngineFaultsTest, AChunkWithADamagedPageIsSetAside) {
  EditIndex([&](rocksdb::DB& db) { FlipByte(db, PageKey(Key(1, 7, 2), 1), 20); });
  Reopen();
  EXPECT_EQ(rig_.engine().GetFaults().damaged_entries, 1u);
  EXPECT_EQ(ReadCode(2), Code::kCorrupt);
  EXPECT_TRUE(Reads(3));
}

TEST_F(EngineFaultsTest, AChunkWithoutItsHeadIsSetAside) {
  EditIndex([&](rocksdb::DB& db) { ASSERT_TRUE(db.Delete({}, HeadKey(Key(1, 7, 2))).ok()); });
  Reopen();
  EXPECT_EQ(rig_.engine().GetFaults().damaged_entries, 1u);
  EXPECT_EQ(ReadCode(2), Code::kCorrupt);  // and not the zeros of a chunk that is not there
  EXPECT_TRUE(Reads(1));
  EXPECT_TRUE(Reads(3));
}

TEST_F(EngineFaultsTest, BlocksOfADamagedChunkAreNotUsedAgain) {
  const Engine::Space before = rig_.engine().GetSpace();
  EditIndex([&](rocksdb::DB& db) { FlipByte(db, HeadKey(Key(1, 7, 2)), 5); });
  Reopen();
  EXPECT_EQ(rig_.engine().GetSpace().used_bytes, before.used_bytes);
  // Fill the target: what the damaged chunk held is still what its pages say.
  for (uint64_t id = 100; rig_.Write(Key(1, id, 0), 0, RandomBytes(1 << 20, id)).ok(); ++id) {
  }
  EditIndex([&](rocksdb::DB& db) { FlipByte(db, HeadKey(Key(1, 7, 2)), 5); });  // sound again
  Reopen();
  EXPECT_EQ(rig_.engine().GetFaults().damaged_entries, 0u);
  EXPECT_TRUE(Reads(2));
}

}  // namespace
}  // namespace sheaf::storage
