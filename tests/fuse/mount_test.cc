#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>
#include <utility>

#include "common/buffer.h"
#include "common/fd.h"
#include "fuse/operations.h"
#include "fuse/session.h"
#include "tests/support/eventually.h"
#include "tests/support/fake_client.h"

// A real mount, the kernel included, over the fake client: what the kernel makes of our answers.

namespace sheaf::fuse {
namespace {

bool MustRun() {
  const char* ci = std::getenv("CI");
  return ci != nullptr && std::string_view(ci) == "true";
}

class MountTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (access("/dev/fuse", R_OK | W_OK) != 0) {
      if (MustRun()) FAIL() << "/dev/fuse is missing: run modprobe fuse";
      GTEST_SKIP() << "/dev/fuse is missing";
    }
    char pattern[] = "/tmp/sheaf_mount_test.XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    directory_ = pattern;
    options_.meta_address = "fake:1";
    options_.directory = directory_;
    operations_ = std::make_unique<Operations>(&client_, options_, &metrics_, &Clock::System());
    auto session = Session::Mount(options_, operations_.get());
    ASSERT_TRUE(session.ok()) << session.status().ToString();
    session_ = std::move(*session);
    loop_ = std::thread([this] { EXPECT_TRUE(session_->Run().ok()); });
    ASSERT_TRUE(session_->WaitUntilReady(std::chrono::seconds(30)));
  }

  void TearDown() override {
    if (loop_.joinable()) {
      session_->Stop();
      loop_.join();
    }
    session_.reset();
    if (!directory_.empty()) rmdir(directory_.c_str());
  }

  std::string Path(const std::string& name) const { return directory_ + "/" + name; }

  static void WriteFile(const std::string& path, const std::string& text) {
    std::ofstream out(path, std::ios::binary);
    out << text;
    out.close();
    ASSERT_TRUE(out.good()) << path;
  }
  static std::string ReadFile(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static struct stat Stat(const std::string& path) {
    struct stat attr {};
    EXPECT_EQ(lstat(path.c_str(), &attr), 0) << path << ": " << strerror(errno);
    return attr;
  }

  FakeClient client_;
  Metrics metrics_;
  MountOptions options_;
  std::string directory_;
  std::unique_ptr<Operations> operations_;
  std::unique_ptr<Session> session_;
  std::thread loop_;
};

TEST_F(MountTest, ReadsBackWhatWasWritten) {
  const std::string text(3'000'001, 'x');
  WriteFile(Path("file"), text);
  EXPECT_EQ(ReadFile(Path("file")), text);
  EXPECT_EQ(Stat(Path("file")).st_size, 3'000'001);
}

TEST_F(MountTest, KeepsTimesSetAfterWritesOnAnOpenFile) {
  const UniqueFd fd(open(Path("file").c_str(), O_CREAT | O_WRONLY, 0644));
  ASSERT_EQ(write(fd.get(), "abc", 3), 3);
  const timespec times[2] = {{1000, 1}, {2000, 123456789}};
  ASSERT_EQ(futimens(fd.get(), times), 0);
  ASSERT_EQ(close(dup(fd.get())), 0);  // a flush
  const struct stat attr = Stat(Path("file"));
  EXPECT_EQ(attr.st_mtim.tv_sec, 2000);
  EXPECT_EQ(attr.st_mtim.tv_nsec, 123456789);
  EXPECT_EQ(attr.st_size, 3);
}

TEST_F(MountTest, ShowsTimesThatNoLaterCloseChanges) {
  const UniqueFd fd(open(Path("file").c_str(), O_CREAT | O_WRONLY, 0644));
  ASSERT_EQ(write(fd.get(), "abc", 3), 3);
  struct stat open_attr {};
  ASSERT_EQ(fstat(fd.get(), &open_attr), 0);
  ASSERT_EQ(close(dup(fd.get())), 0);
  const struct stat closed_attr = Stat(Path("file"));
  EXPECT_EQ(open_attr.st_mtim.tv_sec, closed_attr.st_mtim.tv_sec);
  EXPECT_EQ(open_attr.st_mtim.tv_nsec, closed_attr.st_mtim.tv_nsec);
  EXPECT_EQ(open_attr.st_size, 3);
}

TEST_F(MountTest, ShowsTheLengthOfAFileBeingWrittenByAnyPath) {
  const UniqueFd fd(open(Path("file").c_str(), O_CREAT | O_WRONLY, 0644));
  ASSERT_EQ(write(fd.get(), "abc", 3), 3);
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    EXPECT_EQ(entry.file_size(), 3u);
  }
  ASSERT_EQ(link(Path("file").c_str(), Path("other").c_str()), 0);
  EXPECT_EQ(Stat(Path("other")).st_size, 3);
}

