#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "storage/replica/chain_core.h"
#include "tests/storage/replica/noting_host.h"

namespace sheaf::storage {
namespace {

constexpr TargetId kHead{1};
constexpr TargetId kTail{2};
const ChunkId kChunk{DataId(7), 0};

// The head of a chain of two, with one write under way.
class ChainAbortTest : public testing::Test {
 protected:
  ChainAbortTest() {
    ChainView view;
    view.id = ChainId(1);
    view.version = kVersion;
    view.members = {{kHead, NodeId(1), proto::SERVING}, {kTail, NodeId(2), proto::SERVING}};
    core_.Configure(view);
    Write(1, 1);
  }

  void Write(CallId call, uint64_t sequence) {
    auto op = std::make_shared<ChainOp>();
    op->chunk = {DataId(7), static_cast<uint32_t>(sequence - 1)};
    op->proposed = kVersion;
    op->name = {Incarnation(9), 1, sequence};
    core_.Mutate(call, op);
  }

  static constexpr ChainVersion kVersion{1};
  const std::vector<ChainOp::Kind> write_and_abort_{ChainOp::Kind::kWrite, ChainOp::Kind::kAbort};
  NotingHost host_;
  ChainCore core_{ChainId(1), kHead, host_};
};

TEST_F(ChainAbortTest, IsSentOnWithoutAnotherChangeWhenTheHeadFails) {
  core_.OnApplied(host_.applied.at(0), kChunk, Status(Code::kNoSpace, "full"));
  EXPECT_EQ(host_.sent, write_and_abort_);
}

TEST_F(ChainAbortTest, IsSentOnWithoutAnotherChangeWhenOneBehindFails) {
  core_.OnApplied(host_.applied.at(0), kChunk, LocalState{ChunkVersion(1), 10, 1});
  core_.OnReplicateReply(kVersion, 1, ReplicateReply{0, {}, Status(Code::kNoSpace, "full")});
  EXPECT_EQ(host_.sent, write_and_abort_);
}

// Until then a slower member may store the first one's end over the second one's.
TEST_F(ChainAbortTest, TheNextOfTheStreamWaitsUntilEveryMemberHasUndoneTheFirst) {
  core_.OnApplied(host_.applied.at(0), kChunk, Status(Code::kNoSpace, "full"));
  core_.OnReverted(host_.reverted.at(0), Status::Ok());
  Write(2, 2);
  EXPECT_EQ(host_.applied.size(), 1u);
  EXPECT_EQ(host_.finished.at(0).answer.status().code(), Code::kBusy);
  core_.OnReplicateReply(kVersion, 2, ReplicateReply{2, {}, Status::Ok()});
  EXPECT_EQ(host_.finished.at(1).answer.status().code(), Code::kNoSpace);
  Write(3, 2);
  EXPECT_EQ(host_.applied.size(), 2u);
}

TEST_F(ChainAbortTest, NamesWhatItUndoesAndNotWhatAnEarlierOneHasUndone) {
  core_.OnApplied(host_.applied.at(0), kChunk, Status(Code::kNoSpace, "full"));
  core_.OnReverted(host_.reverted.at(0), Status::Ok());
  auto other = std::make_shared<ChainOp>();
  other->chunk = kChunk;
  other->proposed = kVersion;
  other->name = {Incarnation(9), 2, 1};
  core_.Mutate(2, other);
  core_.OnApplied(host_.applied.at(1), kChunk, Status(Code::kNoSpace, "full"));
  EXPECT_EQ(host_.undone.at(1), std::vector{other->name});
}

TEST_F(ChainAbortTest, WhatWasMadeOfAFailedChangeIsNotCompared) {
  Write(2, 1);  // joins
  auto later = std::make_shared<ChainOp>();
  later->chunk = kChunk;
  later->proposed = kVersion;
  core_.Mutate(3, later);
  core_.OnApplied(host_.applied.at(0), kChunk, Status(Code::kNoSpace, "full"));
  core_.OnApplied(host_.applied.at(1), kChunk, LocalState{ChunkVersion(1), 10, 1});
  core_.OnReplicateReply(kVersion, 2, ReplicateReply{0, {ChunkVersion(2), 10, 2}, Status::Ok()});
  EXPECT_EQ(host_.diverged, 0);
}

}  // namespace
}  // namespace sheaf::storage
