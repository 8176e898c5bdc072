#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/cluster/cluster_fixture.h"
#include "tests/cluster/sheaf_command.h"
#include "tests/support/eventually.h"

namespace sheaf::testing {
namespace {

using ::testing::HasSubstr;

constexpr size_t kSize = 600'000;

class ClusterScrubTest : public ClusterFixture {
 protected:
  void SetUp() override {
    StartCluster({.servers = 1, .chains_per_target = 2});
    const auto client = Connect();
    const auto file = Open(*client, "/file");
    CHECK(file->Write(0, PatternAt(0, kSize)).ok());
    CHECK(file->Close().ok());
  }
  nlohmann::json Status() {
    const CommandOutcome outcome =
        RunSheaf("scrub status --json --meta " + cluster_->meta_address());
    EXPECT_EQ(outcome.exit_code, 0);
    return nlohmann::json::parse(outcome.output).at("nodes").at(0).at("targets").at(0);
  }
  // A pass that began after the call has ended.
  void RunPass() {
    const auto passes = Status().at("passes").get<uint64_t>();
    ASSERT_EQ(RunSheaf("scrub start --meta " + cluster_->meta_address()).exit_code, 0);
    ASSERT_TRUE(Eventually([&] {
      const auto now = Status();
      return now.at("passes") > passes && now.at("running") == false && now.at("chunks") > 0;
    }));
  }
  // Where the file's first byte lies in the slab.
  uint64_t FirstByte() {
    const std::string target = cluster_->target_directory(0);
    const auto line = [](const std::string& text, int number) {
      std::istringstream lines(text);
      std::string one;
      for (int i = 0; i <= number; ++i) std::getline(lines, one);
      return nlohmann::json::parse(one);
    };
    const auto chunk = line(RunSheaf("inspect " + target + " chunks --json").output, 0);
    const std::string name =
        chunk.at("chain").dump() + " " + chunk.at("data_id").dump() + " 0 --json";
    return line(RunSheaf("inspect " + target + " chunk " + name).output, 1).at("slab_offset");
  }
  void Rot(uint64_t offset) {
    std::fstream slab(cluster_->target_directory(0) + "/slabs/slab.00000000",
                      std::ios::in | std::ios::out | std::ios::binary);
    slab.seekg(static_cast<std::streamoff>(offset));
    const char byte = static_cast<char>(slab.get() ^ 0x10);
    slab.seekp(static_cast<std::streamoff>(offset));
    slab.put(byte);
  }
};

TEST_F(ClusterScrubTest, RotIsFoundNamedAndForgottenOnceWrittenAnew) {
  RunPass();
  EXPECT_EQ(Status().at("bad_chunks"), 0);
  const uint64_t offset = FirstByte();
  Rot(offset + 5000);
  RunPass();
  const auto found = Status();
  ASSERT_EQ(found.at("bad").size(), 1u) << found.dump();
  EXPECT_THAT(found.at("bad").at(0).at("error").get<std::string>(),
              HasSubstr("slab 0, offset " + std::to_string(offset + 4096)));

  const auto client = Connect();
  const auto file = Open(*client, "/file", O_RDWR);
  std::vector<uint8_t> bytes(kSize);
  EXPECT_EQ(file->Read(0, bytes).status().ToErrno(), EIO);
  ASSERT_TRUE(file->Truncate(0).ok());
  ASSERT_TRUE(file->Write(0, PatternAt(0, kSize)).ok());
  ASSERT_TRUE(file->Close().ok());
  EXPECT_TRUE(Eventually([&] {
    RunPass();
    return Status().at("bad_chunks") == 0;
  }));
}

}  // namespace
}  // namespace sheaf::testing
