#include <algorithm>
#include <atomic>
#include <future>

#include "tests/cluster/cluster_fixture.h"

// Files over real servers, through the library.

namespace sheaf::testing {
namespace {

constexpr size_t kMiB = 1 << 20;

class ClusterFileTest : public ClusterFixture {
 protected:
  void SetUp() override {
    StartCluster();
    if (cluster_ != nullptr) client_ = Connect();
  }
  static bool AllZero(const std::vector<uint8_t>& bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; });
  }
  std::unique_ptr<Client> client_;
};

TEST_F(ClusterFileTest, AFileOfManyChunksIsReadBackHereAndByAnother) {
  const auto bytes = PatternAt(0, 37 * kMiB + 4321);
  {
    const auto file = Open(*client_, "/big");
    ASSERT_EQ(*file->Write(0, bytes), bytes.size());
    EXPECT_TRUE(ReadAll(*file, 0, bytes.size() + 10) == bytes);
    ASSERT_TRUE(file->Close().ok());
  }
  const auto other = Connect();
  const auto file = Open(*other, "/big", O_RDONLY);
  EXPECT_EQ(file->Stat()->size, bytes.size());
  EXPECT_TRUE(ReadAll(*file, 0, bytes.size()) == bytes);
  const auto part = ReadAll(*file, 4 * kMiB - 5, 4 * kMiB + 10);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), bytes.begin() + 4 * kMiB - 5));
}

