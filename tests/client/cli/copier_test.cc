#include "client/cli/copier.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "common/fd.h"
#include "tests/support/fake_client.h"
#include "tests/support/temp_dir.h"

// Between two local trees: the walk, the pieces and the attributes are the same for every tree.

namespace sheaf::cli {
namespace {

namespace fs = std::filesystem;

std::string Contents(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

struct stat Lstat(const std::string& path) {
  struct stat found {};
  EXPECT_EQ(lstat(path.c_str(), &found), 0) << path;
  return found;
}

void SetTimes(const std::string& path, int64_t seconds, int64_t nanos) {
  const timespec times[] = {{seconds, nanos}, {seconds + 1, nanos + 1}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
}

class CopierTest : public ::testing::Test {
 protected:
  CopierTest() { fs::create_directory(from()); }
  std::string from() { return dir_ / "from"; }
  std::string to() { return dir_ / "to"; }

  // Answers the lines of failure.
  std::vector<std::string> Copy(int threads = 4) {
    std::vector<std::string> failures;
    Copier copier(*tree_, *tree_, threads, [&](const std::string& line) { failures.push_back(line); });
    const auto source = tree_->Locate(from());
    const auto target = tree_->Locate(to());
    const auto item = tree_->Find(source->directory, source->name);
    EXPECT_TRUE(item.ok());
    if (item.ok()) copier.Run(source->directory, *item, target->directory, target->name);
    EXPECT_EQ(copier.progress().failures, failures.size());
    return failures;
  }

  sheaf::testing::TempDir dir_;
  std::unique_ptr<Tree> tree_ = MakeLocalTree();
};

TEST_F(CopierTest, KeepsContentsModesTimesAndSymlinks) {
  fs::create_directories(from() + "/a/b");
  std::ofstream(from() + "/a/b/f") << "hello";
  std::ofstream(from() + "/empty").flush();
  ASSERT_EQ(chmod((from() + "/a/b/f").c_str(), 04751), 0);
  fs::create_symlink("../nowhere", from() + "/a/link");
  fs::create_symlink("b", from() + "/a/dirlink");
  SetTimes(from() + "/a/b/f", 1'000'000'000, 123'456'789);
  SetTimes(from() + "/a/link", -5, 999'999'998);
  SetTimes(from() + "/a/b", 1'200'000'000, 7);
  ASSERT_EQ(chmod((from() + "/a/b").c_str(), 0555), 0);

  EXPECT_THAT(Copy(), ::testing::IsEmpty());
  EXPECT_EQ(Contents(to() + "/a/b/f"), "hello");
  EXPECT_EQ(fs::file_size(to() + "/empty"), 0u);
  EXPECT_EQ(fs::read_symlink(to() + "/a/link"), "../nowhere");
  EXPECT_TRUE(fs::is_symlink(to() + "/a/dirlink"));
  for (const char* name : {"/a/b/f", "/a/link", "/a/b"}) {
    const struct stat want = Lstat(from() + name), got = Lstat(to() + name);
    EXPECT_EQ(got.st_mode, want.st_mode) << name;
    EXPECT_EQ(got.st_mtim.tv_sec, want.st_mtim.tv_sec) << name;
    EXPECT_EQ(got.st_mtim.tv_nsec, want.st_mtim.tv_nsec) << name;
  }
  chmod((from() + "/a/b").c_str(), 0755);
  chmod((to() + "/a/b").c_str(), 0755);
}

TEST_F(CopierTest, KeepsHardLinks) {
  std::ofstream(from() + "/one") << "x";
  fs::create_hard_link(from() + "/one", from() + "/two");
  EXPECT_THAT(Copy(), ::testing::IsEmpty());
  EXPECT_EQ(Lstat(to() + "/one").st_ino, Lstat(to() + "/two").st_ino);
  EXPECT_EQ(Lstat(to() + "/one").st_nlink, 2u);
}

TEST_F(CopierTest, CopiesALargeSparseFileInPiecesAndKeepsItSparse) {
  const uint64_t size = (uint64_t{150} << 20) + 12345;
  UniqueFd fd(open((from() + "/big").c_str(), O_RDWR | O_CREAT, 0644));
  std::mt19937 random(1);
  std::string block(100'000, '\0');
  for (char& c : block) c = static_cast<char>(random());
  const uint64_t offsets[] = {7, (uint64_t{64} << 20) - 50'000, size - block.size()};
  for (uint64_t offset : offsets) {
    ASSERT_EQ(pwrite(fd.get(), block.data(), block.size(), static_cast<off_t>(offset)),
              static_cast<ssize_t>(block.size()));
  }
  EXPECT_THAT(Copy(), ::testing::IsEmpty());
  EXPECT_EQ(fs::file_size(to() + "/big"), size);
  EXPECT_EQ(Contents(to() + "/big"), Contents(from() + "/big"));
  EXPECT_LT(Lstat(to() + "/big").st_blocks * 512, 40 << 20);
}

TEST_F(CopierTest, CopiesManyMoreFilesThanItQueues) {
  for (int i = 0; i < 2500; ++i) std::ofstream(from() + "/" + std::to_string(i)) << i;
  EXPECT_THAT(Copy(3), ::testing::IsEmpty());
  for (int i = 0; i < 2500; ++i) ASSERT_EQ(Contents(to() + "/" + std::to_string(i)), std::to_string(i));
}

TEST_F(CopierTest, GoesOverWhatIsThereAndASecondTime) {
  std::ofstream(from() + "/f") << "new";
  fs::create_symlink("new", from() + "/s");
  fs::create_directory(to());
  std::ofstream(dir_ / "outside") << "keep";
  fs::create_symlink(dir_ / "outside", to() + "/f");
  std::ofstream(to() + "/s") << "a file";
  EXPECT_THAT(Copy(), ::testing::IsEmpty());
  EXPECT_THAT(Copy(), ::testing::IsEmpty());
  EXPECT_EQ(Contents(to() + "/f"), "new");
  EXPECT_FALSE(fs::is_symlink(to() + "/f"));
  EXPECT_EQ(fs::read_symlink(to() + "/s"), "new");
  EXPECT_EQ(Contents(dir_ / "outside"), "keep") << "not written through a symlink";
}

TEST_F(CopierTest, ReportsEachFailureAndCopiesTheRest) {
  fs::create_directory(from() + "/d");
  std::ofstream(from() + "/d/inner") << "x";
  std::ofstream(from() + "/f") << "x";
  std::ofstream(from() + "/good") << "x";
  fs::create_directories(to() + "/f/full");
  std::ofstream(to() + "/d") << "a file where a directory has to go";
  const auto failures = Copy();
  EXPECT_EQ(failures.size(), 2u);
  EXPECT_THAT(failures, ::testing::Contains(::testing::HasSubstr("/to/d")));
  EXPECT_THAT(failures, ::testing::Contains(::testing::HasSubstr("/to/f")));
  EXPECT_EQ(Contents(to() + "/good"), "x");
}

TEST_F(CopierTest, CopiesAPipeWithoutReadingIt) {
  ASSERT_EQ(mkfifo((from() + "/pipe").c_str(), 0640), 0);
  EXPECT_THAT(Copy(), ::testing::IsEmpty());
  EXPECT_TRUE(S_ISFIFO(Lstat(to() + "/pipe").st_mode));
  EXPECT_EQ(Lstat(to() + "/pipe").st_mode & 07777, 0640u);
}

// Into a tree that takes small files many at a time.
class CopierBundleTest : public CopierTest {
 protected:
  std::vector<std::string> CopyIn() {
    std::vector<std::string> failures;
    Copier copier(*tree_, *sheaf_, 3, [&](const std::string& line) { failures.push_back(line); });
    const auto source = tree_->Locate(from());
    const auto item = tree_->Find(source->directory, source->name);
    copier.Run(source->directory, *item, {"sheaf:/", kRootInode}, "to");
    EXPECT_EQ(copier.progress().files_done, copier.progress().files_found);
    return failures;
  }
  std::string ContentsIn(const std::string& name) {
    const auto file = client_.OpenPath("/to/" + name, O_RDONLY);
    if (!file.ok()) return file.status().ToString();
    std::vector<uint8_t> bytes(size_t{1} << 20);
    const size_t size = (*file)->Read(0, bytes).value();
    return {bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size)};
  }

  FakeClient fake_;
  Client& client_ = fake_;
  std::unique_ptr<Tree> sheaf_ = MakeSheafTree(client_);
};

TEST_F(CopierBundleTest, CopiesSmallAndLargeFilesWithTheirAttributes) {
  fs::create_directory(from() + "/d");
  for (int i = 0; i < 700; ++i) std::ofstream(from() + "/d/" + std::to_string(i)) << i;
  const std::string large(400'000, 'x'), middling(200'000, 'y');
  std::ofstream(from() + "/large") << large;
  for (int i = 0; i < 30; ++i) std::ofstream(from() + "/m" + std::to_string(i)) << middling << i;
  std::ofstream(from() + "/empty").flush();
  ASSERT_EQ(chmod((from() + "/d/5").c_str(), 0751), 0);
  SetTimes(from() + "/d/5", 1'000'000'000, 123'456'789);
  EXPECT_THAT(CopyIn(), ::testing::IsEmpty());
  for (int i = 0; i < 700; ++i) {
    ASSERT_EQ(ContentsIn("d/" + std::to_string(i)), std::to_string(i));
  }
  EXPECT_EQ(ContentsIn("large"), large);
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(ContentsIn("m" + std::to_string(i)), middling + std::to_string(i));
  }
  EXPECT_EQ(client_.StatPath("/to/empty")->size, 0u);
  const auto attr = client_.StatPath("/to/d/5");
  EXPECT_EQ(attr->mode & 07777, 0751u);
  EXPECT_EQ(attr->mtime_ns, 1'000'000'001'123'456'790);
}

TEST_F(CopierBundleTest, GoesOverWhatIsThere) {
  std::ofstream(from() + "/f") << "new";
  std::ofstream(from() + "/g") << "new, too";
  EXPECT_THAT(CopyIn(), ::testing::IsEmpty());
  std::ofstream(from() + "/f") << "newer";
  EXPECT_THAT(CopyIn(), ::testing::IsEmpty());
  EXPECT_EQ(ContentsIn("f"), "newer");
  EXPECT_EQ(ContentsIn("g"), "new, too");
}

TEST_F(CopierBundleTest, NamesEachFailureAndCopiesTheRest) {
  for (int i = 0; i < 20; ++i) std::ofstream(from() + "/" + std::to_string(i)) << i;
  const Credentials who;
  const InodeId to = client_.Mkdir(who, kRootInode, "to", 0755)->inode;
  ASSERT_TRUE(client_.Mkdir(who, to, "7", 0755).ok());
  const auto failures = CopyIn();
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_THAT(failures[0], ::testing::HasSubstr("sheaf:/to/7"));
  EXPECT_EQ(ContentsIn("19"), "19");
}

}  // namespace
}  // namespace sheaf::cli
