#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "storage/replica/chain_core.h"
#include "tests/storage/replica/noting_host.h"

namespace sheaf::storage {
namespace {

// The head of a chain of two, whose changes are all durable there as soon as they are made.
class ChainTokensTest : public testing::Test {
 protected:
  static constexpr ChainVersion kVersion{1};

  ChainTokensTest() { Configure(kVersion); }

  void Configure(ChainVersion version) {
    ChainView view;
    view.id = ChainId(1);
    view.version = version;
    view.members = {{TargetId(1), NodeId(1), proto::SERVING},
                    {TargetId(2), NodeId(2), proto::SERVING}};
    core_.Configure(view);
  }
  void Change(int count) {
    for (int i = 0; i < count; ++i) {
      auto op = std::make_shared<ChainOp>();
      op->chunk = {DataId(7), ++changes_};
      op->proposed = core_.version();
      core_.Mutate(changes_, op);
      core_.OnApplied(host_.applied.back(), op->chunk, LocalState{ChunkVersion(1), 10, 1});
    }
  }

  uint32_t changes_ = 0;
  NotingHost host_;
  ChainCore core_{ChainId(1), TargetId(1), host_};
};

TEST_F(ChainTokensTest, WhatBecomesDurableWhileTwoAreUnderWaySharesTheNext) {
  Change(5);
  EXPECT_EQ(host_.tokens, (std::vector<uint64_t>{1, 2}));
  core_.OnDurableReply(kVersion, uint64_t{0});
  EXPECT_EQ(host_.tokens, (std::vector<uint64_t>{1, 2, 5}));
  core_.OnDurableReply(kVersion, uint64_t{0});
  core_.OnDurableReply(kVersion, uint64_t{0});
  Change(1);
  EXPECT_EQ(host_.tokens, (std::vector<uint64_t>{1, 2, 5, 6}));
}

TEST_F(ChainTokensTest, OnesThatWereLostAreSentAgain) {
  Change(5);
  core_.OnDurableReply(kVersion, Status(Code::kDeadline, "lost"));
  core_.OnDurableReply(kVersion, Status(Code::kDeadline, "lost"));
  EXPECT_EQ(host_.tokens.size(), 2u) << "not at once";
  core_.Tick();
  EXPECT_EQ(host_.tokens.back(), 5u);
}

TEST_F(ChainTokensTest, ThoseOfAnEarlierVersionDoNotCount) {
  Change(5);
  Configure(ChainVersion(2));
  EXPECT_EQ(host_.tokens, (std::vector<uint64_t>{1, 2, 5}));
  core_.OnDurableReply(kVersion, uint64_t{0});  // comes late
  core_.OnDurableReply(kVersion, uint64_t{0});
  Change(2);
  EXPECT_EQ(host_.tokens, (std::vector<uint64_t>{1, 2, 5, 6}));
}

}  // namespace
}  // namespace sheaf::storage
