#include "common/state_dir.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <fstream>
#include <sstream>

#include "tests/support/sync_log.h"
#include "tests/support/temp_dir.h"

namespace sheaf {
namespace {

using sheaf::testing::SyncLog;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class StateDirTest : public ::testing::Test {
 protected:
  Result<StateDir> Open(uint32_t format = 1, bool create = true, const std::string& kind = "meta") {
    return StateDir::Open(path_, kind, format, create);
  }
  void WriteMarker(const std::string& text) {
    std::filesystem::create_directories(path_);
    std::ofstream(path_ + "/SHEAF") << text;
  }
  std::string Marker() {
    std::ostringstream text;
    text << std::ifstream(path_ + "/SHEAF").rdbuf();
    return text.str();
  }

  sheaf::testing::TempDir dir_;
  std::string path_ = dir_ / "a/state";
};

TEST_F(StateDirTest, MakesAndFindsAgain) {
  auto made = Open();
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  const std::string uuid = made->uuid();
  EXPECT_EQ(uuid.size(), 36u);
  EXPECT_EQ(Marker(), "sheaf state directory\nkind=meta\nformat=1\nuuid=" + uuid + "\n");
  made = Status(Code::kIo, "let go");
  std::ofstream(path_ + "/data") << "x";
  auto found = Open(1, false);
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  EXPECT_EQ(found->uuid(), uuid);
  EXPECT_EQ(found->path(), path_);
}

TEST_F(StateDirTest, OpensAnOlderFormatAndSaysWhich) {
  { ASSERT_TRUE(Open(2).ok()); }
  auto found = Open(5);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->format_version(), 2u);
}

TEST_F(StateDirTest, RefusesANewerFormat) {
  { ASSERT_TRUE(Open(3).ok()); }
  const Status status = Open(2).status();
  EXPECT_EQ(status.code(), Code::kUnsupported);
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr(path_), HasSubstr("format 3"), HasSubstr("up to 2"), HasSubstr("newer")));
}

TEST_F(StateDirTest, RefusesAForeignDirectoryAndLeavesItAlone) {
  std::filesystem::create_directories(path_);
  std::ofstream(path_ + "/thesis.txt") << "years of work";
  const Status status = Open().status();
  EXPECT_EQ(status.code(), Code::kExists);
  EXPECT_THAT(status.message(), AllOf(HasSubstr(path_), HasSubstr("thesis.txt"), HasSubstr("empty")));
  EXPECT_FALSE(std::filesystem::exists(path_ + "/SHEAF"));
}

TEST_F(StateDirTest, TakesAFreshDiskAndAnInterruptedCreation) {
  std::filesystem::create_directories(path_ + "/lost+found");
  std::ofstream(path_ + "/SHEAF.new") << "sheaf st";
  EXPECT_TRUE(Open().ok());
}

TEST_F(StateDirTest, RefusesAnotherKind) {
  { ASSERT_TRUE(Open(1, true, "storage").ok()); }
  const Status status = Open().status();
  EXPECT_EQ(status.code(), Code::kInvalid);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("kind storage"), HasSubstr("not meta")));
}

TEST_F(StateDirTest, RefusesADamagedMarker) {
  const std::string uuid = "1b4e28ba-2fa1-41d2-883f-0016d3cca427";
  const std::string damaged[] = {
      "", "hello\n", "sheaf state directory\n",
      "sheaf state directory\nkind=meta\nformat=x\nuuid=" + uuid + "\n",
      "sheaf state directory\nkind=meta\nformat=0\nuuid=" + uuid + "\n",
      "sheaf state directory\nkind=meta\nformat=1\nuuid=1b4e\n",
      "sheaf state directory\nkind=meta\nformat=99999999999\nuuid=" + uuid + "\n",
      "sheaf state directory\nkind=meta\nformat=1\nuuid=" + uuid,  // cut short
      std::string(100000, 'x')};
  for (const std::string& text : damaged) {
    WriteMarker(text);
    EXPECT_EQ(Open().status().code(), Code::kCorrupt) << text.substr(0, 100);
    EXPECT_EQ(Marker(), text) << "a damaged marker is left for a person to look at";
  }
}

TEST_F(StateDirTest, DoesNotCreateUnlessAsked) {
  EXPECT_EQ(Open(1, false).status().code(), Code::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(path_));
  std::filesystem::create_directories(path_);
  EXPECT_EQ(Open(1, false).status().code(), Code::kNotFound);
}

TEST_F(StateDirTest, NamesAPathThatIsNoDirectory) {
  path_ = dir_ / "file";
  std::ofstream(path_) << "x";
  EXPECT_EQ(Open().status().code(), Code::kNotDirectory);
  EXPECT_THAT(Open().status().message(), HasSubstr(path_));
  path_ = "";
  EXPECT_EQ(Open().status().code(), Code::kUsage);
}

TEST_F(StateDirTest, RefusesASecondHolderInThisProcess) {
  auto first = Open();
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(Open().status().code(), Code::kBusy);
}

TEST_F(StateDirTest, RefusesASecondProcessUntilTheFirstIsKilled) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  UniqueFd read_end(ready[0]), write_end(ready[1]);
  const pid_t child = fork();
  if (child == 0) {
    auto held = Open();
    const char byte = held.ok() ? 'y' : 'n';
    if (write(write_end.get(), &byte, 1) != 1) _exit(1);
    pause();
    _exit(0);
  }
  char byte = 0;
  ASSERT_EQ(read(read_end.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'y');
  const Status second = Open().status();
  EXPECT_EQ(second.code(), Code::kBusy);
  EXPECT_THAT(second.message(), AllOf(HasSubstr(path_), HasSubstr("another process")));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(Open().ok());
}

TEST_F(StateDirTest, WriteFileDurablyReplacesTheWhole) {
  std::filesystem::create_directories(path_);
  UniqueFd fd(open(path_.c_str(), O_RDONLY | O_DIRECTORY));
  ASSERT_TRUE(WriteFileDurably(fd.get(), "f", "long first text", "test").ok());
  ASSERT_TRUE(WriteFileDurably(fd.get(), "f", "second", "test").ok());
  std::ostringstream text;
  text << std::ifstream(path_ + "/f").rdbuf();
  EXPECT_EQ(text.str(), "second");
  EXPECT_FALSE(std::filesystem::exists(path_ + "/f.new"));
}

TEST_F(StateDirTest, EachNewDirectoryIsSyncedInItsParent) {
  const SyncLog log(dir_.path());
  ASSERT_TRUE(Open().ok());
  const std::string marker = std::to_string(Marker().size());
  EXPECT_THAT(log.events(),
              ElementsAre("fsync .", "fsync a", "fsync a/state/SHEAF.new, " + marker + " bytes",
                          "rename a/state/SHEAF.new to a/state/SHEAF", "fsync a/state"));
}

TEST_F(StateDirTest, WriteFileDurablySyncsContentThenNameThenDirectory) {
  UniqueFd fd(open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY));
  const SyncLog log(dir_.path());
  ASSERT_TRUE(WriteFileDurably(fd.get(), "f", "content", "test").ok());
  EXPECT_THAT(log.events(), ElementsAre("fsync f.new, 7 bytes", "rename f.new to f", "fsync ."));
}

}  // namespace
}  // namespace sheaf