TEST_F(MountTest, TruncatesAtOpenAndByLength) {
  WriteFile(Path("file"), "hello world");
  ASSERT_EQ(truncate(Path("file").c_str(), 5), 0);
  EXPECT_EQ(ReadFile(Path("file")), "hello");
  ASSERT_EQ(truncate(Path("file").c_str(), 7), 0);
  EXPECT_EQ(ReadFile(Path("file")), std::string("hello\0\0", 7));
  const UniqueFd fd(open(Path("file").c_str(), O_WRONLY | O_TRUNC));
  EXPECT_EQ(Stat(Path("file")).st_size, 0);
}

TEST_F(MountTest, ReadsAndWritesThroughASharedMapping) {
  constexpr size_t kSize = 64 << 10;
  WriteFile(Path("file"), std::string(kSize, 'a'));
  const UniqueFd fd(open(Path("file").c_str(), O_RDWR));
  auto* memory =
      static_cast<char*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  ASSERT_NE(memory, MAP_FAILED);
  EXPECT_EQ(memory[kSize - 1], 'a');
  memory[5000] = 'b';
  ASSERT_EQ(msync(memory, kSize, MS_SYNC), 0);
  ASSERT_EQ(munmap(memory, kSize), 0);
  const UniqueFd direct(open(Path("file").c_str(), O_RDONLY | O_DIRECT));
  AlignedBuffer buffer(8192);
  ASSERT_EQ(pread(direct.get(), buffer.data(), 8192, 0), 8192);
  EXPECT_EQ(buffer.data()[5000], 'b');
}

TEST_F(MountTest, SeesDirectWritesInCachedPages) {
  WriteFile(Path("file"), std::string(8192, 'a'));
  EXPECT_EQ(ReadFile(Path("file"))[0], 'a');
  {
    const UniqueFd direct(open(Path("file").c_str(), O_WRONLY | O_DIRECT));
    AlignedBuffer buffer(4096);
    std::memset(buffer.data(), 'b', 4096);
    ASSERT_EQ(pwrite(direct.get(), buffer.data(), 4096, 0), 4096);
  }
  EXPECT_EQ(ReadFile(Path("file")), std::string(4096, 'b') + std::string(4096, 'a'));
}

TEST_F(MountTest, AppendsFromSeveralDescriptors) {
  const UniqueFd first(open(Path("log").c_str(), O_CREAT | O_WRONLY | O_APPEND, 0644));
  const UniqueFd second(open(Path("log").c_str(), O_WRONLY | O_APPEND));
  ASSERT_EQ(write(first.get(), "one ", 4), 4);
  ASSERT_EQ(write(second.get(), "two ", 4), 4);
  ASSERT_EQ(pwrite(first.get(), "three", 5, 0), 5);  // Linux appends here too
  EXPECT_EQ(ReadFile(Path("log")), "one two three");
}

