#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "storage/replica/chain_core.h"
#include "tests/storage/replica/noting_host.h"

namespace sheaf::storage {
namespace {

constexpr TargetId kSender{1};
constexpr TargetId kMember{2};
constexpr TargetId kHead{3};
constexpr ChainVersion kVersion{1};
constexpr ChainVersion kNext{2};
const ChunkId kChunk{DataId(7), 0};
const StreamTable::Name kName{Incarnation(9), 1, 5};
constexpr uint64_t kFingerprint = 11;

// A member that is brought up to date.
class ChainResyncTest : public testing::Test {
 protected:
  ChainResyncTest() { Configure(kVersion, proto::SYNCING); }

  void Configure(ChainVersion version, proto::TargetState state) {
    ChainView view;
    view.id = ChainId(1);
    view.version = version;
    view.members = {{kSender, NodeId(1), proto::SERVING}, {kMember, NodeId(2), state}};
    core_.Configure(view);
  }
  Status List(uint64_t number, bool from_first) {
    return core_.CheckList(kVersion, kSender, number, from_first);
  }
  // The last message of a resync.
  Status Complete(uint64_t number) {
    EXPECT_TRUE(core_.BeginSync(kVersion, kSender, number).ok());
    core_.EndSync();
    return core_.SetComplete(kVersion, 0, number);
  }
  // A change that the sender mirrors.
  void Mirror(uint64_t sequence) {
    auto op = std::make_shared<ChainOp>();
    op->chunk = kChunk;
    op->name = kName;
    op->fingerprint = kFingerprint;
    core_.OnReplicate(sequence, {kVersion, kSender, sequence, 0, 0, false, op});
  }
  void LoseChange() {
    Mirror(1);
    core_.OnApplied(host_.applied.at(0), kChunk, Status(Code::kNoSpace, "full"));
  }

  NotingHost host_;
  ChainCore core_{ChainId(1), kMember, host_};
};

TEST_F(ChainResyncTest, WhoLostAChangeIsNotCompleteUntilItIsComparedAnewHoweverOftenItIsAsked) {
  ASSERT_TRUE(List(1, true).ok());
  LoseChange();
  EXPECT_EQ(Complete(2).code(), Code::kCorrupt);
  EXPECT_EQ(Complete(3).code(), Code::kCorrupt);  // the answer was lost on the way
  EXPECT_TRUE(List(4, false).ok());
  EXPECT_EQ(Complete(5).code(), Code::kCorrupt);
  EXPECT_FALSE(core_.complete());
  EXPECT_TRUE(List(6, true).ok());
  EXPECT_TRUE(Complete(7).ok());
  EXPECT_TRUE(core_.complete());
}

TEST_F(ChainResyncTest, TheResultOfALostChangeIsLearned) {
  ASSERT_TRUE(List(1, true).ok());
  LoseChange();
  core_.OnDurable(2, {kVersion, kSender, 1, 0, 1});
  const StreamTable::Stream done{kName.sequence, kFingerprint, 0, true, {}};
  EXPECT_TRUE(core_.streams().Learn(kName, done));
  EXPECT_EQ(core_.streams().Judge(kName, kFingerprint).verdict, StreamTable::Verdict::kAnswer);
}

// The one that brings it up to date, alone in the chain.
class ResyncSenderTest : public testing::Test {
 protected:
  ResyncSenderTest() { Configure({}); }

  void Configure(std::vector<MemberView> before) {
    ChainView view;
    view.id = ChainId(1);
    view.version = before.empty() ? kVersion : kNext;
    view.members = std::move(before);
    view.members.push_back({kSender, NodeId(1), proto::SERVING});
    view.members.push_back({kMember, NodeId(2), proto::SYNCING});
    core_.Configure(view);
  }

  static ChunkFacts Facts(uint32_t index, uint32_t checksum) {
    return {{DataId(7), index}, 10, ChunkVersion(1), kVersion, checksum, 4096};
  }
  // The list that was asked for last: chunk 0 is the same on both, chunk 1 is not.
  void AnswerList() {
    const ListStep step = host_.lists.back();
    ListPair lists;
    lists.here.end = lists.there.end = true;
    for (uint32_t index : {0u, 1u}) {
      if (!step.range.Contains({DataId(7), index})) continue;
      lists.here.chunks.push_back(Facts(index, 1));
      lists.there.chunks.push_back(Facts(index, index == 0 ? 1 : 2));
    }
    core_.OnLists(step.step, lists);
  }
  void Write(uint32_t index) {
    auto op = std::make_shared<ChainOp>();
    op->chunk = {DataId(7), index};
    op->proposed = kVersion;
    core_.Mutate(1, op);
  }

