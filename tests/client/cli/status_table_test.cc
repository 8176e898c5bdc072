#include "client/cli/status_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sheaf::cli {
namespace {

using ::testing::HasSubstr;

TEST(StatusTableTest, ShowsNodesTargetsAndChains) {
  auto table = StatusTable(R"({"health":"degraded","files":12,"used_bytes":2048,
    "raw_used_bytes":4096,"total_bytes":1073741824,"removal_backlog":3,
    "resync":{"chunks_left":7,"bytes_per_s":2097152},
    "nodes":[{"id":1,"address":"127.0.0.1:7710","pid":42,"state":"up"},
             {"id":2,"address":"127.0.0.1:7720","state":"down"}],
    "targets":[{"id":5,"node":1,"state":"serving","used_bytes":1024,"total_bytes":2048}],
    "chains":[{"id":7,"version":2,"targets":[{"id":5,"state":"serving"},{"id":6,"state":"offline"}]},
              {"id":8,"version":1,"targets":[{"id":6,"state":"offline"}],"waiting_for":6},
              {"id":9,"version":4,"targets":[{"id":5,"state":"lastserving"},
               {"id":6,"state":"lastserving"},{"id":7,"state":"offline"}],"waiting_for":5}]})");
  ASSERT_TRUE(table.ok()) << table.status().ToString();
  for (const char* part : {"degraded", "2 KiB in files, 4 KiB of 1 GiB", "3 waiting",
                           "127.0.0.1:7710  42", "down", "5 serving, 6 offline", "waiting for 6",
                           "waiting for 5 or 6", "7 chunks left, 2 MiB/s"}) {
    EXPECT_THAT(*table, HasSubstr(part));
  }
}

TEST(StatusTableTest, ShowsThatNoReplicaHoldsAChainsData) {
  auto table = StatusTable(R"({"health":"down","files":0,"used_bytes":0,
    "raw_used_bytes":0,"total_bytes":0,"removal_backlog":0,"nodes":[],"targets":[],
    "chains":[{"id":7,"version":2,"targets":[{"id":5,"state":"waiting"}],
               "lost":[{"target":5,"uuid":"the-old-disk"}]},
              {"id":8,"version":2,"targets":[{"id":5,"state":"waiting"}],"lost":[]}]})");
  ASSERT_TRUE(table.ok()) << table.status().ToString();
  EXPECT_THAT(*table, HasSubstr("5 waiting; no replica holds its data since disk the-old-disk of "
                                "target 5 is gone"));
  EXPECT_THAT(*table, HasSubstr("5 waiting; no replica holds its data (see"));
}

TEST(StatusTableTest, RefusesWhatIsNotOfThatForm) {
  EXPECT_EQ(StatusTable("").status().code(), Code::kProtocol);
  EXPECT_EQ(StatusTable("{}").status().code(), Code::kProtocol);
  EXPECT_EQ(StatusTable(R"({"used_bytes":"x","nodes":[],"targets":[],"chains":[]})").status().code(),
            Code::kProtocol);
}

}  // namespace
}  // namespace sheaf::cli
