#include "client/file/inode_table.h"

#include <gtest/gtest.h>

namespace sheaf::client {
namespace {

proto::Attr AttrOf(uint64_t inode) {
  proto::Attr attr;
  attr.set_inode(inode);
  attr.mutable_layout()->set_chunk_size_log2(22);
  attr.mutable_layout()->set_table_version(1);
  return attr;
}

TEST(InodeTableTest, HandlesOfOneInodeShareItsState) {
  InodeTable table;
  const auto first = table.Acquire(AttrOf(5));
  const auto second = table.Acquire(AttrOf(5));
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(*first, *second);
  EXPECT_FALSE(table.Release(InodeId(5)));
  EXPECT_TRUE(table.IsOpen(InodeId(5)));
  EXPECT_TRUE(table.Release(InodeId(5)));
  EXPECT_FALSE(table.IsOpen(InodeId(5)));
}

TEST(InodeTableTest, TellsWhichBytesAHandleReads) {
  InodeTable table;
  proto::Attr attr = AttrOf(5);
  attr.set_data_id(50);
  attr.set_version(1);
  const auto open = table.Acquire(attr);
  ASSERT_TRUE(open.ok());
  EXPECT_TRUE(table.UsesData(InodeId(5), DataId(50)));
  EXPECT_FALSE(table.UsesData(InodeId(6), DataId(50)));
  attr.set_data_id(51);
  attr.set_size_epoch(1);
  attr.set_version(2);
  ASSERT_TRUE((*open)->Adopt(attr).ok());
  EXPECT_FALSE(table.UsesData(InodeId(5), DataId(50)));
}

TEST(InodeTableTest, OpensSettleInTheOrderTheyBegan) {
  InodeTable table;
  auto early = std::make_unique<InodeTable::Opening>(table);
  const uint64_t mark = table.OpenMark();
  const InodeTable::Opening late(table);
  EXPECT_FALSE(table.OpensSettled(mark));
  early.reset();
  EXPECT_TRUE(table.OpensSettled(mark));
}

}  // namespace
}  // namespace sheaf::client