TEST_F(MountTest, AppendsAfterWhatAnotherClientAppended) {
  const UniqueFd fd(open(Path("log").c_str(), O_CREAT | O_RDWR | O_APPEND, 0644));
  ASSERT_EQ(write(fd.get(), "one ", 4), 4);
  ASSERT_EQ(fsync(fd.get()), 0);
  client_.AppendElsewhere(InodeId(Stat(Path("log")).st_ino), "two ");
  ASSERT_EQ(write(fd.get(), "three", 5), 5);
  EXPECT_EQ(ReadFile(Path("log")), "one two three");
}

TEST_F(MountTest, KeepsPagesOfAnUnchangedFileAndDropsOthers) {
  WriteFile(Path("file"), "first");
  EXPECT_EQ(ReadFile(Path("file")), "first");
  const InodeId inode(Stat(Path("file")).st_ino);
  client_.AppendElsewhere(inode, " second");
  // The attribute cache may still show the old length; the open asks anew.
  EXPECT_EQ(ReadFile(Path("file")), "first second");
}

TEST_F(MountTest, HoldsSparseFilesBeyondFourGiB) {
  const UniqueFd fd(open(Path("big").c_str(), O_CREAT | O_RDWR, 0644));
  constexpr off_t kFar = (off_t{5} << 30) + 123;
  ASSERT_EQ(pwrite(fd.get(), "end", 3, kFar), 3);
  EXPECT_EQ(Stat(Path("big")).st_size, kFar + 3);
  char bytes[6] = {1, 1, 1, 1, 1, 1};
  ASSERT_EQ(pread(fd.get(), bytes, 6, kFar - 3), 6);
  EXPECT_EQ(std::string(bytes, 6), std::string("\0\0\0end", 6));
  EXPECT_EQ(lseek(fd.get(), 0, SEEK_DATA), 0);
  EXPECT_EQ(lseek(fd.get(), 0, SEEK_HOLE), kFar + 3);
}

TEST_F(MountTest, TakesNamesOf255BytesAndNoLonger) {
  WriteFile(Path(std::string(255, 'n')), "x");
  EXPECT_EQ(ReadFile(Path(std::string(255, 'n'))), "x");
  EXPECT_EQ(open(Path(std::string(256, 'n')).c_str(), O_CREAT | O_WRONLY, 0644), -1);
  EXPECT_EQ(errno, ENAMETOOLONG);
}

TEST_F(MountTest, ServesAnUnlinkedFileWhileItIsOpen) {
  const UniqueFd fd(open(Path("file").c_str(), O_CREAT | O_RDWR, 0644));
  ASSERT_EQ(write(fd.get(), "abc", 3), 3);
  ASSERT_EQ(unlink(Path("file").c_str()), 0);
  ASSERT_EQ(write(fd.get(), "def", 3), 3);
  char bytes[6];
  ASSERT_EQ(pread(fd.get(), bytes, 6, 0), 6);
  EXPECT_EQ(std::string(bytes, 6), "abcdef");
  struct stat attr {};
  ASSERT_EQ(fstat(fd.get(), &attr), 0);
  EXPECT_EQ(attr.st_nlink, 0u);
  EXPECT_EQ(attr.st_size, 6);
}

TEST_F(MountTest, RenamesOverAnOpenFileAndWithFlags) {
  WriteFile(Path("a"), "A");
  WriteFile(Path("b"), "B");
  const UniqueFd old(open(Path("b").c_str(), O_RDONLY));
  ASSERT_EQ(rename(Path("a").c_str(), Path("b").c_str()), 0);
  EXPECT_EQ(ReadFile(Path("b")), "A");
  char byte = 0;
  ASSERT_EQ(pread(old.get(), &byte, 1, 0), 1);
  EXPECT_EQ(byte, 'B');
  WriteFile(Path("c"), "C");
  EXPECT_EQ(renameat2(AT_FDCWD, Path("c").c_str(), AT_FDCWD, Path("b").c_str(), RENAME_NOREPLACE),
            -1);
  EXPECT_EQ(errno, EEXIST);
  EXPECT_EQ(renameat2(AT_FDCWD, Path("c").c_str(), AT_FDCWD, Path("b").c_str(), RENAME_EXCHANGE),
            0);
  EXPECT_EQ(ReadFile(Path("b")), "C");
}

