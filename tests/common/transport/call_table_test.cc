#include "common/transport/call_table.h"

#include <gtest/gtest.h>

#include <vector>

namespace sheaf::transport {
namespace {

using std::chrono::seconds;

class CallTableTest : public ::testing::Test {
 protected:
  uint64_t Insert(size_t into, seconds deadline = seconds(100)) {
    Call call;
    call.into = std::span(room_).first(into);
    call.deadline = deadline;
    return table_.Insert(std::move(call), [](Result<Reply>) {}).id;
  }
  std::vector<uint64_t> Admit() {
    std::vector<uint64_t> ids;
    while (PendingCall* call = table_.AdmitNext()) ids.push_back(call->id);
    return ids;
  }
  using Ids = std::vector<uint64_t>;

  std::vector<uint8_t> room_ = std::vector<uint8_t>(5000);
  CallTable table_{{.request_credits = 3, .byte_credits = 1000}};
};

TEST_F(CallTableTest, AdmitsAsManyAsThereAreRequestCredits) {
  for (int i = 0; i < 5; ++i) Insert(0);
  EXPECT_EQ(Admit(), (Ids{1, 2, 3}));
  table_.Take(*table_.Find(2));
  EXPECT_EQ(Admit(), Ids{4});
}

TEST_F(CallTableTest, ALargeCallKeepsLaterOnesWaiting) {
  Insert(600);
  Insert(600);
  Insert(10);
  EXPECT_EQ(Admit(), Ids{1});
  table_.Take(*table_.Find(1));
  EXPECT_EQ(Admit(), (Ids{2, 3}));
}

TEST_F(CallTableTest, ACallOverAllCreditsGoesAlone) {
  Insert(10);
  Insert(5000);
  EXPECT_EQ(Admit(), Ids{1});
  table_.Take(*table_.Find(1));
  EXPECT_EQ(Admit(), Ids{2});
}

TEST_F(CallTableTest, AWaitingCallThatLeavesMakesRoom) {
  for (int i = 0; i < 5; ++i) Insert(0);
  EXPECT_EQ(Admit(), (Ids{1, 2, 3}));
  table_.Take(*table_.Find(4));
  table_.Take(*table_.Find(1));
  EXPECT_EQ(Admit(), Ids{5});
}

TEST_F(CallTableTest, FindsWhatHasExpiredAndTheNextDeadline) {
  Insert(0, seconds(30));
  Insert(0, seconds(10));
  Insert(0, seconds(20));
  EXPECT_EQ(table_.earliest_deadline(), seconds(10));
  EXPECT_EQ(table_.Expired(seconds(10)), Ids{2});
  EXPECT_EQ(table_.earliest_deadline(), seconds(20));
}

TEST_F(CallTableTest, WhatIsCancelledExpiresAtOnce) {
  Insert(0);
  Call call;
  call.deadline = seconds(100);
  call.tag = 77;
  const uint64_t id = table_.Insert(std::move(call), [](Result<Reply>) {}).id;
  EXPECT_FALSE(table_.Cancel(78));
  EXPECT_FALSE(table_.Cancel(0));
  EXPECT_EQ(table_.earliest_deadline(), seconds(100));
  EXPECT_TRUE(table_.Cancel(77));
  EXPECT_EQ(table_.Expired(seconds(1)), Ids{id});
  EXPECT_TRUE(table_.Find(id)->cancelled);
}

TEST_F(CallTableTest, KnowsWhichIdsItGaveOut) {
  const uint64_t id = Insert(0);
  table_.Take(*table_.Find(id));
  EXPECT_TRUE(table_.WasIssued(id));
  EXPECT_FALSE(table_.WasIssued(id + 1));
  EXPECT_FALSE(table_.WasIssued(0));
}

}  // namespace
}  // namespace sheaf::transport
