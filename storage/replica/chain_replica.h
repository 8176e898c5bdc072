#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "common/ids.h"
#include "proto/cluster.pb.h"
#include "proto/replica.pb.h"
#include "storage/engine/engine.h"
#include "storage/replica/chain_core.h"
#include "storage/replica/peers.h"
#include "storage/replica/repairer.h"
#include "storage/replica/resync_mover.h"
#include "storage/replica/sent_changes.h"
#include "storage/replica/stage_forward.h"

namespace sheaf::storage {

// This node's replica of one chain: where every request for the chain goes. It runs ChainCore over
// the engine and the neighbours; the rules are there. The object lives as long as the node has the
// chain, across chain versions.
//
// Every event enters the core under one mutex, and what the core wants of the engine and of the
// neighbours is begun under it, so that both get the chain's changes in its order. What answers a
// caller runs after it is let go, on the caller's own context.
//
// Thread safety: all calls; those that take an IoContext on that context's thread.
class ChainReplica final : public std::enable_shared_from_this<ChainReplica>, private ChainHost {
 public:
  // What it reaches the rest of the chain by. A chain of one member needs none of it.
  struct Env {
    Peers* peers = nullptr;
    IoContext* home = nullptr;  // where neighbours' answers are taken in
    ResyncMover* mover = nullptr;
    Repairer* repairer = nullptr;  // null: what is damaged stays so
  };
  // Asked under the mutex: nothing that it refuses is begun, nor was begun before without being
  // under way.
  using Admission = std::function<Status()>;
  template <typename T>
  using Done = std::function<void(Result<T>)>;

  ChainReplica(ChainId chain, TargetId self, Engine& engine, const Env& env);

  const Engine& engine() const { return engine_; }

  // What the disk remembers of clients; before anything else.
  void Learn(const Engine::StreamRow& row);
  void Configure(const ChainView& view);
  // Answers whoever waits; nothing is begun any more.
  void Stop();
  bool stopped() const;
  void Tick();

  // ---- clients ----
  void Read(IoContext& io, ChunkId chunk, uint32_t offset, uint32_t length,
            const Admission& admission, Engine::ReadDone done);
  // `op` without its version and context, which are set here.
  void Mutate(IoContext& io, ChainOp op, const Admission& admission, Done<MutationResult> done);
  struct RemoveArgs {
    DataId data_id;
    uint32_t first_index = 0;
    uint32_t limit = 0;
    StreamTable::Name name;
    uint64_t fingerprint = 0;
  };
  void Remove(IoContext& io, const RemoveArgs& args, const Admission& admission,
              Done<MutationResult> done);
  void List(IoContext& io, std::optional<ChunkId> after, std::optional<DataId> only, uint32_t limit,
            Engine::ListDone done);

  // ---- neighbours ----
  void OnReplicateRequest(IoContext& io, const proto::ReplicateRequest& request, BufferRef buffer,
                          std::span<const uint8_t> payload, Done<proto::ReplicateResponse> done);
  // The same of a change whose bytes came ahead; `forward` has passed them on, if anybody is behind.
  void OnStagedReplicate(IoContext& io, const proto::ReplicateRequest& request, BufferRef buffer,
                         std::shared_ptr<StageForward> forward,
                         Done<proto::ReplicateResponse> done);
  void OnDurableRequest(IoContext& io, const proto::DurableRequest& request,
                        Done<proto::DurableResponse> done);
  void OnCommittedRequest(IoContext& io, const proto::CommittedRequest& request,
                          Done<proto::CommittedResponse> done);
  void OnSyncList(IoContext& io, const proto::SyncListRequest& request,
                  Done<proto::SyncListResponse> done);
  void OnSyncUnits(IoContext& io, const proto::SyncUnitsRequest& request,
                   Done<proto::SyncUnitsResponse> done);
  void OnSyncWrite(IoContext& io, const proto::SyncWriteRequest& request, BufferRef buffer,
                   std::span<const uint8_t> payload, Done<proto::SyncWriteResponse> done);
  void OnSyncSeal(IoContext& io, const proto::SyncSealRequest& request,
                  Done<proto::SyncSealResponse> done);
  void OnSyncRemove(IoContext& io, const proto::SyncRemoveRequest& request,
                    Done<proto::SyncRemoveResponse> done);
  void OnSyncResults(IoContext& io, const proto::SyncResultsRequest& request,
                     Done<proto::SyncResultsResponse> done);

  // ---- large payloads ahead of their changes ----
  // Whether one that is being received, at that version of the chain and from that member (none: from
  // a client), may go ahead of its change; and the way to the member behind, where there is one that
  // takes part in the order. kWrongChain.
  Result<std::optional<StageForward::Route>> RouteOfStage(ChainVersion version,
                                                          std::optional<TargetId> from);

  // The chunk here is damaged: whether it will be repaired from other members, soon. Whatever reads
  // it comes upon that by itself.
  bool RequestRepair(ChunkId chunk);

  // ---- what the node asks ----
  bool AnyUnderWay(const StreamTable::Predicate& over) const;
  void ForgetStreams(const StreamTable::Predicate& over);
  struct Counts {
    StreamTable::Counts streams;
    uint64_t uncommitted = 0;   // changes received and not committed
    uint64_t diverged = 0;      // changes after which the copy behind differed
    bool sends_resync = false;
    uint64_t staged_bytes = 0;  // sent ahead of their changes
    uint64_t stages_lost = 0;   // ... in vain
  };
  Counts GetCounts() const;
  // Nothing while there is no resync.
  std::optional<proto::ChainReport> Report() const;

