#include "client/cli/paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "tests/support/temp_dir.h"

namespace sheaf::cli {
namespace {

using ::testing::HasSubstr;

class PathsTest : public ::testing::Test {
 protected:
  PathsTest() {
    Set("HOME", dir_.path());
    unsetenv("SHEAF_META");
  }
  ~PathsTest() override {
    for (const auto& [name, value] : old_) setenv(name.c_str(), value.c_str(), 1);
    unsetenv("SHEAF_META");
  }
  void Set(const std::string& name, const std::string& value) {
    if (const char* before = std::getenv(name.c_str())) old_.emplace_back(name, before);
    setenv(name.c_str(), value.c_str(), 1);
  }

  sheaf::testing::TempDir dir_;
  std::vector<std::pair<std::string, std::string>> old_;
};

TEST_F(PathsTest, AbsoluteResolvesWhatIsBeforeTheLastComponent) {
  const std::string real = std::filesystem::canonical(dir_.path());
  std::filesystem::create_directory(dir_ / "real");
  std::filesystem::create_symlink("real", dir_ / "link");
  std::filesystem::create_symlink("nowhere", dir_ / "real/dangling");
  EXPECT_EQ(*AbsolutePath(dir_ / "link/x"), real + "/real/x");
  EXPECT_EQ(*AbsolutePath(dir_ / "link/../real/x/"), real + "/real/x");
  EXPECT_EQ(*AbsolutePath(dir_ / "link/dangling"), real + "/real/dangling");
  EXPECT_EQ(*AbsolutePath(dir_ / "link"), real + "/link") << "the last one is not followed";
  EXPECT_EQ(*AbsolutePath(dir_ / "link/."), real + "/real");
  EXPECT_EQ(*AbsolutePath("/"), "/");
  EXPECT_EQ(*AbsolutePath("/.."), "/");
  EXPECT_EQ(AbsolutePath("").status().code(), Code::kUsage);
}

TEST_F(PathsTest, MetaComesFromTheFirstPlaceThatHasOne) {
  EXPECT_EQ(FindMeta("", {}).status().code(), Code::kUsage);
  EXPECT_THAT(FindMeta("", {}).status().message(), HasSubstr("sheaf up"));
  std::filesystem::create_directory(dir_ / ".sheaf");
  std::ofstream(dir_ / ".sheaf/meta.addr") << "127.0.0.1:7\n";
  EXPECT_EQ(*FindMeta("", {}), "127.0.0.1:7");
  setenv("SHEAF_META", "h:8", 1);
  EXPECT_EQ(*FindMeta("", {}), "h:8");
  EXPECT_EQ(*FindMeta("h:9", {}), "h:9");
}

TEST_F(PathsTest, RefusesAddressesThatAreNone) {
  for (const char* address : {"host", "host:", ":1", "host:0", "host:99999", "host:1x"}) {
    const Status status = FindMeta(address, {}).status();
    EXPECT_EQ(status.code(), Code::kUsage) << address;
    EXPECT_THAT(status.message(), HasSubstr(address));
  }
}

TEST_F(PathsTest, TellsTheSidesOfACopyApart) {
  EXPECT_TRUE(ParsePath("sheaf:/a//b/../c/", "h:1")->in_sheaf);
  EXPECT_EQ(ParsePath("sheaf:/a//b/../c/", "h:1")->path, "/a/c");
  EXPECT_EQ(ParsePath("sheaf:/", "h:1")->path, "/");
  EXPECT_EQ(ParsePath("sheaf:x", "h:1").status().code(), Code::kUsage);
  EXPECT_EQ(ParsePath("", "h:1").status().code(), Code::kUsage);
  EXPECT_FALSE(ParsePath("/tmp", "h:1")->in_sheaf);
}

}  // namespace
}  // namespace sheaf::cli
