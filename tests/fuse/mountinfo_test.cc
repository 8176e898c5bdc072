#include "fuse/mountinfo.h"

#include <gtest/gtest.h>

namespace sheaf::fuse {
namespace {

constexpr std::string_view kText =
    "22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n"
    "90 28 0:50 / /mnt/data rw,relatime - fuse.sheaf 127.0.0.1:7700 rw,user_id=0\n"
    "91 28 0:51 / /mnt/with\\040blank rw - fuse.sheaf 127.0.0.1:7700 rw\n"
    "92 90 0:52 / /mnt/data rw - tmpfs tmpfs rw\n";

TEST(FindMountDeviceTest, TakesTheLastMountOnADirectory) {
  EXPECT_EQ(FindMountDevice(kText, "/mnt/data"), "0:52");
  EXPECT_EQ(FindMountDevice(kText, "/sys"), "0:20");
}

TEST(FindMountDeviceTest, UndoesTheKernelsEscapes) {
  EXPECT_EQ(FindMountDevice(kText, "/mnt/with blank"), "0:51");
}

TEST(FindMountDeviceTest, AnswersNoneForWhatIsNotMounted) {
  EXPECT_EQ(FindMountDevice(kText, "/mnt"), std::nullopt);
  EXPECT_EQ(FindMountDevice("", "/"), std::nullopt);
  EXPECT_EQ(FindMountDevice("torn lin", "/"), std::nullopt);
}

}  // namespace
}  // namespace sheaf::fuse
