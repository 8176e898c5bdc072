#include "meta/cluster/session_table.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/support/fake_clock.h"

namespace sheaf::meta {
namespace {

constexpr std::chrono::milliseconds kLease{15000};
constexpr Incarnation kOne{1};
constexpr Incarnation kTwo{2};

class SessionTableTest : public ::testing::Test {
 protected:
  Status Renew(Incarnation session, uint64_t acked, std::vector<InodeId> pins = {}) {
    return table_.Renew(session, RemovalEpoch(acked), {.inodes = pins}, clock_.Now());
  }
  Status RenewData(Incarnation session, uint64_t acked, std::vector<DataId> pins) {
    return table_.Renew(session, RemovalEpoch(acked), {.data_ids = pins}, clock_.Now());
  }

  FakeClock clock_;
  SessionTable table_{kLease};
};

TEST_F(SessionTableTest, ExpiresOneLeaseAfterTheLastRenewal) {
  table_.Add(kOne, RemovalEpoch(5), clock_.Now());
  clock_.Advance(kLease / 2);
  ASSERT_TRUE(Renew(kOne, 5).ok());
  clock_.Advance(kLease - std::chrono::milliseconds(1));
  EXPECT_TRUE(table_.Expired(clock_.Now()).empty());
  clock_.Advance(std::chrono::milliseconds(1));
  EXPECT_EQ(table_.Expired(clock_.Now()), std::vector{kOne});
}

TEST_F(SessionTableTest, AnEndedSessionCannotRenew) {
  table_.Add(kOne, RemovalEpoch(5), clock_.Now());
  EXPECT_TRUE(table_.End(kOne));
  EXPECT_FALSE(table_.End(kOne));
  EXPECT_EQ(Renew(kOne, 5).code(), Code::kNoSession);
  EXPECT_EQ(Renew(kTwo, 5).code(), Code::kNoSession);
  EXPECT_EQ(table_.AckedByAll(), RemovalEpoch(5)) << "it holds its pins until its end is durable";
  table_.Remove(kOne);
  EXPECT_EQ(table_.AckedByAll().value(), std::numeric_limits<uint64_t>::max());
}

TEST_F(SessionTableTest, TheSlowestSessionDecides) {
  table_.Add(kOne, RemovalEpoch(3), clock_.Now());
  table_.Add(kTwo, RemovalEpoch(9), clock_.Now());
  EXPECT_EQ(table_.AckedByAll(), RemovalEpoch(3));
  ASSERT_TRUE(Renew(kOne, 12).ok());
  EXPECT_EQ(table_.AckedByAll(), RemovalEpoch(9));
}

TEST_F(SessionTableTest, PinsAreThoseOfTheLastRenewalOfAnySession) {
  table_.Add(kOne, RemovalEpoch(), clock_.Now());
  table_.Add(kTwo, RemovalEpoch(), clock_.Now());
  ASSERT_TRUE(Renew(kOne, 4, {InodeId(10), InodeId(11), InodeId(10)}).ok());
  ASSERT_TRUE(Renew(kTwo, 4, {InodeId(11)}).ok());
  EXPECT_TRUE(table_.IsPinned(InodeId(10)));
  ASSERT_TRUE(Renew(kOne, 5, {}).ok());
  EXPECT_FALSE(table_.IsPinned(InodeId(10)));
  EXPECT_TRUE(table_.IsPinned(InodeId(11)));
  table_.Remove(kTwo);
  EXPECT_FALSE(table_.IsPinned(InodeId(11)));
}

TEST_F(SessionTableTest, DataIsPinnedApartFromInodes) {
  table_.Add(kOne, RemovalEpoch(), clock_.Now());
  table_.Add(kTwo, RemovalEpoch(), clock_.Now());
  ASSERT_TRUE(RenewData(kOne, 4, {DataId(10)}).ok());
  ASSERT_TRUE(RenewData(kTwo, 4, {DataId(10), DataId(11)}).ok());
  EXPECT_TRUE(table_.IsPinned(DataId(10)));
  EXPECT_FALSE(table_.IsPinned(InodeId(10)));
  ASSERT_TRUE(RenewData(kTwo, 5, {}).ok());
  EXPECT_TRUE(table_.IsPinned(DataId(10)));
  EXPECT_FALSE(table_.IsPinned(DataId(11)));
  table_.Remove(kOne);
  EXPECT_FALSE(table_.IsPinned(DataId(10)));
}

TEST_F(SessionTableTest, AnOvertakenRenewalDoesNotUndoPins) {
  table_.Add(kOne, RemovalEpoch(), clock_.Now());
  ASSERT_TRUE(Renew(kOne, 6, {InodeId(10)}).ok());
  ASSERT_TRUE(Renew(kOne, 2, {}).ok());
  EXPECT_TRUE(table_.IsPinned(InodeId(10)));
  EXPECT_EQ(table_.AckedByAll(), RemovalEpoch(6));
}

TEST_F(SessionTableTest, ARecoveredSessionHoldsEverythingUntilItRenews) {
  table_.Recover(kOne, clock_.Now());
  EXPECT_EQ(table_.AckedByAll(), RemovalEpoch(0));
  ASSERT_TRUE(Renew(kOne, 8, {InodeId(3)}).ok());
  EXPECT_EQ(table_.AckedByAll(), RemovalEpoch(8));
}

TEST_F(SessionTableTest, RefusesTooManyPins) {
  table_.Add(kOne, RemovalEpoch(), clock_.Now());
  std::vector<InodeId> pins(kMaxPinsPerSession + 1);
  EXPECT_EQ(Renew(kOne, 1, pins).code(), Code::kTooBig);
  pins.pop_back();
  const SessionTable::Pins both{.inodes = pins, .data_ids = {DataId(1)}};
  EXPECT_EQ(table_.Renew(kOne, RemovalEpoch(1), both, clock_.Now()).code(), Code::kTooBig);
}

}  // namespace
}  // namespace sheaf::meta
