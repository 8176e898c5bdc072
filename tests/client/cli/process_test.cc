#include "client/cli/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>

#include "tests/support/temp_dir.h"

namespace sheaf::cli {
namespace {

using ::testing::HasSubstr;

constexpr std::chrono::milliseconds kSoon{20'000};

class ProcessTest : public ::testing::Test {
 protected:
  Daemon Make(const std::string& binary, std::vector<std::string> arguments) {
    return {"d", binary, std::move(arguments), dir_ / "pid", dir_ / "out", dir_ / "log"};
  }
  // Runs until it is told to end.
  Daemon Waiting() { return Make("/usr/bin/tail", {"-f", "/dev/null"}); }

  sheaf::testing::TempDir dir_;
};

TEST_F(ProcessTest, StartsIsFoundAndStops) {
  const Daemon daemon = Waiting();
  auto process = Process::Start(daemon);
  ASSERT_TRUE(process.ok()) << process.status().ToString();
  pid_t written = 0;
  std::ifstream(daemon.pid_file) >> written;
  EXPECT_EQ(written, process->pid());
  const auto found = Process::Find(daemon);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->pid(), process->pid());
  Stop(*process, "d", kSoon);
  EXPECT_FALSE(process->Running());
  EXPECT_EQ(process->HowItEnded(), "signal 15");
  EXPECT_FALSE(Process::Find(daemon).has_value());
}

TEST_F(ProcessTest, DoesNotTakeAnotherProcessForTheDaemon) {
  auto process = Process::Start(Waiting());
  ASSERT_TRUE(process.ok());
  EXPECT_FALSE(Process::Find(Make("/usr/bin/other", {"-f", "/dev/null"})).has_value());
  EXPECT_FALSE(Process::Find(Make("/usr/bin/tail", {"-f", "/other"})).has_value());
  std::ofstream(dir_ / "pid") << getpid() << "\n";
  EXPECT_FALSE(Process::Find(Waiting()).has_value()) << "a number that was given again";
  std::ofstream(dir_ / "pid") << "rubbish\n";
  EXPECT_FALSE(Process::Find(Waiting()).has_value());
  Stop(*process, "d", kSoon);
}

TEST_F(ProcessTest, TellsHowAndWithWhichWordsItEnded) {
  std::ofstream(dir_ / "out") << "from an earlier run\n";
  const Daemon daemon = Make("/bin/sh", {"-c", "echo disk on fire >&2; exit 3"});
  auto process = Process::Start(daemon);
  ASSERT_TRUE(process.ok());
  ASSERT_TRUE(process->WaitForEnd(kSoon));
  EXPECT_EQ(process->HowItEnded(), "exit code 3");
  std::ofstream(dir_ / "log") << "the log's line\n";
  const std::string words = LastWords(daemon, std::string("from an earlier run\n").size());
  EXPECT_THAT(words, HasSubstr("disk on fire"));
  EXPECT_THAT(words, HasSubstr("the log's line"));
  EXPECT_THAT(words, ::testing::Not(HasSubstr("earlier run")));
}

TEST_F(ProcessTest, NamesABinaryThatCannotBeStarted) {
  const Status status = Process::Start(Make("/no/such/sheaf-meta", {"x"})).status();
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("/no/such/sheaf-meta"));
  EXPECT_THAT(FindBinary("no-such-daemon").status().message(), HasSubstr("no-such-daemon"));
}

TEST_F(ProcessTest, ToolsAnswerWithWhatTheyWrote) {
  EXPECT_EQ(*RunTool({"echo", "hello"}), "hello\n");
  EXPECT_THAT(RunTool({"sh", "-c", "echo no >&2; exit 1"}).status().message(), HasSubstr("sh: no"));
  EXPECT_THAT(RunTool({"no-such-tool"}).status().message(), HasSubstr("not installed"));
}

}  // namespace
}  // namespace sheaf::cli
