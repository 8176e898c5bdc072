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
