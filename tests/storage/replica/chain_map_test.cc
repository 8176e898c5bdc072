#include "storage/replica/chain_map.h"

#include <gtest/gtest.h>

namespace sheaf::storage {
namespace {

void AddTarget(proto::ClusterMap& map, uint32_t id, uint32_t node, const std::string& uuid) {
  proto::Target* target = map.add_targets();
  target->set_id(id);
  target->set_node_id(node);
  target->set_uuid(uuid);
}

void AddChain(proto::ClusterMap& map, uint32_t id, uint32_t version,
              const std::vector<uint32_t>& targets) {
  proto::Chain* chain = map.add_chains();
  chain->set_id(id);
  chain->set_version(version);
  for (uint32_t target : targets) {
    proto::ChainMember* member = chain->add_members();
    member->set_target_id(target);
    member->set_state(proto::SERVING);
  }
}

void AddFenced(proto::ClusterMap& map, uint64_t first, uint64_t last) {
  proto::IncarnationRange* range = map.add_fenced();
  range->set_first(first);
  range->set_last(last);
}

proto::ClusterMap TwoNodes() {
  proto::ClusterMap map;
  map.set_version(9);
  map.set_cluster_uuid("c");
  AddTarget(map, 1, 1, "a");
  AddTarget(map, 2, 1, "b");
  AddTarget(map, 3, 2, "other");
  AddChain(map, 10, 4, {1});
  AddChain(map, 11, 5, {3});
  AddChain(map, 12, 6, {3, 2});
  AddFenced(map, 5, 5);
  AddFenced(map, 77, 80);
  return map;
}

TEST(ChainMapTest, KeepsTheChainsThatHaveAMemberHere) {
  const ChainMap map = BuildChainMap(TwoNodes(), {"a", "b"});
  EXPECT_EQ(map.version, MapVersion(9));
  EXPECT_EQ(map.chains.size(), 2u);
  EXPECT_TRUE(map.chains.contains(ChainId(10)));
  EXPECT_FALSE(map.chains.contains(ChainId(11)));
}

TEST(ChainMapTest, IncarnationsAreFencedByRanges) {
  const ChainMap map = BuildChainMap(TwoNodes(), {"a", "b"});
  for (uint64_t fenced : {5, 77, 79, 80}) EXPECT_TRUE(map.IsFenced(Incarnation(fenced))) << fenced;
  for (uint64_t live : {1, 4, 6, 76, 81}) EXPECT_FALSE(map.IsFenced(Incarnation(live))) << live;
  EXPECT_FALSE(ChainMap().IsFenced(Incarnation(1)));
}

TEST(ChainMapTest, KnowsTheOtherMembersAndItsOwnPlaceAmongThem) {
  const ChainMap map = BuildChainMap(TwoNodes(), {"a", "b"});
  const ChainView& chain = map.chains.at(ChainId(12));
  ASSERT_EQ(chain.members.size(), 2u);
  EXPECT_EQ(chain.members[0].node, NodeId(2));
  EXPECT_EQ(chain.local_member, 1u);
  EXPECT_EQ(chain.local_target, 1u);
  EXPECT_EQ(chain.local().target, TargetId(2));
}

TEST(ChainMapTest, NamesItsTargetsInTheirOwnOrder) {
  const ChainMap map = BuildChainMap(TwoNodes(), {"b", "new", "a"});
  EXPECT_EQ(map.local_targets, (std::vector{TargetId(2), TargetId(0), TargetId(1)}));
}

TEST(ChainMapTest, AMemberThatNamesNoTargetIsLeftOut) {
  proto::ClusterMap map = TwoNodes();
  AddChain(map, 13, 1, {99, 1});
  EXPECT_EQ(BuildChainMap(map, {"a"}).chains.at(ChainId(13)).members.size(), 1u);
}

}  // namespace
}  // namespace sheaf::storage