TEST_F(ClusterFileTest, HolesReadAsZerosAndOffsetsGoPast4GiB) {
  const auto file = Open(*client_, "/sparse");
  constexpr uint64_t kFar = (uint64_t{5} << 30) + 12345;
  const auto bytes = PatternAt(kFar, 100'000);
  ASSERT_TRUE(file->Write(kFar, bytes).ok());
  EXPECT_EQ(file->Stat()->size, kFar + bytes.size());
  EXPECT_TRUE(AllZero(ReadAll(*file, 0, 9 * kMiB)));
  EXPECT_TRUE(AllZero(ReadAll(*file, kFar - 1000, 1000)));
  EXPECT_TRUE(ReadAll(*file, kFar, bytes.size()) == bytes);
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_EQ(Connect()->StatPath("/sparse")->size, kFar + bytes.size());
}

TEST_F(ClusterFileTest, TruncationCutsAndExtendsWithZeros) {
  const auto file = Open(*client_, "/cut");
  const auto bytes = PatternAt(0, 13 * kMiB);
  ASSERT_TRUE(file->Write(0, bytes).ok());
  constexpr size_t kKeep = 5 * kMiB + 777;
  ASSERT_TRUE(file->Truncate(kKeep).ok());
  EXPECT_EQ(file->Stat()->size, kKeep);
  ASSERT_TRUE(file->Truncate(20 * kMiB).ok());
  const auto head = ReadAll(*file, 0, kKeep);
  EXPECT_TRUE(std::equal(head.begin(), head.end(), bytes.begin()));
  EXPECT_TRUE(AllZero(ReadAll(*file, kKeep, 20 * kMiB)));
  ASSERT_TRUE(file->Truncate(0).ok());
  EXPECT_EQ(ReadAll(*file, 0, 100).size(), 0u);
  ASSERT_TRUE(file->Truncate(kMiB).ok());
  EXPECT_TRUE(AllZero(ReadAll(*file, 0, kMiB)));
  ASSERT_TRUE(file->Write(10, PatternAt(10, 20)).ok());
  EXPECT_TRUE(ReadAll(*file, 10, 20) == PatternAt(10, 20));
}

TEST_F(ClusterFileTest, OpeningWithTruncationEmptiesAFileThatIsOpenElsewhere) {
  const auto file = Open(*client_, "/file");
  ASSERT_TRUE(file->Write(0, PatternAt(0, 5000)).ok());
  const auto again = Open(*client_, "/file", O_RDWR | O_TRUNC);
  EXPECT_EQ(file->Stat()->size, 0u);
  ASSERT_TRUE(file->Write(0, PatternAt(0, 10, 1)).ok());
  EXPECT_TRUE(ReadAll(*again, 0, 100) == PatternAt(0, 10, 1));
}

TEST_F(ClusterFileTest, AnUnlinkedFileLivesWhileItIsOpen) {
  const auto file = Open(*client_, "/gone");
  const auto bytes = PatternAt(0, 6 * kMiB);
  ASSERT_TRUE(file->Write(0, bytes).ok());
  ASSERT_TRUE(client_->UnlinkPath("/gone").ok());
  EXPECT_EQ(client_->StatPath("/gone").status().code(), Code::kNotFound);
  EXPECT_TRUE(ReadAll(*file, 0, bytes.size()) == bytes);
  ASSERT_TRUE(file->Write(bytes.size(), PatternAt(bytes.size(), 100)).ok());
  EXPECT_EQ(file->Stat()->nlink, 0u);
  EXPECT_TRUE(file->Sync().ok());
  EXPECT_TRUE(file->Close().ok());
}

TEST_F(ClusterFileTest, ARenamedFileKeepsItsBytesAndHandles) {
  ASSERT_TRUE(client_->MkdirPath("/dir").ok());
  const auto file = Open(*client_, "/a");
  ASSERT_TRUE(file->Write(0, PatternAt(0, 1000)).ok());
  const auto victim = Open(*client_, "/dir/b");
  ASSERT_TRUE(victim->Write(0, PatternAt(0, 1000, 5)).ok());
  ASSERT_TRUE(client_->RenamePath("/a", "/dir/b").ok());
  ASSERT_TRUE(file->Write(1000, PatternAt(1000, 1000)).ok());
  EXPECT_TRUE(ReadAll(*Open(*client_, "/dir/b", O_RDONLY), 0, 5000) == PatternAt(0, 2000));
  EXPECT_TRUE(ReadAll(*victim, 0, 5000) == PatternAt(0, 1000, 5));
}

TEST_F(ClusterFileTest, ThirtyTwoReadsAtATimeNeedNoThreads) {
  const auto file = Open(*client_, "/random");
  const auto bytes = PatternAt(0, 24 * kMiB);
  ASSERT_TRUE(file->Write(0, bytes).ok());
  constexpr int kReads = 2000;
  constexpr size_t kBlock = 4096;
  std::vector<std::vector<uint8_t>> blocks(32, std::vector<uint8_t>(kBlock));
  std::atomic<int> started = 0;
  std::atomic<int> finished = 0;
  std::atomic<int> wrong = 0;
  std::promise<void> all;
  std::function<void(size_t)> next = [&](size_t slot) {
    const int number = started++;
    if (number >= kReads) return;
    const uint64_t offset = static_cast<uint64_t>(number) * 7919 % (bytes.size() - kBlock);
    file->ReadAsync(offset, blocks[slot], [&, slot, offset](const Result<size_t>& got) {
      const bool right = got.ok() && *got == kBlock &&
                         std::equal(blocks[slot].begin(), blocks[slot].end(),
                                    bytes.begin() + static_cast<ptrdiff_t>(offset));
      if (!right) ++wrong;
      const bool last = ++finished == kReads;
      next(slot);
      if (last) all.set_value();
    });
  };
  for (size_t slot = 0; slot < blocks.size(); ++slot) next(slot);
  all.get_future().wait();
  EXPECT_EQ(wrong, 0);
}

TEST_F(ClusterFileTest, NamesAreHeldToPosixLimits) {
  const std::string longest(255, 'n');
  EXPECT_TRUE(client_->MkdirPath("/" + longest).ok());
  EXPECT_EQ(client_->MkdirPath("/" + longest + "n").status().code(), Code::kNameTooLong);
  EXPECT_EQ(client_->OpenPath("/missing/x", O_RDWR | O_CREAT).status().code(), Code::kNotFound);
  EXPECT_EQ(client_->OpenPath("/" + longest, O_RDWR).status().code(), Code::kIsDirectory);
}

TEST_F(ClusterFileTest, LinksAreFollowedAndADanglingOneCreatesItsTarget) {
  const Credentials me = Credentials::OfProcess();
  ASSERT_TRUE(client_->MkdirPath("/d").ok());
  ASSERT_TRUE(client_->Symlink(me, kRootInode, "link", "d/target").ok());
  const auto file = Open(*client_, "/link");
  ASSERT_TRUE(file->Write(0, PatternAt(0, 10)).ok());
  EXPECT_EQ(client_->StatPath("/d/target")->inode, file->inode());
  EXPECT_TRUE(S_ISLNK(client_->StatPath("/link", false)->mode));
  EXPECT_EQ(client_->OpenPath("/link", O_RDWR | O_CREAT | O_EXCL).status().code(), Code::kExists);
}

}  // namespace
}  // namespace sheaf::testing
