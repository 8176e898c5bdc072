#include "common/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

#include "common/log_config.h"
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

TEST_F(LogTest, ASecondInitBeginsAFileThatWasMovedAwayAnew) {
  const LogOptions options{.file = dir_ / "log"};
  ASSERT_TRUE(InitLog(options).ok());
  LogWarn("before");
  std::filesystem::rename(dir_ / "log", dir_ / "moved");
  LogWarn("still there");
  ASSERT_TRUE(InitLog(options).ok());
  LogWarn("after");
  EXPECT_THAT(Contents(dir_ / "moved"), HasSubstr("before"));
  EXPECT_THAT(Contents(dir_ / "moved"), HasSubstr("still there"));
  EXPECT_THAT(Contents(dir_ / "moved"), Not(HasSubstr("after")));
  EXPECT_THAT(Contents(dir_ / "log"), HasSubstr("after"));
}

TEST_F(LogTest, WithoutASizeItNeverRotates) {
  ASSERT_TRUE(InitLog({.file = dir_ / "log", .max_file_bytes = 0}).ok());
  for (int i = 0; i < 2000; ++i) LogInfo("line {} of a log that others rotate", i);
  FlushLog();
  EXPECT_GT(std::filesystem::file_size(dir_ / "log"), 100'000u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_.path()), {}), 1);
}

TEST_F(LogTest, NoLineIsLostWhileTheLogIsReloaded) {
  const LogOptions options{.file = dir_ / "log", .max_file_bytes = 0};
  ASSERT_TRUE(InitLog(options).ok());
  constexpr int kThreads = 3, kLines = 2000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < kLines; ++i) LogInfo("thread {} line {};", t, i);
    });
  }
  for (int i = 0; i < 50; ++i) ReloadLog(options);
  for (std::thread& thread : threads) thread.join();
  FlushLog();
  const std::string text = Contents(dir_ / "log");
  for (int t = 0; t < kThreads; ++t) {
    for (int i = 0; i < kLines; ++i) {
      const std::string line = "thread " + std::to_string(t) + " line " + std::to_string(i) + ";";
      ASSERT_THAT(text, HasSubstr(line));
    }
  }
}

TEST_F(LogTest, AReloadThatFailsSaysSoAndLeavesTheOptions) {
  ASSERT_TRUE(InitLog({.file = dir_ / "log", .level = "debug"}).ok());
  std::filesystem::rename(dir_ / "log", dir_ / "moved");
  ReloadLog(Status(Code::kUsage, "config x.toml: cannot be read"));
  LogDebug("fine {}", 1);
  FlushLog();
  EXPECT_THAT(Contents(dir_ / "log"), HasSubstr("x.toml: cannot be read"));
  EXPECT_THAT(Contents(dir_ / "log"), HasSubstr("fine 1"));
  ReloadLog(LogOptions{.file = dir_ / "log", .level = "loud"});
  EXPECT_THAT(Contents(dir_ / "log"), HasSubstr("\"loud\""));
  ReloadLog(LogOptions{.file = dir_ / "missing/log"});
  EXPECT_THAT(Contents(dir_ / "log"), HasSubstr("missing/log"));
  LogDebug("fine {}", 2);
  FlushLog();
  EXPECT_THAT(Contents(dir_ / "log"), HasSubstr("fine 2"));
}

TEST(LogConfigTest, ReadsItsTableAndLeavesDefaults) {
  auto file = ConfigFile::Parse(
      "[log]\nfile = \"/x\"\nlevel = \"warn\"\nmax_file_mib = 3\n"
      "max_files = 9\n",
      "test");
  ASSERT_TRUE(file.ok());
  LogOptions options;
  ReadLogOptions(*file, &options);
  ASSERT_TRUE(file->Finish().ok());
  EXPECT_EQ(options.file, "/x");
  EXPECT_EQ(options.level, "warn");
  EXPECT_EQ(options.max_file_bytes, 3u << 20);
  EXPECT_EQ(options.max_files, 9u);

  auto empty = ConfigFile::Parse("", "test");
  LogOptions defaults;
  ReadLogOptions(*empty, &defaults);
  EXPECT_EQ(defaults.max_file_bytes, LogOptions().max_file_bytes);
  EXPECT_EQ(defaults.max_files, LogOptions().max_files);

  auto bad = ConfigFile::Parse("[log]\nmax_files = 0\n", "test");
  ReadLogOptions(*bad, &defaults);
  EXPECT_THAT(bad->Finish().message(), HasSubstr("max_files"));
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
