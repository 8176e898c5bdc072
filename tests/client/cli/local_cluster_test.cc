#include "client/cli/local_cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/support/temp_dir.h"

namespace sheaf::cli {
namespace {

using ::testing::HasSubstr;

bool NotRunning(const std::string&) { return false; }

std::string Contents(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(AddressLinesTest, AreFoundAndReplacedAlone) {
  const std::string toml =
      "# listen = \"comment\"\nlisten = \"a:1\"   # why\nlisten_other=\"b:2\"\n"
      "name = \"x = y\"\n[log]\nlisten = \"c:3\"\n";
  EXPECT_EQ(FindAddress(toml, "listen"), "a:1");
  EXPECT_EQ(FindAddress(toml, "listen_other"), "b:2");
  EXPECT_EQ(FindAddress(toml, "absent"), "");
  EXPECT_EQ(ReplaceAddress(toml, "listen", "z:99"),
            "# listen = \"comment\"\nlisten = \"z:99\"   # why\nlisten_other=\"b:2\"\n"
            "name = \"x = y\"\n[log]\nlisten = \"c:3\"\n");
  EXPECT_EQ(ReplaceAddress(toml, "absent", "z"), toml);
}

TEST(ChoosePortsTest, TakesTheNextFreeRun) {
  std::set<uint16_t> taken;
  const auto all_free = [](uint16_t) { return true; };
  EXPECT_EQ(ChoosePorts(7700, 2, &taken, all_free), 7700);
  EXPECT_EQ(ChoosePorts(7700, 2, &taken, all_free), 7710);
  const auto busy = [](uint16_t port) { return port != 7722 && port != 7730; };
  EXPECT_EQ(ChoosePorts(7720, 3, &taken, busy), 7740);
  EXPECT_EQ(ChoosePorts(7700, 2, &taken, [](uint16_t) { return false; }), 0);
  EXPECT_EQ(ChoosePorts(65534, 3, &taken, all_free), 0) << "beyond the last port";
}

TEST(LocalClusterTest, WritesWhatItIsToldAndReadsItBack) {
  sheaf::testing::TempDir dir;
  {
    auto cluster = LocalCluster::Open(dir / "c", true);
    ASSERT_TRUE(cluster.ok()) << cluster.status().ToString();
    EXPECT_FALSE(cluster->HasSettings());
    ASSERT_TRUE(cluster->SaveSettings({2, dir / "m \"quoted\""}).ok());
    ASSERT_TRUE(cluster->WriteConfigurations(NotRunning).ok());
  }
  auto cluster = LocalCluster::Open(dir / "c", false);
  ASSERT_TRUE(cluster.ok());
  EXPECT_TRUE(cluster->HasSettings());
  EXPECT_EQ(cluster->settings().storage, 2u);
  EXPECT_EQ(cluster->settings().mount, dir / "m \"quoted\"");
  EXPECT_EQ(cluster->Daemons().size(), 4u);
  EXPECT_EQ(Contents(dir / "c/meta.addr"), cluster->MetaAddress() + "\n");
  const std::string storage = Contents(dir / "c/config/storage-1.toml");
  EXPECT_EQ(FindAddress(storage, "meta"), cluster->MetaAddress());
  EXPECT_NE(FindAddress(storage, "listen"), FindAddress(storage, "grpc"));
}

TEST(LocalClusterTest, KeepsPortsAndEditsAndMovesOnlyTakenPorts) {
  sheaf::testing::TempDir dir;
  auto cluster = LocalCluster::Open(dir / "c", true);
  ASSERT_TRUE(cluster.ok());
  ASSERT_TRUE(cluster->SaveSettings({1, dir / "mnt"}).ok());
  ASSERT_TRUE(cluster->WriteConfigurations(NotRunning).ok());
  const std::string path = dir / "c/config/storage-0.toml";
  std::ofstream(path, std::ios::app) << "# the operator's line\n";
  const std::string before = Contents(path);
  // An address that is no one's to listen on stands for a port that another program has taken.
  std::ofstream(path) << ReplaceAddress(before, "grpc", "192.0.2.1:7711");
  auto moved = cluster->WriteConfigurations(NotRunning);
  ASSERT_TRUE(moved.ok());
  EXPECT_TRUE(*moved);
  EXPECT_THAT(Contents(path), HasSubstr("# the operator's line"));
  EXPECT_THAT(FindAddress(Contents(path), "grpc"), HasSubstr("127.0.0.1:"));

  std::ofstream(path) << ReplaceAddress(before, "grpc", "192.0.2.1:7711");
  moved = cluster->WriteConfigurations([](const std::string&) { return true; });
  ASSERT_TRUE(moved.ok());
  EXPECT_FALSE(*moved) << "what runs keeps its own";
  EXPECT_EQ(FindAddress(Contents(path), "grpc"), "192.0.2.1:7711");
}

TEST(LocalClusterTest, ALongDirectoryDoesWithoutUnixSockets) {
  sheaf::testing::TempDir dir;
  const std::string deep = dir / std::string(120, 'x');
  auto cluster = LocalCluster::Open(deep, true);
  ASSERT_TRUE(cluster.ok());
  ASSERT_TRUE(cluster->SaveSettings({1, dir / "mnt"}).ok());
  ASSERT_TRUE(cluster->WriteConfigurations(NotRunning).ok());
  EXPECT_THAT(Contents(deep + "/config/storage-0.toml"), ::testing::Not(HasSubstr("unix_path")));
}

TEST(LocalClusterTest, RefusesADirectoryThatIsNotOursAndASecondHolder) {
  sheaf::testing::TempDir dir;
  std::ofstream(dir / "thesis.txt") << "x";
  EXPECT_EQ(LocalCluster::Open(dir.path(), true).status().code(), Code::kExists);
  auto first = LocalCluster::Open(dir / "c", true);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(LocalCluster::Open(dir / "c", true).status().code(), Code::kBusy);
}

}  // namespace
}  // namespace sheaf::cli
