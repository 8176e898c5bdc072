#include "meta/schema/keys.h"

#include <gtest/gtest.h>

#include <string>

namespace sheaf::meta {
namespace {

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[static_cast<uint8_t>(c) >> 4];
    hex += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return hex;
}

// The stored format: a change here is a new format version.
TEST(KeysTest, GoldenKeys) {
  const InodeId inode(0x0102030405060708);
  EXPECT_EQ(Hex(AllocatorKey(Sequence::kInode)), "4101");
  EXPECT_EQ(Hex(AllocatorKey(Sequence::kDataId)), "4102");
  EXPECT_EQ(Hex(AllocatorKey(Sequence::kIncarnation)), "4103");
  EXPECT_EQ(Hex(AllocatorKey(Sequence::kRemovalEpoch)), "4104");
  EXPECT_EQ(Hex(AllocatorKey(Sequence::kNode)), "4105");
  EXPECT_EQ(Hex(AllocatorKey(Sequence::kTarget)), "4106");
  EXPECT_EQ(Hex(AllocatorKey(Sequence::kChain)), "4107");
  EXPECT_EQ(Hex(ClusterKey(ClusterRow::kIdentity)), "43010000000000000000");
  EXPECT_EQ(Hex(ClusterKey(ClusterRow::kNode, 5)), "43020000000000000005");
  EXPECT_EQ(Hex(ClusterKey(ClusterRow::kTarget, 5)), "43030000000000000005");
  EXPECT_EQ(Hex(ClusterKey(ClusterRow::kChain, 5)), "43040000000000000005");
  EXPECT_EQ(Hex(ClusterKey(ClusterRow::kTable, 1)), "43050000000000000001");
  EXPECT_EQ(Hex(ClusterKey(ClusterRow::kMapVersion)), "43060000000000000000");
  EXPECT_EQ(Hex(ClusterKey(ClusterRow::kCurrentTable)), "43070000000000000000");
  EXPECT_EQ(Hex(ClusterKey(ClusterRow::kFenced, 9)), "43080000000000000009");
  EXPECT_EQ(Hex(DentryKey(inode, "ab")), "4401020304050607086162");
  EXPECT_EQ(Hex(DirectoryKey(inode, 3)), "4501020304050607080000000000000003");
  EXPECT_EQ(Hex(InodeKey(inode)), "490102030405060708");
  EXPECT_EQ(Hex(RecordKey(DataId(7))), "4b0000000000000007");
  EXPECT_EQ(Hex(RecordLiveKey(DataId(7))), "4c0000000000000007");
  EXPECT_EQ(Hex(UsageKey()), "4e");
  EXPECT_EQ(Hex(ProjectUsageKey(0x01020304)), "5101020304");
  EXPECT_EQ(Hex(ResultKey(Incarnation(1), 2)), "5200000000000000010000000000000002");
  EXPECT_EQ(Hex(SessionKey(Incarnation(1))), "530000000000000001");
  EXPECT_EQ(Hex(TruncateIntentKey(inode)), "540102030405060708");
  EXPECT_EQ(Hex(RemovalKey(RemovalEpoch(6))), "550000000000000006");
  EXPECT_EQ(Hex(WriteOpenKey(Incarnation(1), inode)), "5700000000000000010102030405060708");
  EXPECT_EQ(Hex(XattrKey(inode, "user.a")), "580102030405060708757365722e61");
  EXPECT_EQ(Hex(FormatVersionKey()), "5a00");
  EXPECT_EQ(Hex(ExecutorStateKey()), "5a01");
}

TEST(KeysTest, RangesHoldExactlyTheirRows) {
  const auto holds = [](const KeyRange& range, const std::string& key) {
    return range.begin <= key && key < range.end;
  };
  for (const uint64_t id : {uint64_t{1}, uint64_t{255}, UINT64_MAX}) {
    const KeyRange range = IdRange(Table::kDentry, id);
    EXPECT_TRUE(holds(range, DentryKey(InodeId(id), "a"))) << id;
    EXPECT_TRUE(holds(range, DentryKey(InodeId(id), "\xff\xff"))) << id;
    EXPECT_FALSE(holds(range, DentryKey(InodeId(id - 1), "\xff"))) << id;
    EXPECT_FALSE(holds(range, DirectoryKey(InodeId(id), 3))) << id;
  }
  EXPECT_TRUE(holds(TableRange(Table::kRemoval), RemovalKey(RemovalEpoch(UINT64_MAX))));
  EXPECT_FALSE(holds(TableRange(Table::kRemoval), WriteOpenKey(Incarnation(0), InodeId(0))));
  EXPECT_TRUE(holds(ClusterRange(ClusterRow::kNode), ClusterKey(ClusterRow::kNode, UINT64_MAX)));
  EXPECT_FALSE(holds(ClusterRange(ClusterRow::kNode), ClusterKey(ClusterRow::kTarget, 0)));
}

TEST(KeysTest, FieldsAreReadBack) {
  EXPECT_EQ(*KeyField(ResultKey(Incarnation(3), 9), 0), 3u);
  EXPECT_EQ(*KeyField(ResultKey(Incarnation(3), 9), 1), 9u);
  EXPECT_EQ(*ClusterIdOf(ClusterKey(ClusterRow::kChain, 12)), 12u);
  EXPECT_EQ(*KeyName(DentryKey(InodeId(1), "name")), "name");
  EXPECT_EQ(KeyField("short", 0).status().code(), Code::kCorrupt);
  EXPECT_EQ(KeyField(InodeKey(InodeId(1)), 1).status().code(), Code::kCorrupt);
  EXPECT_EQ(KeyName(InodeKey(InodeId(1))).status().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace sheaf::meta
