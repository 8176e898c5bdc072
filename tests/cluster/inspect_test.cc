#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/cluster/cluster_fixture.h"
#include "tests/cluster/sheaf_command.h"

namespace sheaf::testing {
namespace {

using ::testing::HasSubstr;

// What can be seen of a directory: every name with its times and bytes. Slabs are sparse and long:
// their beginning stands for them.
std::map<std::string, std::string> Contents(const std::string& directory) {
  constexpr size_t kMaxBytes = 4 << 20;
  std::map<std::string, std::string> all;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    struct stat info = {};
    CHECK(::lstat(entry.path().c_str(), &info) == 0);
    std::ostringstream text;
    text << info.st_size << ' ' << info.st_mtim.tv_sec << '.' << info.st_mtim.tv_nsec << ' '
         << info.st_ctim.tv_sec << '.' << info.st_ctim.tv_nsec << ' ';
    if (entry.is_regular_file()) {
      std::ifstream file(entry.path(), std::ios::binary);
      std::string bytes(std::min<size_t>(kMaxBytes, static_cast<size_t>(info.st_size)), '\0');
      file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
      text << bytes;
    }
    all[entry.path()] = text.str();
  }
  return all;
}

class ClusterInspectTest : public ClusterFixture {
 protected:
  void SetUp() override {
    StartCluster({.servers = 1, .chains_per_target = 2});
    const auto client = Connect();
    CHECK(client->MkdirPath("/dir").ok());
    const auto file = Open(*client, "/dir/a file");
    CHECK(file->Write(0, PatternAt(0, 600'000)).ok());
    CHECK(file->Close().ok());
    inode_ = client->StatPath("/dir/a file")->inode.value();
    directory_ = client->StatPath("/dir")->inode.value();
  }
  // One JSON object a line.
  static std::vector<nlohmann::json> Inspect(const std::string& arguments, int exit_code = 0) {
    const CommandOutcome outcome = RunSheaf("inspect " + arguments + " --json");
    EXPECT_EQ(outcome.exit_code, exit_code) << arguments;
    std::vector<nlohmann::json> lines;
    std::istringstream text(outcome.output);
    for (std::string line; std::getline(text, line);) {
      lines.push_back(nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false));
      EXPECT_FALSE(lines.back().is_discarded()) << line;
    }
    return lines;
  }
  void StopAll() {
    cluster_->KillMeta();
    cluster_->KillServer(0);
  }
  // Everything there is to see in the metadata service's directory.
  void LookAtMeta() {
    const std::string& dir = cluster_->meta_directory();
    EXPECT_EQ(Inspect(dir).at(0).at("kind"), "meta");
    const auto inode = Inspect(dir + " inode " + std::to_string(inode_));
    EXPECT_EQ(inode.at(0).at("size"), 600'000);
    const auto dentry = Inspect(dir + " dentry " + std::to_string(directory_) + " 'a file'");
    EXPECT_EQ(dentry.at(0).at("inode"), inode_);
    EXPECT_EQ(Inspect(dir + " directory 1").at(0).at("name"), "dir");
    EXPECT_GE(Inspect(dir + " chains").size(), 5u);
    EXPECT_GE(Inspect(dir + " rows").size(), 8u);
    EXPECT_EQ(Inspect(dir + " rows I").size(), 3u);
    EXPECT_EQ(Inspect(dir + " rows I --limit 1").size(), 2u);  // and "more"
    for (const char* what : {" removals", " intents", " sessions"}) Inspect(dir + what);
    Inspect(dir + " inode 999999", /*exit_code=*/1);
    Inspect(dir + " nonsense", /*exit_code=*/2);
  }
  // Answers the file's chunk.
  nlohmann::json LookAtTarget() {
    const std::string dir = cluster_->target_directory(0);
    EXPECT_EQ(Inspect(dir).at(0).at("chunks"), 1);
    EXPECT_GE(Inspect(dir + " slabs").size(), 1u);
    const auto chunks = Inspect(dir + " chunks");
    EXPECT_EQ(chunks.size(), 1u);
    const std::string name = NameOf(chunks.at(0));
    EXPECT_EQ(Inspect(dir + " chunk " + name).at(0).at("length"), 600'000);
    for (const auto& extent : Inspect(dir + " chunk " + name + " --verify")) {
      if (extent.contains("slab")) {
        EXPECT_EQ(extent.at("verified"), true);
      }
    }
    Inspect(dir + " chunk 1 99 0", /*exit_code=*/1);
    Inspect(dir + " chunk 1", /*exit_code=*/2);
    return chunks.at(0);
  }
  static std::string NameOf(const nlohmann::json& chunk) {
    return chunk.at("chain").dump() + " " + chunk.at("data_id").dump() + " " +
           chunk.at("index").dump();
  }

  uint64_t inode_ = 0;
  uint64_t directory_ = 0;
};

TEST_F(ClusterInspectTest, ShowsEachStructureAndChangesNothing) {
  StopAll();
  const auto meta = Contents(cluster_->meta_directory());
  const auto target = Contents(cluster_->target_directory(0));
  LookAtMeta();
  LookAtTarget();
  EXPECT_EQ(Contents(cluster_->meta_directory()), meta);
  EXPECT_EQ(Contents(cluster_->target_directory(0)), target);
  // And the daemons find their directories as they left them.
  ASSERT_TRUE(cluster_->StartMeta().ok());
  ASSERT_TRUE(cluster_->StartServer(0).ok());
  const auto client = Connect();
  const auto file = Open(*client, "/dir/a file", O_RDONLY);
  EXPECT_EQ(ReadAll(*file, 0, 600'000), PatternAt(0, 600'000));
}

TEST_F(ClusterInspectTest, WorksBesideRunningDaemons) {
  LookAtMeta();
  LookAtTarget();
  const auto client = Connect();
  EXPECT_TRUE(client->MkdirPath("/later").ok());
  EXPECT_EQ(Inspect(cluster_->meta_directory() + " rows I").size(), 4u);
}

TEST_F(ClusterInspectTest, VerifyNamesABlockThatIsNotItsChecksum) {
  StopAll();
  const std::string dir = cluster_->target_directory(0);
  const std::string name = NameOf(LookAtTarget());
  const auto extents = Inspect(dir + " chunk " + name);
  const auto offset = extents.at(1).at("slab_offset").get<std::streamoff>();
  {
    std::fstream slab(dir + "/slabs/slab.00000000",
                      std::ios::in | std::ios::out | std::ios::binary);
    slab.seekg(offset + 5000);
    const char byte = static_cast<char>(slab.get() ^ 0x10);
    slab.seekp(offset + 5000);
    slab.put(byte);
  }
  const auto lines = Inspect(dir + " chunk " + name + " --verify", /*exit_code=*/1);
  EXPECT_EQ(lines.at(1).at("verified"), false);
  EXPECT_THAT(lines.at(1).at("error").get<std::string>(),
              HasSubstr("at offset " + std::to_string(offset + 4096)));
}

TEST_F(ClusterInspectTest, ADirectoryThatIsNotOursIsNamed) {
  EXPECT_EQ(RunSheaf("inspect /tmp 2>/dev/null").exit_code, 1);
}

}  // namespace
}  // namespace sheaf::testing