TEST_F(MountTest, ListsALargeDirectoryOnceEachByPages) {
  constexpr int kFiles = 3000;
  ASSERT_EQ(mkdir(Path("dir").c_str(), 0755), 0);
  for (int i = 0; i < kFiles; ++i) {
    const UniqueFd fd(open(Path("dir/" + std::to_string(i)).c_str(), O_CREAT | O_WRONLY, 0644));
    ASSERT_TRUE(fd.IsOpen());
  }
  std::multiset<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(Path("dir"))) {
    names.insert(entry.path().filename().string());
    EXPECT_TRUE(entry.is_regular_file());
  }
  EXPECT_EQ(names.size(), size_t{kFiles});
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), size_t{kFiles});
}

TEST_F(MountTest, ReadsADirectoryWhileItIsEmptied) {
  constexpr int kFiles = 2000;
  ASSERT_EQ(mkdir(Path("dir").c_str(), 0755), 0);
  for (int i = 0; i < kFiles; ++i) WriteFile(Path("dir/" + std::to_string(i)), "");
  DIR* dir = opendir(Path("dir").c_str());
  ASSERT_NE(dir, nullptr);
  int removed = 0;
  while (const dirent* entry = readdir(dir)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    ASSERT_EQ(unlinkat(dirfd(dir), name.c_str(), 0), 0) << name;
    ++removed;
  }
  closedir(dir);
  EXPECT_EQ(removed, kFiles);
  EXPECT_EQ(rmdir(Path("dir").c_str()), 0);
}

TEST_F(MountTest, ShowsNoRemovedFileOfAPageReadBefore) {
  ASSERT_EQ(mkdir(Path("dir").c_str(), 0755), 0);
  for (int i = 0; i < 1000; ++i) WriteFile(Path("dir/" + std::to_string(i)), "");
  DIR* dir = opendir(Path("dir").c_str());
  ASSERT_NE(readdir(dir), nullptr);  // the first page is here
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(unlink(Path("dir/" + std::to_string(i)).c_str()), 0);
  while (readdir(dir) != nullptr) {
  }
  closedir(dir);
  for (int i = 0; i < 1000; ++i) {
    struct stat attr {};
    EXPECT_EQ(lstat(Path("dir/" + std::to_string(i)).c_str(), &attr), -1) << i;
  }
}

// A busy machine: the answer is made while the file is being written, and arrives after its close.
TEST_F(MountTest, ShowsNoOldLengthOfAListingThatACloseOvertook) {
  int fd = open(Path("file").c_str(), O_CREAT | O_WRONLY, 0644);
  ASSERT_EQ(write(fd, "abc", 3), 3);
  // Not by stat, which would have the length told.
  const InodeId inode = client_.Lookup({}, kRootInode, "file")->inode;
  client_.BeforeAnswers([&] {
    if (fd < 0) return;
    close(std::exchange(fd, -1));
    EXPECT_TRUE(
        sheaf::testing::Eventually([&] { return !operations_->inodes().HasWriters(inode); }));
  });
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) (void)entry;
  EXPECT_EQ(fd, -1);
  EXPECT_EQ(Stat(Path("file")).st_size, 3);
  EXPECT_EQ(ReadFile(Path("file")), "abc");
}

