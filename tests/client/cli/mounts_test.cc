#include "client/cli/mounts.h"

#include <gtest/gtest.h>

namespace sheaf::cli {
namespace {

constexpr const char* kText =
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "40 22 0:45 / /mnt/a rw,nosuid shared:7 master:2 - fuse.sheaf 127.0.0.1:7700 rw\n"
    "41 22 0:46 /sub /mnt/with\\040space rw - fuse.sheaf host:1 rw\n"
    "42 40 0:47 / /mnt/a/inner rw - tmpfs tmpfs rw\n"
    "43 22 0:48 / /mnt/b rw - fuse.sheaf old:1 rw\n"
    "44 43 0:49 / /mnt/b rw - ext4 /dev/sdb rw\n"
    "broken line\n";

TEST(MountsTest, ReadsMountInfo) {
  const auto mounts = ParseMountInfo(kText);
  ASSERT_EQ(mounts.size(), 6u);
  EXPECT_EQ(mounts[1].point, "/mnt/a");
  EXPECT_EQ(mounts[1].type, kMountType);
  EXPECT_EQ(mounts[1].source, "127.0.0.1:7700");
  EXPECT_EQ(mounts[2].point, "/mnt/with space");
  EXPECT_EQ(mounts[2].root, "/sub");
}

TEST(MountsTest, FindsTheInnermostAndTopmost) {
  const auto mounts = ParseMountInfo(kText);
  EXPECT_EQ(FindMountOf(mounts, "/mnt/a/x/y")->point, "/mnt/a");
  EXPECT_EQ(FindMountOf(mounts, "/mnt/a")->point, "/mnt/a");
  EXPECT_EQ(FindMountOf(mounts, "/mnt/ab")->point, "/");
  EXPECT_EQ(FindMountOf(mounts, "/mnt/a/inner/z")->type, "tmpfs");
  EXPECT_EQ(FindMountOf(mounts, "/mnt/b/z")->type, "ext4");
  EXPECT_EQ(FindMountOf({}, "/x"), nullptr);
}

TEST(MountsTest, ReadsThisMachines) { EXPECT_NE(FindMountOf(ReadMounts(), "/proc"), nullptr); }

}  // namespace
}  // namespace sheaf::cli
