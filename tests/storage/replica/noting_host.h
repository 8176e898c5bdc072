#pragma once

#include <map>
#include <vector>

#include "storage/replica/chain_core.h"

namespace sheaf::storage {

// Notes what a ChainCore wants of the one behind, of the engine and of those who asked.
struct NotingHost : ChainHost {
  struct Finished {
    CallId call = 0;
    Result<MutationResult> answer;
  };

  void Apply(uint64_t ticket, const ChainOpRef&) override { applied.push_back(ticket); }
  void Release(ChunkId, uint64_t) override {}
  void Distrust(const std::vector<StreamTable::Name>&) override {}
  void Revert(ChunkId, uint64_t, uint64_t ticket,
              const std::vector<StreamTable::Name>& names) override {
    reverted.push_back(ticket);
    undone.push_back(names);
  }
  void SendReplicate(TargetId, const ReplicateMessage& message) override {
    sent.push_back(message.op->kind);
  }
  void SendDurable(TargetId, const DurableMessage& message) override {
    tokens.push_back(message.durable);
  }
  void AskCommitted(TargetId, ChainVersion, uint64_t) override {}
  void ReplyReplicate(ReplyId reply, const Result<ReplicateReply>& answer) override {
    replies.emplace(reply, answer);
  }
  void ReplyDurable(ReplyId, const Result<uint64_t>&) override {}
  void ReplyCommitted(ReplyId, const Result<uint64_t>&) override {}
  void Finish(CallId call, const Result<MutationResult>& answer) override {
    finished.push_back({call, answer});
  }
  void ServeRead(CallId, uint64_t) override {}
  void FailRead(CallId, const Status&) override {}
  void List(TargetId, const ListStep& step) override { lists.push_back(step); }
  void Copy(TargetId, const CopyStep&) override {}
  void RemoveThere(TargetId, const RemoveStep&) override {}
  void SendResults(TargetId, uint64_t step) override { results.push_back(step); }
  void Diverged(ChunkId, uint64_t, const LocalState&, const LocalState&) override { ++diverged; }

  std::vector<uint64_t> applied;
  std::vector<uint64_t> reverted;
  std::vector<std::vector<StreamTable::Name>> undone;  // by each of them
  std::vector<ChainOp::Kind> sent;
  std::vector<uint64_t> tokens;  // through which change
  std::vector<Finished> finished;
  std::vector<ListStep> lists;
  std::vector<uint64_t> results;  // of which step
  std::map<ReplyId, Result<ReplicateReply>> replies;
  int diverged = 0;
};

}  // namespace sheaf::storage