TEST_F(MountTest, KeepsExtendedAttributes) {
  WriteFile(Path("file"), "x");
  const std::string path = Path("file");
  ASSERT_EQ(setxattr(path.c_str(), "user.one", "1", 1, XATTR_CREATE), 0);
  EXPECT_EQ(setxattr(path.c_str(), "user.one", "2", 1, XATTR_CREATE), -1);
  EXPECT_EQ(errno, EEXIST);
  char value[16];
  EXPECT_EQ(getxattr(path.c_str(), "user.one", value, sizeof value), 1);
  EXPECT_EQ(getxattr(path.c_str(), "user.one", nullptr, 0), 1);
  ASSERT_EQ(setxattr(path.c_str(), "user.two", "22", 2, 0), 0);
  EXPECT_EQ(getxattr(path.c_str(), "user.two", value, 1), -1);
  EXPECT_EQ(errno, ERANGE);
  char list[64];
  EXPECT_EQ(listxattr(path.c_str(), list, sizeof list), 18);
  ASSERT_EQ(removexattr(path.c_str(), "user.one"), 0);
  EXPECT_EQ(getxattr(path.c_str(), "user.one", value, sizeof value), -1);
  EXPECT_EQ(errno, ENODATA);
}

TEST_F(MountTest, AsksNotBeforeEachWriteForCapabilities) {
  const UniqueFd fd(open(Path("file").c_str(), O_CREAT | O_WRONLY, 0644));
  const uint64_t before = client_.xattr_reads();
  for (int i = 0; i < 100; ++i) ASSERT_EQ(write(fd.get(), "x", 1), 1);
  EXPECT_LT(client_.xattr_reads() - before, 50u);
}

TEST_F(MountTest, AsksNotForADirectoryThatAChangeHasTold) {
  ASSERT_EQ(mkdir(Path("d").c_str(), 0755), 0);
  WriteFile(Path("d/first"), "x");
  const uint64_t before = client_.attr_reads();
  for (int i = 0; i < 50; ++i) {
    const std::string name = Path("d/f" + std::to_string(i));
    WriteFile(name, "x");
    ASSERT_EQ(unlink(name.c_str()), 0);
  }
  EXPECT_LT(client_.attr_reads() - before, 25u);
}

TEST_F(MountTest, ShowsADirectoryAsItsLastChangeLeftIt) {
  ASSERT_EQ(mkdir(Path("d").c_str(), 0755), 0);
  WriteFile(Path("d/a"), "x");
  const auto mtime = [&] {
    const struct stat attr = Stat(Path("d"));
    return std::make_pair(attr.st_mtim.tv_sec, attr.st_mtim.tv_nsec);
  };
  auto last = mtime();
  const auto changed = [&](int result) {
    EXPECT_EQ(result, 0) << strerror(errno);
    return std::exchange(last, mtime()) < last;
  };
  EXPECT_TRUE(changed(rename(Path("d/a").c_str(), Path("d/b").c_str())));
  EXPECT_TRUE(changed(link(Path("d/b").c_str(), Path("d/c").c_str())));
  EXPECT_TRUE(changed(unlink(Path("d/b").c_str())));
  EXPECT_TRUE(changed(mkdir(Path("d/e").c_str(), 0755)));
  EXPECT_EQ(Stat(Path("d")).st_nlink, 3u);
  EXPECT_TRUE(changed(symlink("x", Path("d/s").c_str())));
  EXPECT_TRUE(changed(mkfifo(Path("d/p").c_str(), 0600)));
  EXPECT_TRUE(changed(rmdir(Path("d/e").c_str())));
  EXPECT_EQ(Stat(Path("d")).st_nlink, 2u);
  WriteFile(Path("d/last"), "x");
  ASSERT_EQ(chmod(Path("d").c_str(), 0700), 0);
  EXPECT_EQ(Stat(Path("d")).st_mode & 07777, 0700u);
  const timespec times[2] = {{1000, 1}, {2000, 5}};
  WriteFile(Path("d/more"), "x");
  ASSERT_EQ(utimensat(AT_FDCWD, Path("d").c_str(), times, 0), 0);
  EXPECT_EQ(Stat(Path("d")).st_mtim.tv_sec, 2000);
}

