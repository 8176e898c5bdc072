#include "fuse/directory_attrs.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace sheaf::fuse {
namespace {

using std::chrono::seconds;

constexpr Clock::Instant kNow = seconds(100);

FileAttr Directory(uint64_t version, uint64_t inode = 7) {
  FileAttr attr;
  attr.inode = InodeId(inode);
  attr.mode = S_IFDIR | 0755;
  attr.version = version;
  return attr;
}

class DirectoryAttrsTest : public ::testing::Test {
 protected:
  uint64_t Version(Clock::Instant now = kNow) const {
    const auto known = attrs_.Find(InodeId(7), now);
    return known ? known->attr.version : 0;
  }
  DirectoryAttrs attrs_{seconds(1)};
};

TEST_F(DirectoryAttrsTest, KnowsWhatAChangeTold) {
  EXPECT_EQ(Version(), 0u);
  attrs_.Tell(Directory(3), attrs_.Begin(kNow));
  EXPECT_EQ(Version(), 3u);
  EXPECT_FALSE(attrs_.Find(InodeId(8), kNow).has_value());
}

TEST_F(DirectoryAttrsTest, TrustsItFromBeforeTheChangeOn) {
  attrs_.Tell(Directory(3), attrs_.Begin(kNow));
  const auto later = kNow + std::chrono::milliseconds(600);
  EXPECT_EQ(attrs_.Find(InodeId(7), later)->trusted_for, std::chrono::milliseconds(400));
  EXPECT_EQ(Version(kNow + seconds(1)), 0u);
}

TEST_F(DirectoryAttrsTest, KeepsTheLaterOfTwoChangesWhicheverIsAnsweredFirst) {
  const auto before = attrs_.Begin(kNow);
  attrs_.Tell(Directory(5), before);
  attrs_.Tell(Directory(4), before);
  EXPECT_EQ(Version(), 5u);
}

TEST_F(DirectoryAttrsTest, AChangeThatTellsNothingOutdatesThoseBeforeAndUnderWay) {
  attrs_.Tell(Directory(3), attrs_.Begin(kNow));
  const auto under_way = attrs_.Begin(kNow);
  attrs_.Forget();
  EXPECT_EQ(Version(), 0u);
  attrs_.Tell(Directory(4), under_way);
  EXPECT_EQ(Version(), 0u) << "it may have come before the one that told nothing";
  attrs_.Tell(Directory(6), attrs_.Begin(kNow));
  EXPECT_EQ(Version(), 6u);
}

TEST_F(DirectoryAttrsTest, ANewerVersionSeenElsewhereOutdatesIt) {
  attrs_.Tell(Directory(3), attrs_.Begin(kNow));
  attrs_.Seen(Directory(3));
  EXPECT_EQ(Version(), 3u);
  attrs_.Seen(Directory(4));
  EXPECT_EQ(Version(), 0u);
}

TEST_F(DirectoryAttrsTest, HoldsSoManyAndNoMore) {
  for (uint64_t i = 0; i < DirectoryAttrs::kMaxDirectories; ++i) {
    attrs_.Tell(Directory(1, 100 + i), attrs_.Begin(kNow));
  }
  attrs_.Tell(Directory(3), attrs_.Begin(kNow));
  EXPECT_EQ(Version(), 3u);
  EXPECT_FALSE(attrs_.Find(InodeId(100), kNow).has_value());
}

}  // namespace
}  // namespace sheaf::fuse
