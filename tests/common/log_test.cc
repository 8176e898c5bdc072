#include "common/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/support/temp_dir.h"

namespace sheaf {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Contents(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// Puts the log back on standard error, off the directory that goes.
class LogTest : public ::testing::Test {
 protected:
  ~LogTest() override { (void)InitLog({}); }
  sheaf::testing::TempDir dir_;
};

TEST_F(LogTest, WritesLinesOfTheLevelAndAbove) {
  ASSERT_TRUE(InitLog({.file = dir_ / "log", .level = "info"}).ok());
  LogDebug("too {}", "fine");
  LogInfo("started {}", 7);
  FlushLog();
  EXPECT_THAT(Contents(dir_ / "log"), HasSubstr("started 7"));
  EXPECT_THAT(Contents(dir_ / "log"), Not(HasSubstr("too fine")));
  ASSERT_TRUE(SetLogLevel("debug").ok());
  LogDebug("now {}", "seen");
  FlushLog();
  EXPECT_THAT(Contents(dir_ / "log"), HasSubstr("now seen"));
}

TEST_F(LogTest, WarningsAreWrittenAtOnce) {
  ASSERT_TRUE(InitLog({.file = dir_ / "log"}).ok());
  LogWarn("disk {} is slow", 2);
  EXPECT_THAT(Contents(dir_ / "log"), HasSubstr("disk 2 is slow"));
}

TEST_F(LogTest, RotatesAtItsSize) {
  ASSERT_TRUE(InitLog({.file = dir_ / "log", .max_file_bytes = 2000, .max_files = 2}).ok());
  for (int i = 0; i < 200; ++i) LogInfo("line {} of a log that is to be rotated", i);
  FlushLog();
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
    ++files;
    EXPECT_LE(entry.file_size(), 2100u);
  }
  EXPECT_EQ(files, 3u);
}

TEST_F(LogTest, ErrorsNameTheLevelAndTheFile) {
  const Status level = InitLog({.level = "loud"});
  EXPECT_EQ(level.code(), Code::kUsage);
  EXPECT_THAT(level.message(), HasSubstr("\"loud\""));
  EXPECT_EQ(SetLogLevel("loud").code(), Code::kUsage);
  const Status file = InitLog({.file = dir_ / "missing/log"});
  EXPECT_EQ(file.code(), Code::kNotFound);
  EXPECT_THAT(file.message(), HasSubstr("missing/log"));
}

}  // namespace
}  // namespace sheaf
