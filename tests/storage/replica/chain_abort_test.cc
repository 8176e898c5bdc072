#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "storage/replica/chain_core.h"

namespace sheaf::storage {
namespace {

constexpr TargetId kHead{1};
constexpr TargetId kTail{2};
const ChunkId kChunk{DataId(7), 0};

// Notes what the core wants of the one behind and of the engine.
struct NotingHost : ChainHost {
  void Apply(uint64_t ticket, const ChainOpRef&) override { applied.push_back(ticket); }
  void Release(ChunkId, uint64_t) override {}
  void Distrust(const std::vector<StreamTable::Name>&) override {}
  void Revert(ChunkId, uint64_t, uint64_t, const std::vector<StreamTable::Name>&) override {}
  void SendReplicate(TargetId, const ReplicateMessage& message) override {
    sent.push_back(message.op->kind);
  }
  void SendDurable(TargetId, const DurableMessage&) override {}
  void AskCommitted(TargetId, ChainVersion, uint64_t) override {}
  void ReplyReplicate(ReplyId, const Result<ReplicateReply>&) override {}
  void ReplyDurable(ReplyId, const Result<uint64_t>&) override {}
  void ReplyCommitted(ReplyId, const Result<uint64_t>&) override {}
  void Finish(CallId, const Result<MutationResult>&) override {}
  void ServeRead(CallId, uint64_t) override {}
  void FailRead(CallId, const Status&) override {}
  void List(TargetId, const ListStep&) override {}
  void Copy(TargetId, const CopyStep&) override {}
  void RemoveThere(TargetId, const RemoveStep&) override {}
  void SendResults(TargetId, uint64_t) override {}
  void Diverged(ChunkId, uint64_t, const LocalState&, const LocalState&) override {}

  std::vector<uint64_t> applied;
  std::vector<ChainOp::Kind> sent;
};

// The head of a chain of two, with one write under way.
class ChainAbortTest : public testing::Test {
 protected:
  ChainAbortTest() {
    ChainView view;
    view.id = ChainId(1);
    view.version = kVersion;
    view.members = {{kHead, NodeId(1), proto::SERVING}, {kTail, NodeId(2), proto::SERVING}};
    core_.Configure(view);
    auto op = std::make_shared<ChainOp>();
    op->chunk = kChunk;
    op->proposed = kVersion;
    core_.Mutate(1, op);
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

}  // namespace
}  // namespace sheaf::storage