  NotingHost host_;
  ChainCore core_{ChainId(1), kSender, host_};
};

TEST_F(ResyncSenderTest, AnAbortThatTheWindowWaitsForIsNotHeldUpByWhatWaitsForTheWindow) {
  // Passes chunk 0 first: of the pair of lists it sees chunk 0 alone.
  ListPair first;
  first.here.chunks = first.there.chunks = {Facts(0, 1)};
  core_.OnLists(host_.lists.back().step, first);  // the window ends with chunk 0
  core_.OnLists(host_.lists.back().step, first);
  Write(0);      // mirrored
  Write(1);      // skipped
  AnswerList();  // a window with chunk 1, which waits for what is under way there
  Write(1);      // held
  core_.OnApplied(host_.applied.at(1), {DataId(7), 1}, LocalState{ChunkVersion(2), 10, 1});
  core_.OnApplied(host_.applied.at(0), {DataId(7), 0}, Status(Code::kNoSpace, "full"));
  core_.OnReverted(host_.reverted.at(0), Status::Ok());
  core_.OnReplicateReply(kVersion, 2, ReplicateReply{2, {}, Status::Ok()});
  EXPECT_EQ(core_.committed(), 0u);
  core_.Tick();
  EXPECT_EQ(host_.sent, (std::vector{ChainOp::Kind::kWrite, ChainOp::Kind::kWrite,
                                     ChainOp::Kind::kWrite, ChainOp::Kind::kAbort}));
}

TEST_F(ResyncSenderTest, WhatWasMirroredBeforeAResyncBeganAnewIsNotCommittedThereButUndone) {
  ListPair nothing;
  nothing.here.end = nothing.there.end = true;
  core_.OnLists(host_.lists.back().step, nothing);
  core_.OnLists(host_.lists.back().step, nothing);
  Write(0);  // mirrored
  core_.OnStep(host_.results.at(0), Status(Code::kCorrupt, "a change was lost"));
  core_.Tick();  // from the first chunk
  core_.OnApplied(host_.applied.at(0), {DataId(7), 0}, Status(Code::kNoSpace, "full"));
  core_.OnReverted(host_.reverted.at(0), Status::Ok());
  core_.OnReplicateReply(kVersion, 1, ReplicateReply{1, {}, Status::Ok()});
  EXPECT_EQ(core_.committed(), 0u);
  EXPECT_TRUE(host_.tokens.empty());
  core_.OnReplicateReply(kVersion, 2, ReplicateReply{2, {}, Status::Ok()});
  EXPECT_EQ(core_.committed(), 2u);
}

TEST_F(ResyncSenderTest, AnAbortOfWhatIsHeldFollowsAnEarlierOne) {
  Configure({{kHead, NodeId(3), proto::SERVING}});
  const auto receive = [&](uint64_t sequence, uint64_t abort_from) {
    auto op = std::make_shared<ChainOp>();
    op->kind = abort_from == 0 ? ChainOp::Kind::kWrite : ChainOp::Kind::kAbort;
    op->chunk = {DataId(7), 1};
    op->abort_from = abort_from;
    core_.OnReplicate(sequence, {kNext, kHead, sequence, 0, 0, false, op});
  };
  receive(1, 0);
  AnswerList();  // a window with the chunk
  receive(2, 1);
  core_.OnApplied(host_.applied.at(0), {DataId(7), 1}, LocalState{ChunkVersion(2), 10, 1});
  receive(3, 0);
  receive(4, 0);
  receive(5, 4);
  ASSERT_EQ(host_.reverted.size(), 1u);
  core_.OnReverted(host_.reverted.at(0), Status::Ok());
  EXPECT_EQ(host_.reverted.size(), 2u);
}

}  // namespace
}  // namespace sheaf::storage
