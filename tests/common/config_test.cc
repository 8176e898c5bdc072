#include "common/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_dir.h"

namespace sheaf {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A daemon's settings as it would read them.
struct Settings {
  std::string listen = "127.0.0.1:1";
  std::string log_level = "info";
  bool fast = false;
  uint32_t mib = 64;
  int64_t offset = 0;
  uint64_t big = 0;
  std::vector<std::string> targets;

  Status Read(const std::string& text) {
    auto file = ConfigFile::Parse(text, "x.toml");
    if (!file.ok()) return file.status();
    file->Read("listen", &listen);
    file->Read("log.level", &log_level);
    file->Read("fast", &fast);
    file->Read("mib", &mib, 1, 1024);
    file->Read("offset", &offset, -10, 10);
    file->Read("big", &big, 0, ~uint64_t{0});
    file->Read("targets", &targets);
    return file->Finish();
  }
};

TEST(ConfigTest, LeavesDefaultsForAbsentKeys) {
  Settings settings;
  ASSERT_TRUE(settings.Read("").ok());
  EXPECT_EQ(settings.listen, "127.0.0.1:1");
  EXPECT_EQ(settings.mib, 64u);
}

TEST(ConfigTest, ReadsEveryType) {
  Settings settings;
  const Status status = settings.Read(
      "listen = \"h:2\"\nfast = true\nmib = 1024\noffset = -10\nbig = 9223372036854775807\n"
      "targets = [\"/a\", \"/b\"]\n[log]\nlevel = \"warn\"\n");
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(settings.listen, "h:2");
  EXPECT_EQ(settings.log_level, "warn");
  EXPECT_TRUE(settings.fast);
  EXPECT_EQ(settings.mib, 1024u);
  EXPECT_EQ(settings.offset, -10);
  EXPECT_EQ(settings.big, 9223372036854775807u);
  EXPECT_THAT(settings.targets, ElementsAre("/a", "/b"));
}

TEST(ConfigTest, ErrorsNameFileLineKeyValueAndWhatIsAccepted) {
  const struct {
    const char* text;
    std::vector<std::string> parts;
  } cases[] = {
      {"fast = true\nmib = 0", {"x.toml line 2", "mib = 0", "from 1 to 1024"}},
      {"mib = 1025", {"mib = 1025", "from 1 to 1024"}},
      {"mib = \"64\"", {"mib = \"64\"", "whole number"}},
      {"mib = 1.5", {"mib", "whole number"}},
      {"offset = -11", {"offset = -11", "from -10 to 10"}},
      {"big = -1", {"big = -1", "from 0"}},
      {"listen = 7", {"listen = 7", "string in quotes"}},
      {"fast = \"yes\"", {"fast = \"yes\"", "true or false"}},
      {"targets = \"/a\"", {"targets = \"/a\"", "list of strings"}},
      {"targets = [1]", {"targets", "list of strings"}},
      {"[log]\nlevel = 3", {"line 2", "log.level = 3", "string"}},
      {"fasd = true", {"unknown key \"fasd\"", "known are", "fast"}},
      {"[log]\nlevle = \"info\"", {"line 2", "unknown key \"log.levle\"", "log.level"}},
      {"fast = true\n\"log.level\" = \"info\"", {"line 2", "unknown key \"\"log.level\"\""}},
      {"mib = ", {"x.toml line 1", "not TOML"}},
      {"mib = 1\nmib = 2", {"not TOML"}},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.text);
    const Status status = Settings().Read(each.text);
    EXPECT_EQ(status.code(), Code::kUsage);
    for (const std::string& part : each.parts) EXPECT_THAT(status.message(), HasSubstr(part));
  }
}

TEST(ConfigTest, TheFirstBadValueIsReported) {
  EXPECT_THAT(Settings().Read("mib = 0\nzzz = 1").message(), HasSubstr("mib"));
}

TEST(ConfigTest, NamesAFileThatCannotBeRead) {
  sheaf::testing::TempDir dir;
  auto missing = ConfigFile::Load(dir / "none.toml");
  EXPECT_EQ(missing.status().code(), Code::kUsage);
  EXPECT_THAT(missing.status().message(), AllOf(HasSubstr("none.toml"), HasSubstr("No such file")));
  EXPECT_THAT(ConfigFile::Load(dir.path()).status().message(), HasSubstr("Is a directory"));
}

TEST(ConfigTest, LoadsAFileAndRefusesAHugeOne) {
  sheaf::testing::TempDir dir;
  std::ofstream(dir / "a.toml") << "mib = 7\n";
  auto file = ConfigFile::Load(dir / "a.toml");
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  uint32_t mib = 0;
  file->Read("mib", &mib, 1, 10);
  EXPECT_EQ(mib, 7u);
  EXPECT_TRUE(file->Finish().ok());

  std::ofstream(dir / "big.toml") << std::string(2 << 20, '\n');
  EXPECT_THAT(ConfigFile::Load(dir / "big.toml").status().message(), HasSubstr("larger than"));
}

}  // namespace
}  // namespace sheaf
