#include "client/cli/membership.h"

#include <gtest/gtest.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace sheaf::cli {
namespace {

TEST(MembershipTest, CountsTheChainsThatANodeIsLeftIn) {
  proto::ClusterMap map;
  for (uint32_t id = 1; id <= 3; ++id) {
    auto* target = map.add_targets();
    target->set_id(10 + id);
    target->set_node_id(id == 3 ? 2 : 1);  // 11 and 12 are on node 1
  }
  for (const auto& members : {std::pair(11, 13), {12, 13}, {13, 13}}) {
    auto* chain = map.add_chains();
    chain->add_members()->set_target_id(members.first);
    chain->add_members()->set_target_id(members.second);
  }
  EXPECT_EQ(ChainsLeft(map, 1), 2u);
  EXPECT_EQ(ChainsLeft(map, 2), 3u);
  EXPECT_EQ(ChainsLeft(map, 3), 0u);
}

TEST(MembershipTest, ALossIsAcceptedInSoManyWords) {
  auto options = std::make_shared<MembershipOptions>();
  CLI::App chain("chain");
  AddReset(chain, options);
  EXPECT_THROW(chain.parse("reset 3 --from 4"), CLI::ParseError);
  EXPECT_THROW(chain.parse("reset 3 --accept-loss"), CLI::ParseError);
  chain.parse("reset 3 --from 4 --accept-loss");
  EXPECT_EQ(options->id, 3u);
  EXPECT_EQ(options->target, 4u);
}

}  // namespace
}  // namespace sheaf::cli