 private:
  struct ClientCall {
    IoContext* io = nullptr;
    Done<MutationResult> done;
  };
  struct ReadCall {
    IoContext* io = nullptr;
    ChunkId chunk;
    uint32_t offset = 0;
    uint32_t length = 0;
    Engine::ReadDone done;
  };
  template <typename T>
  struct PeerCall {
    IoContext* io = nullptr;
    Done<T> done;
  };
  struct Later {
    IoContext* io = nullptr;
    std::function<void()> run;
  };

  // Runs `event` under the mutex and then what it left to be done; `here` is the context of this
  // thread, or null.
  template <typename Event>
  void Run(IoContext* here, Event&& event);
  void After(IoContext* io, std::function<void()> run) { later_.push_back({io, std::move(run)}); }
  IoContext& IoOf(const ChainOp& op) const;
  IoContext& AnyIo() const;
  std::vector<Engine::StreamRow> NotDone(const std::vector<StreamTable::Name>& names) const;
  Engine::ChunkKey KeyOf(ChunkId chunk) const { return {chain_, chunk}; }
  Engine::Change ChangeFor(uint64_t ticket, const ChainOp& op) const;
  Status WhyFailed(const Status& status) const;
  Status AfterRepair(const ChainOp& op, const Status& status);
  void RemoveListed(IoContext& io, const RemoveArgs& args, const Admission& admission,
                    Result<std::vector<Engine::ListedChunk>> chunks, Done<MutationResult> done);
  void Take(IoContext& io, Result<ReplicateMessage> message, Done<proto::ReplicateResponse> done);
  void SendChange(TargetId to, const ReplicateMessage& message, uint64_t stage);
  void OnAnswerTo(const ReplicateMessage& message, uint64_t attempt,
                  const Result<transport::Reply>& reply);
  void CallPeer(TargetId to, transport::Call call, ChainOpRef keep,
                std::function<void(const Result<transport::Reply>&)> event);
  template <typename T>
  void AnswerPeer(std::unordered_map<ReplyId, PeerCall<T>>& calls, ReplyId reply, Result<T> answer);
  Repairer::Sources SourcesOfRepair() const;
  Status BeginSync(const proto::PeerContext& peer);
  template <typename Response>
  void EndSync(IoContext& io, const Status& status, const Done<Response>& done);

  // ChainHost
  void Apply(uint64_t ticket, const ChainOpRef& op) override;
  void Release(ChunkId chunk, uint64_t ticket) override;
  void Revert(ChunkId chunk, uint64_t from_ticket, uint64_t ticket,
              const std::vector<StreamTable::Name>& undone) override;
  void Distrust(const std::vector<StreamTable::Name>& names) override;
  void SendReplicate(TargetId to, const ReplicateMessage& message) override;
  void SendDurable(TargetId to, const DurableMessage& message) override;
  void AskCommitted(TargetId tail, ChainVersion version, uint64_t query) override;
  void ReplyReplicate(ReplyId reply, const Result<ReplicateReply>& answer) override;
  void ReplyDurable(ReplyId reply, const Result<uint64_t>& committed) override;
  void ReplyCommitted(ReplyId reply, const Result<uint64_t>& committed) override;
  void Finish(CallId call, const Result<MutationResult>& answer) override;
  void ServeRead(CallId call, uint64_t upto) override;
  void FailRead(CallId call, const Status& status) override;
  void List(TargetId peer, const ListStep& step) override;
  void Copy(TargetId peer, const CopyStep& step) override;
  void RemoveThere(TargetId peer, const RemoveStep& step) override;
  void SendResults(TargetId peer, uint64_t step) override;
  void Diverged(ChunkId chunk, uint64_t sequence, const LocalState& here,
                const LocalState& there) override;
  void EndStep(uint64_t step, const Status& status);

  const ChainId chain_;
  const TargetId self_;
  Engine& engine_;
  const Env env_;

  mutable std::mutex mutex_;
  ChainCore core_;            // all below under mutex_
  std::vector<Later> later_;
  IoContext* last_io_ = nullptr;
  uint64_t next_id_ = 1;
  std::unordered_map<CallId, ClientCall> calls_;
  std::unordered_map<CallId, ReadCall> reads_;
  std::unordered_map<ReplyId, PeerCall<proto::ReplicateResponse>> replicates_;
  std::unordered_map<ReplyId, PeerCall<proto::DurableResponse>> durables_;
  std::unordered_map<ReplyId, PeerCall<proto::CommittedResponse>> committeds_;
  SentChanges sent_;
  uint64_t next_stage_ = 1;
  uint64_t diverged_ = 0;
  bool stopped_ = false;
  const std::shared_ptr<StageCounts> stages_ = std::make_shared<StageCounts>();
};

template <typename Event>
void ChainReplica::Run(IoContext* here, Event&& event) {
  std::vector<Later> later;
  {
    std::lock_guard lock(mutex_);
    event();
    later.swap(later_);
  }
  for (Later& next : later) {
    if (next.io == here) {
      next.run();
    } else {
      next.io->Post(std::move(next.run));
    }
  }
}

}  // namespace sheaf::storage
