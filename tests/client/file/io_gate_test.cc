#include "client/file/io_gate.h"

#include <gtest/gtest.h>

#include <future>

namespace sheaf::client {
namespace {

using std::chrono::milliseconds;

TEST(IoGateTest, ExclusiveWaitsForSharedWhichLeaveOnAnotherThread) {
  IoGate gate;
  ASSERT_TRUE(gate.EnterShared(milliseconds(0)).ok());
  ASSERT_TRUE(gate.EnterShared(milliseconds(0)).ok());
  auto exclusive = std::async(std::launch::async,
                              [&] { return gate.EnterExclusive(milliseconds(60'000)); });
  gate.LeaveShared();
  gate.LeaveShared();
  EXPECT_TRUE(exclusive.get().ok());
  EXPECT_EQ(gate.EnterShared(milliseconds(1)).code(), Code::kDeadline);
  gate.LeaveExclusive();
  EXPECT_TRUE(gate.EnterShared(milliseconds(0)).ok());
}

TEST(IoGateTest, AnExclusiveThatGivesUpLetsSharedGoOn) {
  IoGate gate;
  ASSERT_TRUE(gate.EnterShared(milliseconds(0)).ok());
  EXPECT_EQ(gate.EnterExclusive(milliseconds(1)).code(), Code::kDeadline);
  EXPECT_TRUE(gate.EnterShared(milliseconds(0)).ok());
}

}  // namespace
}  // namespace sheaf::client
