#include "meta/cluster/placement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

namespace sheaf::meta {
namespace {

std::vector<PlacementTarget> Cluster(uint32_t nodes, uint32_t targets_per_node,
                                     uint32_t domains = 0) {
  std::vector<PlacementTarget> targets;
  for (uint32_t node = 1; node <= nodes; ++node) {
    for (uint32_t i = 0; i < targets_per_node; ++i) {
      const uint32_t id = (node - 1) * targets_per_node + i + 1;
      targets.push_back({TargetId(id), NodeId(node),
                         domains == 0 ? "" : "rack" + std::to_string(node % domains)});
    }
  }
  return targets;
}

std::map<TargetId, const PlacementTarget*> ById(const std::vector<PlacementTarget>& targets) {
  std::map<TargetId, const PlacementTarget*> by_id;
  for (const PlacementTarget& target : targets) by_id[target.target] = &target;
  return by_id;
}

TEST(PlacementTest, OneReplicaInterleavesTheTable) {
  auto chains = PlaceChains(Cluster(3, 2), 1, 8);
  ASSERT_TRUE(chains.ok());
  ASSERT_EQ(chains->size(), 48u);
  const auto by_id = ById(Cluster(3, 2));
  for (size_t i = 0; i < chains->size(); ++i) {
    EXPECT_EQ((*chains)[i], (*chains)[i % 6]) << "chain i is on target i mod T";
    if (i == 0) continue;
    const auto targets = Cluster(3, 2);
    EXPECT_NE(ById(targets).at((*chains)[i][0])->node, ById(targets).at((*chains)[i - 1][0])->node);
  }
}

TEST(PlacementTest, DoesNotDependOnTheOrderOfTargets) {
  std::vector<PlacementTarget> targets = Cluster(5, 3);
  auto chains = PlaceChains(targets, 3, 8);
  std::reverse(targets.begin(), targets.end());
  auto reversed = PlaceChains(targets, 3, 8);
  ASSERT_TRUE(chains.ok() && reversed.ok());
  EXPECT_EQ(*chains, *reversed);
}

TEST(PlacementTest, OneMoreMemberIsPutApartWhereLeastIsAndRoomIsFor) {
  const std::vector<PlacementTarget> targets = Cluster(5, 1, 3);  // racks 1, 2, 0, 1, 2
  std::vector<SpareTarget> spares;
  for (const PlacementTarget& target : targets) spares.push_back({target, 8, 1000});
  EXPECT_EQ(PlaceMember({targets[0], targets[1]}, 100, spares), TargetId(3)) << "the third rack";
  EXPECT_EQ(PlaceMember({targets[0]}, 100, spares), TargetId(2));
  spares[2].free_bytes = 2000;
  EXPECT_EQ(PlaceMember({targets[0]}, 100, spares), TargetId(3)) << "has more space";
  spares[4].chains = 7;
  EXPECT_EQ(PlaceMember({targets[0]}, 100, spares), TargetId(5)) << "has fewer chains";
  spares[4].free_bytes = 99;
  EXPECT_EQ(PlaceMember({targets[0]}, 100, spares), TargetId(3)) << "has room";
  EXPECT_EQ(PlaceMember({targets[0], targets[1], targets[2]}, 0, spares), std::nullopt);
}

TEST(PlacementTest, KeepsMembersApartAndLoadsEven) {
  for (uint32_t nodes : {3u, 4u, 6u, 7u, 10u}) {
    for (uint32_t replicas : {1u, 2u, 3u}) {
      const std::vector<PlacementTarget> targets = Cluster(nodes, 4);
      const auto by_id = ById(targets);
      auto chains = PlaceChains(targets, replicas, 8);
      ASSERT_TRUE(chains.ok());
      EXPECT_EQ(chains->size(), (targets.size() * 8 + replicas - 1) / replicas);
      std::map<TargetId, int> load;
      for (const auto& chain : *chains) {
        std::set<NodeId> on;
        for (TargetId target : chain) {
          EXPECT_TRUE(on.insert(by_id.at(target)->node).second);
          ++load[target];
        }
        EXPECT_EQ(on.size(), replicas);
      }
      int least = 1 << 30, most = 0;
      for (const auto& [target, count] : load) {
        least = std::min(least, count);
        most = std::max(most, count);
      }
      EXPECT_EQ(load.size(), targets.size());
      EXPECT_LE(most - least, 1) << nodes << " nodes, " << replicas << " replicas";
    }
  }
}

TEST(PlacementTest, SpreadsTheWorkOfALostNodeOverAllOthers) {
  const std::vector<PlacementTarget> targets = Cluster(6, 5);
  const auto by_id = ById(targets);
  auto chains = PlaceChains(targets, 3, 8);
  ASSERT_TRUE(chains.ok());
  std::map<std::pair<NodeId, NodeId>, int> shared;
  for (const auto& chain : *chains) {
    for (TargetId a : chain) {
      for (TargetId b : chain) {
        if (a != b) ++shared[{by_id.at(a)->node, by_id.at(b)->node}];
      }
    }
  }
  EXPECT_EQ(shared.size(), 30u) << "every pair of nodes shares chains";
  // 40 members a node, each with 2 partners, over 5 others: 16 on average.
  for (const auto& [pair, count] : shared) {
    EXPECT_GE(count, 8);
    EXPECT_LE(count, 24);
  }
}

TEST(PlacementTest, KeepsMembersInDifferentFailureDomains) {
  const std::vector<PlacementTarget> targets = Cluster(9, 2, 3);
  const auto by_id = ById(targets);
  auto chains = PlaceChains(targets, 3, 8);
  ASSERT_TRUE(chains.ok());
  for (const auto& chain : *chains) {
    std::set<std::string> domains;
    for (TargetId target : chain) domains.insert(by_id.at(target)->failure_domain);
    EXPECT_EQ(domains.size(), 3u);
  }
  EXPECT_EQ(PlaceChains(targets, 4, 8).status().code(), Code::kInvalid);
}

TEST(PlacementTest, RefusesWhatCannotBe) {
  EXPECT_EQ(PlaceChains(Cluster(2, 4), 3, 8).status().code(), Code::kInvalid);
  EXPECT_EQ(PlaceChains(Cluster(3, 1), 0, 8).status().code(), Code::kInvalid);
  EXPECT_EQ(PlaceChains(Cluster(3, 1), kMaxReplicas + 1, 8).status().code(), Code::kInvalid);
  EXPECT_EQ(PlaceChains(Cluster(3, 1), 1, 0).status().code(), Code::kInvalid);
  EXPECT_EQ(PlaceChains(Cluster(3, 1), 1, kMaxChainsPerTarget + 1).status().code(), Code::kInvalid);
  EXPECT_EQ(PlaceChains({}, 1, 8).status().code(), Code::kInvalid);
}

}  // namespace
}  // namespace sheaf::meta
