#pragma once

#include <unordered_map>
#include <vector>

#include "storage/replica/admission.h"
#include "storage/replica/chain_core.h"
#include "tests/sim/chunk_image.h"
#include "tests/sim/network.h"
#include "tests/sim/sim_engine.h"

namespace sheaf::sim {

class SimNode;

// What a client asks, as storage/service decodes it.
struct MutateRequest {
  storage::AdmissionRequest admission;
  ChainOp op;                    // a group: the note
  std::vector<ChunkId> removes;  // a group: of these, those that there are are removed
  bool group = false;
};
struct ReadRequest {
  storage::AdmissionRequest admission;
  ChunkId chunk;
};
using MutateAnswer = storage::MutationResult;

// Of one chain on one node: ChainCore with the host that the product's ChainReplica is for it.
class SimReplica : private storage::ChainHost {
 public:
  // `learns`: as the first of its chain in this life, what the disk remembers of clients.
  SimReplica(SimNode& node, ChainId chain, bool learns);

  storage::ChainCore& core() { return core_; }
  void Configure(const storage::ChainView& view) { core_.Configure(view); }
  // As ChainReplica::Stop.
  void Stop();
  void Forget(const StreamTable::Predicate& over);

  // REQUIRES: admitted.
  void Mutate(const MutateRequest& request, const Network::Responder<MutateAnswer>& reply);
  void Read(const ReadRequest& request, const Network::Responder<Image>& reply);

  // Whether what clients began is over.
  bool idle() const { return mutations_.empty() && reads_.empty(); }

 private:
  using ReplyId = storage::ReplyId;
  using CallId = storage::CallId;

  struct MutationCall {
    storage::AdmissionRequest admission;
    Network::Responder<MutateAnswer> reply;
  };
  struct ReadCall {
    ReadRequest request;
    Network::Responder<Image> reply;
  };

  // ChainHost
  void Apply(uint64_t ticket, const ChainOpRef& op) override;
  void Release(ChunkId chunk, uint64_t ticket) override;
  void Revert(ChunkId chunk, uint64_t from_ticket, uint64_t ticket,
              const std::vector<StreamTable::Name>& undone) override;
  void Distrust(const std::vector<StreamTable::Name>& names) override;
  void SendReplicate(TargetId to, const storage::ReplicateMessage& message) override;
  void SendDurable(TargetId to, const storage::DurableMessage& message) override;
  void AskCommitted(TargetId tail, ChainVersion version, uint64_t query) override;
  void ReplyReplicate(ReplyId reply, const Result<storage::ReplicateReply>& answer) override;
  void ReplyDurable(ReplyId reply, const Result<uint64_t>& committed) override;
  void ReplyCommitted(ReplyId reply, const Result<uint64_t>& committed) override;
  void Finish(CallId call, const Result<storage::MutationResult>& answer) override;
  void ServeRead(CallId call, uint64_t upto) override;
  void FailRead(CallId call, const Status& status) override;
  void List(TargetId peer, const storage::ListStep& step) override;
  void Copy(TargetId peer, const storage::CopyStep& step) override;
  void RemoveThere(TargetId peer, const storage::RemoveStep& step) override;
  void SendResults(TargetId peer, uint64_t step) override;
  void Diverged(ChunkId chunk, uint64_t sequence, const LocalState& here,
                const LocalState& there) override;

  // Runs in this life of the node, later.
  void Later(Time delay, Action action);
  void MutateGroup(CallId call, const MutateRequest& request);
  void SendRead(CallId call, uint64_t upto);
  // Calls the replica of the chain at `to`; kUnavailable when there is none.
  template <typename Answer, typename Handle>
  void CallPeer(TargetId to, Handle handle, std::function<void(const Result<Answer>&)> done);
  void CopyOne(TargetId peer, const storage::CopyStep& step, ChainVersion version);
  void CopyPiece(TargetId peer, const storage::CopyStep& step, ChainVersion version,
                 const Content& content, uint32_t begin);
  void CopySeal(TargetId peer, const storage::CopyStep& step, ChainVersion version);

  // The receiver's side of a resync.
  using Ack = Network::Responder<bool>;
  struct SyncFrom {
    ChainVersion version;
    TargetId from;
    uint64_t step = 0;
    uint64_t number = 0;
  };
  void OnSyncList(const SyncFrom& sync, const storage::ListStep& step,
                  const Network::Responder<storage::ListPage>& reply);
  void OnSyncPiece(const SyncFrom& sync, ChunkId chunk, const Content& content, uint32_t begin,
                   uint32_t end, const Ack& reply);
  void OnSyncSeal(const SyncFrom& sync, const storage::ChunkFacts& facts, const Ack& reply);
  void OnSyncRemove(const SyncFrom& sync, const std::vector<ChunkId>& chunks, const Ack& reply);
  void OnSyncResults(const SyncFrom& sync, const std::vector<SimEngine::Row>& rows, uint64_t base,
                     const Ack& reply);
  SyncFrom Sync(ChainVersion version, uint64_t step);
  Status BeginSync(const SyncFrom& sync);
  void EndSync(uint32_t life, const Ack& reply, const Status& status);
  void TraceApplied(uint64_t ticket, ChunkId chunk, const Result<LocalState>& state);
  void TraceAnswer(uint64_t sequence, const Result<storage::ReplicateReply>& answer);
  void TraceSync(const SyncFrom& sync, const std::string& what);

  SimNode& node_;
  const ChainId chain_;
  SimEngine& engine_;
  storage::ChainCore core_;

  uint64_t next_id_ = 1;
  uint64_t last_number_ = 0;  // of messages of a resync
  std::unordered_map<CallId, MutationCall> mutations_;
  std::unordered_map<CallId, ReadCall> reads_;
  std::unordered_map<ReplyId, Network::Responder<storage::ReplicateReply>> replicate_replies_;
  std::unordered_map<ReplyId, Network::Responder<uint64_t>> number_replies_;
};

}  // namespace sheaf::sim
