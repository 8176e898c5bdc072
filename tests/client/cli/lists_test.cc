#include "client/cli/lists.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace sheaf::cli {
namespace {

using ::testing::HasSubstr;

constexpr char kStatus[] = R"({"health":"down",
  "nodes":[{"id":1,"address":"127.0.0.1:7710","pid":42,"state":"up"},
           {"id":2,"address":"127.0.0.1:7720","state":"down"}],
  "targets":[{"id":5,"node":1,"state":"serving","used_bytes":1024,"total_bytes":2048},
             {"id":6,"node":1,"state":"waiting","used_bytes":1024,"total_bytes":4096},
             {"id":7,"node":2,"state":"offline","used_bytes":0,"total_bytes":0}],
  "chains":[{"id":7,"version":2,"targets":[{"id":5,"state":"serving"},{"id":7,"state":"offline"}]},
            {"id":8,"version":4,"targets":[{"id":7,"state":"lastserving"},
             {"id":5,"state":"waiting"}],"waiting_for":7}]})";

std::string Table(ListOf what) { return FormatList(what, kStatus, false).value(); }
nlohmann::json Parse(ListOf what) {
  return nlohmann::json::parse(FormatList(what, kStatus, true).value());
}

TEST(ListsTest, NodesHaveTheirTargetsAndSpace) {
  EXPECT_THAT(Table(ListOf::kNodes), HasSubstr("1     up     127.0.0.1:7710  2 KiB  6 KiB  5, 6"));
  const auto nodes = Parse(ListOf::kNodes);
  EXPECT_EQ(nodes.size(), 1u);
  EXPECT_EQ(nodes["nodes"][0]["used_bytes"], 2048);
  EXPECT_EQ(nodes["nodes"][0]["pid"], 42);
  EXPECT_EQ(nodes["nodes"][1]["state"], "down");
  EXPECT_EQ(nodes["nodes"][1]["targets"], nlohmann::json::parse("[7]"));
}

TEST(ListsTest, TargetsHaveTheirChains) {
  EXPECT_THAT(Table(ListOf::kTargets), HasSubstr("5       1     serving  1 KiB  2 KiB  2"));
  const auto targets = Parse(ListOf::kTargets)["targets"];
  EXPECT_EQ(targets[0]["chains"], nlohmann::json::parse("[7,8]"));
  EXPECT_EQ(targets[1]["chains"], nlohmann::json::array());
  EXPECT_EQ(targets[2]["node"], 2);
}

TEST(ListsTest, ChainsHaveTheirMembersAndWhatTheyWaitFor) {
  EXPECT_THAT(Table(ListOf::kChains),
              HasSubstr("8      4        7 lastserving, 5 waiting; waiting for 7"));
  const auto chains = Parse(ListOf::kChains)["chains"];
  EXPECT_EQ(chains[0]["version"], 2);
  EXPECT_EQ(chains[0]["targets"][1]["state"], "offline");
  EXPECT_EQ(chains[1]["waiting_for"], 7);
}

TEST(ListsTest, RefusesWhatIsNotOfThatForm) {
  for (const ListOf what : {ListOf::kNodes, ListOf::kTargets, ListOf::kChains}) {
    EXPECT_EQ(FormatList(what, "", false).status().code(), Code::kProtocol);
    EXPECT_EQ(FormatList(what, "{}", true).status().code(), Code::kProtocol);
  }
}

}  // namespace
}  // namespace sheaf::cli