TEST_F(MountTest, MakesNodesAndSymlinks) {
  ASSERT_EQ(mkfifo(Path("fifo").c_str(), 0600), 0);
  EXPECT_TRUE(S_ISFIFO(Stat(Path("fifo")).st_mode));
  ASSERT_EQ(symlink("some/target", Path("link").c_str()), 0);
  EXPECT_EQ(std::filesystem::read_symlink(Path("link")), "some/target");
  EXPECT_EQ(Stat(Path("link")).st_size, 11);
}

TEST_F(MountTest, SaysHowMuchRoomThereIs) {
  struct statfs stats {};
  ASSERT_EQ(statfs(directory_.c_str(), &stats), 0);
  EXPECT_EQ(stats.f_namelen, 255);
  EXPECT_EQ(static_cast<uint64_t>(stats.f_blocks) * stats.f_bsize, uint64_t{1} << 40);
}

TEST_F(MountTest, AnswersEioWhileTheClusterIsGoneAndGoesOnAfter) {
  const UniqueFd fd(open(Path("file").c_str(), O_CREAT | O_RDWR, 0644));
  ASSERT_EQ(write(fd.get(), "abc", 3), 3);
  client_.SetFailure({Code::kUnavailable, "fake: cluster is gone"});
  EXPECT_EQ(write(fd.get(), "def", 3), -1);
  EXPECT_EQ(errno, EIO);
  EXPECT_EQ(fsync(fd.get()), -1);
  EXPECT_EQ(errno, EIO);
  EXPECT_EQ(close(dup(fd.get())), -1) << "an unsettled length is close's error";
  EXPECT_EQ(mkdir(Path("dir").c_str(), 0755), -1);
  client_.SetFailure(Status::Ok());
  EXPECT_EQ(write(fd.get(), "ghi", 3), 3);
  EXPECT_EQ(close(dup(fd.get())), 0);
  EXPECT_EQ(mkdir(Path("dir").c_str(), 0755), 0);
  EXPECT_EQ(ReadFile(Path("file")).substr(0, 3), "abc");
}

TEST_F(MountTest, RefusesWhatItDoesNotSupport) {
  const UniqueFd fd(open(Path("file").c_str(), O_CREAT | O_RDWR, 0644));
  EXPECT_EQ(fallocate(fd.get(), 0, 0, 4096), -1);
  EXPECT_EQ(errno, EOPNOTSUPP);
  EXPECT_EQ(posix_fallocate(fd.get(), 0, 4096), 0) << "the C library writes zeros instead";
}

TEST_F(MountTest, ForgetsInodesTheKernelForgot) {
  for (int i = 0; i < 100; ++i) WriteFile(Path(std::to_string(i)), "");
  for (int i = 0; i < 100; ++i) ASSERT_EQ(unlink(Path(std::to_string(i)).c_str()), 0);
  session_->Stop();
  loop_.join();
  EXPECT_LE(operations_->inodes().size(), 100u);
}

TEST_F(MountTest, CountsRequestsAndErrors) {
  WriteFile(Path("file"), "x");
  EXPECT_EQ(open(Path("missing").c_str(), O_RDONLY), -1);
  session_->Stop();  // a request is counted after its reply
  loop_.join();
  const std::string text = metrics_.Text();
  EXPECT_NE(text.find("sheaf_fuse_requests_total{operation=\"create\"} 1"), std::string::npos);
  EXPECT_NE(text.find("sheaf_fuse_errors_total{operation=\"rmdir\"} 0"), std::string::npos);
  EXPECT_EQ(text.find("sheaf_fuse_errors_total{operation=\"lookup\"} 0"), std::string::npos);
  EXPECT_NE(text.find("sheaf_fuse_written_bytes_total 1"), std::string::npos);
}

TEST_F(MountTest, UnmountsFromOutside) {
  WriteFile(Path("file"), "x");
  ASSERT_EQ(std::system(("fusermount3 -u " + directory_).c_str()), 0);
  loop_.join();
}

}  // namespace
}  // namespace sheaf::fuse
