#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

#include "common/fd.h"
#include "tests/support/eventually.h"
#include "tests/support/temp_dir.h"

// The program itself: what it says and how it exits.

namespace sheaf::meta {
namespace {

using sheaf::testing::Eventually;
using sheaf::testing::TempDir;

struct Outcome {
  int exit_code = -1;
  std::string errors;  // standard error
};

class MetaMainTest : public ::testing::Test {
 protected:
  std::string WriteConfig(const std::string& text) {
    const std::string path = dir_ / "meta.toml";
    std::ofstream(path) << text;
    return path;
  }

  std::string GoodConfig() {
    return WriteConfig(
        "data_dir = \"" + (dir_ / "state") +
        "\"\nlisten = \"127.0.0.1:0\"\nframed = \"127.0.0.1:0\"\nmetrics = \"\"\n[log]\nfile = \"" +
        (dir_ / "log") + "\"\n");
  }

  static Outcome Run(const std::string& arguments) {
    Outcome outcome;
    const std::string command =
        std::string(SHEAF_META_BINARY) + " " + arguments + " 2>&1 >/dev/null";
    FILE* pipe = popen(command.c_str(), "r");
    CHECK(pipe != nullptr);
    for (int c; (c = fgetc(pipe)) != EOF;) outcome.errors.push_back(static_cast<char>(c));
    const int status = pclose(pipe);
    outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return outcome;
  }

  void ExpectUsageError(const std::string& config, const std::string& named) {
    const Outcome outcome = Run("--config " + WriteConfig(config));
    EXPECT_EQ(outcome.exit_code, 2) << config;
    EXPECT_NE(outcome.errors.find("sheaf-meta: error: "), std::string::npos);
    EXPECT_NE(outcome.errors.find(named), std::string::npos) << outcome.errors;
    EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'), 1)
        << "one line: " << outcome.errors;
    EXPECT_NE(access((dir_ / "state").c_str(), F_OK), 0) << "nothing was touched";
  }

  TempDir dir_;
};

TEST_F(MetaMainTest, ConfigurationErrorsAreOneLineAndExitTwo) {
  const std::string dir = "data_dir = \"" + (dir_ / "state") + "\"\n";
  ExpectUsageError(dir + "colour = 1\n", "colour");
  ExpectUsageError("listen = \"127.0.0.1:0\"\n", "data_dir");
  ExpectUsageError(dir + "lease_ms = 5\n", "lease_ms");
  ExpectUsageError(dir + "lease_ms = 600\n", "heartbeat_ms");
  ExpectUsageError(dir + "session_lease_ms = 6000\n", "session_renew_ms");
  ExpectUsageError(dir + "listen = \"nowhere\"\n", "nowhere");
  ExpectUsageError(dir + "framed = \"unix:/run/meta.sock\"\n", "unix:/run/meta.sock");
  ExpectUsageError(dir + "[log]\nlevel = \"loud\"\n", "loud");
  EXPECT_EQ(Run("").exit_code, 2);
  EXPECT_EQ(Run("--config /does/not/exist").exit_code, 2);
  EXPECT_EQ(Run("--help").exit_code, 0);
  EXPECT_EQ(Run("--version").exit_code, 0);
}

TEST_F(MetaMainTest, ADirectoryThatIsNotOursIsLeftAlone) {
  mkdir((dir_ / "state").c_str(), 0755);
  std::ofstream(dir_ / "state/precious") << "data";
  const Outcome outcome = Run("--config " + GoodConfig());
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.errors.find(dir_ / "state"), std::string::npos) << outcome.errors;
  EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'), 1);
  EXPECT_NE(access((dir_ / "state/db").c_str(), F_OK), 0);
}

TEST_F(MetaMainTest, StopsCleanlyOnSigterm) {
  const std::string config = GoodConfig();
  std::string program = SHEAF_META_BINARY, option = "--config", value = config;
  char* arguments[] = {program.data(), option.data(), value.data(), nullptr};
  pid_t pid = 0;
  ASSERT_EQ(posix_spawn(&pid, program.c_str(), nullptr, nullptr, arguments, environ), 0);
  auto log = [&] {
    std::ifstream file(dir_ / "log");
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  EXPECT_TRUE(Eventually([&] { return log().find("serving cluster") != std::string::npos; }));
  EXPECT_EQ(Run("--config " + config).exit_code, 1) << "a second one on the same directory";
  kill(pid, SIGTERM);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_NE(log().find("stopped"), std::string::npos);
}

}  // namespace
}  // namespace sheaf::meta
