#include "storage/service/node_identity.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <sys/stat.h>

#include <fstream>

#include "common/uuid.h"
#include "tests/support/temp_dir.h"

namespace sheaf::storage {
namespace {

class NodeIdentityTest : public ::testing::Test {
 protected:
  NodeIdentityTest() {
    for (const std::string& directory : directories_) CHECK(::mkdir(directory.c_str(), 0700) == 0);
  }
  sheaf::testing::TempDir dir_;
  std::vector<std::string> directories_ = {dir_ / "a", dir_ / "b"};
};

TEST_F(NodeIdentityTest, IsMadeOnceAndKept) {
  auto first = LoadNodeIdentity(directories_);
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(IsUuid(first->node_uuid));
  EXPECT_TRUE(first->cluster_uuid.empty());
  std::swap(directories_[0], directories_[1]);
  EXPECT_EQ(LoadNodeIdentity(directories_)->node_uuid, first->node_uuid);
}

TEST_F(NodeIdentityTest, IsKeptWhicheverDiskIsReplaced) {
  auto first = LoadNodeIdentity(directories_);
  ASSERT_TRUE(first.ok());
  for (const std::string& replaced : directories_) {
    ASSERT_EQ(unlink((replaced + "/NODE").c_str()), 0);
    EXPECT_EQ(LoadNodeIdentity(directories_)->node_uuid, first->node_uuid);
  }
}

TEST_F(NodeIdentityTest, RemembersItsClusterInEveryTarget) {
  const std::string cluster = NewUuid();
  ASSERT_TRUE(RememberCluster(directories_, cluster).ok());
  ASSERT_TRUE(RememberCluster(directories_, cluster).ok());
  EXPECT_EQ(LoadNodeIdentity({directories_[1]})->cluster_uuid, cluster);
  EXPECT_EQ(RememberCluster(directories_, NewUuid()).code(), Code::kInvalid);
}

TEST_F(NodeIdentityTest, RefusesTargetsOfTwoClustersOrTwoNodes) {
  ASSERT_TRUE(RememberCluster({directories_[0]}, NewUuid()).ok());
  ASSERT_TRUE(RememberCluster({directories_[1]}, NewUuid()).ok());
  EXPECT_EQ(LoadNodeIdentity(directories_).status().code(), Code::kInvalid);
}

TEST_F(NodeIdentityTest, AFileThatHoldsNoUuidIsCorrupt) {
  std::ofstream(directories_[0] + "/NODE") << "what\n";
  EXPECT_EQ(LoadNodeIdentity(directories_).status().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace sheaf::storage
