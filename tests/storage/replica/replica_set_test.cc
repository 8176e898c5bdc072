#include "storage/replica/replica_set.h"

#include <gtest/gtest.h>

#include "tests/support/fake_clock.h"
#include "tests/support/fake_engine.h"

namespace sheaf::storage {
namespace {

using std::chrono::seconds;

class ReplicaSetTest : public ::testing::Test {
 protected:
  proto::ClusterMap MapOf(uint64_t version, uint32_t chain_version) {
    proto::ClusterMap map;
    map.set_version(version);
    proto::Target* target = map.add_targets();
    target->set_id(1);
    target->set_node_id(1);
    target->set_uuid("a");
    proto::Chain* chain = map.add_chains();
    chain->set_id(7);
    chain->set_version(chain_version);
    proto::ChainMember* member = chain->add_members();
    member->set_target_id(1);
    member->set_state(proto::SERVING);
    return map;
  }
  AdmissionRequest Asking(uint32_t chain_version) {
    return {ChainId(7), ChainVersion(chain_version), Incarnation(1), Access::kRead};
  }

  FakeClock clock_;
  testing::FakeEngine engine_;
  ReplicaSet replicas_{{{"a", &engine_}}, clock_};
};

TEST_F(ReplicaSetTest, ServesOnceItHasMapAndLease) {
  EXPECT_EQ(replicas_.Serving().code(), Code::kNotServing);
  replicas_.ApplyMap(MapOf(1, 3));
  EXPECT_EQ(replicas_.Find(Asking(3)).status().code(), Code::kNotServing);
  replicas_.ExtendLease(clock_.Now() + seconds(2));
  EXPECT_TRUE(replicas_.Find(Asking(3)).ok());
  clock_.Advance(seconds(2));
  EXPECT_EQ(replicas_.Find(Asking(3)).status().code(), Code::kNotServing);
  replicas_.ExtendLease(clock_.Now() + seconds(2));
  EXPECT_TRUE(replicas_.Find(Asking(3)).ok());
}

TEST_F(ReplicaSetTest, ALeaseNeverGetsShorter) {
  replicas_.ApplyMap(MapOf(1, 3));
  replicas_.ExtendLease(clock_.Now() + seconds(5));
  replicas_.ExtendLease(clock_.Now() + seconds(1));
  clock_.Advance(seconds(3));
  EXPECT_TRUE(replicas_.Serving().ok());
  replicas_.DropLease();
  EXPECT_FALSE(replicas_.Serving().ok());
}

TEST_F(ReplicaSetTest, AnOlderMapChangesNothing) {
  replicas_.ExtendLease(clock_.Now() + seconds(5));
  replicas_.ApplyMap(MapOf(5, 4));
  replicas_.ApplyMap(MapOf(4, 3));
  EXPECT_EQ(replicas_.map_version(), MapVersion(5));
  EXPECT_TRUE(replicas_.Find(Asking(4)).ok());
}

TEST_F(ReplicaSetTest, TheReplicaStaysAcrossChainVersions) {
  replicas_.ExtendLease(clock_.Now() + seconds(5));
  replicas_.ApplyMap(MapOf(1, 3));
  auto before = replicas_.Find(Asking(3));
  replicas_.ApplyMap(MapOf(2, 4));
  auto after = replicas_.Find(Asking(4));
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_EQ(*before, *after);
  EXPECT_EQ(replicas_.StillAdmits(Asking(3)).code(), Code::kWrongChain);
}

TEST_F(ReplicaSetTest, AReplicaOfAChainThatTheNodeIsNoLongerInStops) {
  replicas_.ExtendLease(clock_.Now() + seconds(5));
  replicas_.ApplyMap(MapOf(1, 3));
  const auto before = replicas_.Find(Asking(3));
  ASSERT_TRUE(before.ok());
  proto::ClusterMap without = MapOf(2, 4);
  without.mutable_chains(0)->mutable_members(0)->set_target_id(2);
  replicas_.ApplyMap(without);
  EXPECT_EQ(replicas_.Find(Asking(4)).status().code(), Code::kWrongChain);
  EXPECT_EQ(replicas_.FindForPeer(ChainId(7)).status().code(), Code::kWrongChain);
  EXPECT_TRUE((*before)->stopped());
  replicas_.ApplyMap(MapOf(3, 5));
  const auto again = replicas_.Find(Asking(5));
  ASSERT_TRUE(again.ok());
  EXPECT_NE(*again, *before);
  EXPECT_FALSE((*again)->stopped());
}

TEST_F(ReplicaSetTest, NamesItsTargetsOnceTheMapDoes) {
  EXPECT_EQ(replicas_.TargetIdOf(0), TargetId(0));
  replicas_.ApplyMap(MapOf(1, 3));
  EXPECT_EQ(replicas_.TargetIdOf(0), TargetId(1));
}

}  // namespace
}  // namespace sheaf::storage
