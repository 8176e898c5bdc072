#include "meta/kv/space_reserve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <string>

#include "tests/support/fake_clock.h"
#include "tests/support/sync_log.h"
#include "tests/support/temp_dir.h"

namespace sheaf::meta {
namespace {

constexpr uint64_t kBytes = 3 << 20;

class SpaceReserveTest : public ::testing::Test {
 protected:
  uint64_t Held() {
    struct stat attr {};
    return stat(path_.c_str(), &attr) == 0 ? static_cast<uint64_t>(attr.st_blocks) * 512 : 0;
  }

  sheaf::testing::TempDir dir_;
  FakeClock clock_;
  const std::string path_ = dir_ / "reserve";
};

TEST_F(SpaceReserveTest, HoldsSpaceUntilItIsReleased) {
  SpaceReserve reserve(path_, kBytes, clock_);
  ASSERT_EQ(reserve.bytes(), kBytes);
  EXPECT_FALSE(reserve.whole());
  EXPECT_TRUE(reserve.Fill());
  EXPECT_GE(Held(), kBytes);
  reserve.Release();
  EXPECT_FALSE(reserve.whole());
  EXPECT_EQ(Held(), 0u);
  EXPECT_FALSE(reserve.Fill()) << "not so soon after";
  clock_.Advance(std::chrono::seconds(1));
  EXPECT_TRUE(reserve.Fill());
  EXPECT_GE(Held(), kBytes);
}

TEST_F(SpaceReserveTest, AReleaseIsSynced) {
  SpaceReserve reserve(path_, kBytes, clock_);
  ASSERT_TRUE(reserve.Fill());
  const sheaf::testing::SyncLog log(dir_.path());
  reserve.Release();
  EXPECT_THAT(log.events(), ::testing::ElementsAre("fsync reserve, 0 bytes"));
}

TEST_F(SpaceReserveTest, IsFoundWholeByTheNextProcess) {
  EXPECT_TRUE(SpaceReserve(path_, kBytes, clock_).Fill());
  const uint64_t held = Held();
  EXPECT_TRUE(SpaceReserve(path_, kBytes, clock_).Fill());
  EXPECT_EQ(Held(), held);
}

TEST_F(SpaceReserveTest, OfNothingIsWholeAndMakesNoFile) {
  SpaceReserve reserve(path_, 0, clock_);
  EXPECT_TRUE(reserve.Fill());
  reserve.Release();
  EXPECT_TRUE(reserve.whole());
  struct stat attr {};
  EXPECT_NE(stat(path_.c_str(), &attr), 0);
}

TEST_F(SpaceReserveTest, IsASmallPartOfTheDisk) {
  const uint64_t free = FreeBytes(dir_.path());
  EXPECT_GT(free, 0u);
  EXPECT_LT(SpaceReserve(path_, UINT64_MAX / 2, clock_).bytes(), uint64_t{1} << 50);
}

TEST_F(SpaceReserveTest, CannotBeTakenWhereNoFileCanBeMade) {
  SpaceReserve reserve("/proc/sheaf/reserve", kBytes, clock_);
  EXPECT_FALSE(reserve.Fill());
}

}  // namespace
}  // namespace sheaf::meta
