#include "client/meta/request_ledger.h"

#include <gtest/gtest.h>

namespace sheaf::client {
namespace {

TEST(RequestLedgerTest, CountsFromOneAndKeepsTheLowestUnanswered) {
  RequestLedger ledger(Incarnation(9));
  EXPECT_EQ(ledger.Begin(), 1u);
  EXPECT_EQ(ledger.Begin(), 2u);
  EXPECT_EQ(ledger.Begin(), 3u);
  EXPECT_EQ(ledger.Lowest(), 1u);
  ledger.End(2);
  EXPECT_EQ(ledger.Lowest(), 1u);
  ledger.End(1);
  EXPECT_EQ(ledger.Lowest(), 3u);
}

}  // namespace
}  // namespace sheaf::client
