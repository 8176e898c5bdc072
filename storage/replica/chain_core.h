#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "storage/replica/chain_map.h"
#include "storage/replica/chain_op.h"
#include "storage/replica/resync.h"
#include "storage/replica/stream_table.h"

namespace sheaf::storage {

// What a chunk is on this replica after a change.
struct LocalState {
  ChunkVersion version;  // 0: the chunk does not exist
  uint32_t chunk_length = 0;
  uint32_t checksum = 0;
};

// The messages between neighbours (proto/replica.proto), decoded.
struct ReplicateMessage {
  ChainVersion version;
  TargetId from;
  uint64_t sequence = 0;
  uint64_t base = 0;
  uint64_t committed = 0;
  bool skip = false;
  ChainOpRef op;
};
struct ReplicateReply {
  uint64_t committed = 0;
  LocalState state;
  Status failed;  // not ok: the change failed, here or behind
};
struct DurableMessage {
  ChainVersion version;
  TargetId from;
  uint64_t durable = 0;
  uint64_t after_abort = 0;
  uint64_t committed = 0;
};

using CallId = uint64_t;   // a client's request that waits here; the host's number
using ReplyId = uint64_t;  // a neighbour's request that waits here; the host's number

// What ChainCore wants done. Called inside its events, in the order in which it must happen: Apply
// and Send of one chain are ordered. None of it may call back into the core; completions are events
// of their own, later.
class ChainHost {
 public:
  virtual ~ChainHost() = default;

  // The engine. Answered by OnApplied, OnReverted.
  virtual void Apply(uint64_t ticket, const ChainOpRef& op) = 0;
  virtual void Release(ChunkId chunk, uint64_t ticket) = 0;
  virtual void Revert(ChunkId chunk, uint64_t from_ticket, uint64_t ticket,
                      const std::vector<StreamTable::Name>& undone) = 0;

  // What is stored of these streams may be of changes that the chain has undone since: they are to
  // be stored as not done, before anything that is asked for later.
  virtual void Distrust(const std::vector<StreamTable::Name>& names) = 0;

  // Neighbours. A request that is not answered is answered by an error, at some time.
  virtual void SendReplicate(TargetId to, const ReplicateMessage& message) = 0;
  virtual void SendDurable(TargetId to, const DurableMessage& message) = 0;
  virtual void AskCommitted(TargetId tail, ChainVersion version, uint64_t query) = 0;
  virtual void ReplyReplicate(ReplyId reply, const Result<ReplicateReply>& answer) = 0;
  virtual void ReplyDurable(ReplyId reply, const Result<uint64_t>& committed) = 0;
  virtual void ReplyCommitted(ReplyId reply, const Result<uint64_t>& committed) = 0;

  // Clients.
  virtual void Finish(CallId call, const Result<MutationResult>& answer) = 0;
  // Answers the chunk's newest version with a ticket <= `upto`.
  virtual void ServeRead(CallId call, uint64_t upto) = 0;
  virtual void FailRead(CallId call, const Status& status) = 0;

  // Resync; answered by OnLists, OnStep with the same step.
  virtual void List(TargetId peer, const ListStep& step) = 0;
  virtual void Copy(TargetId peer, const CopyStep& step) = 0;
  virtual void RemoveThere(TargetId peer, const RemoveStep& step) = 0;
  virtual void SendResults(TargetId peer, uint64_t step) = 0;

  // Two replicas have come to differ although they made the same changes: never to be expected.
  virtual void Diverged(ChunkId chunk, uint64_t sequence, const LocalState& here,
                        const LocalState& there) = 0;
};

// One target's part in one chain: the replica protocol, a variant of CRAQ (Terrace and Freedman,
// USENIX ATC 2009). Pure: events in, ChainHost calls out; no I/O, no threads, no clock.
//
// Changes of a chain have sequences, given by the head, rising by one also across versions of the
// chain. Of each replica:
//
//   received    it has all through here          settled     ... and all durable, or undone
//   token       all before it in the chain have settled through here
//   committed   every replica has settled through here
//
// A change is passed on before it is durable here; the token only after. The tail commits through
// min(settled, token); the answers to the changes carry that back, each replica committing in turn.
// What is not committed is *dirty*; the version before it stays readable. A read of a dirty chunk
// asks the tail through where it has committed, and is answered at that point.
//
// A member that is syncing is not a part of that order: the last serving replica mirrors changes to
// it and commits nothing that the mirror has not settled. Changes of chunks that the copy has not
// reached are skipped by it; those of chunks being copied wait (resync.h).
//
// A change that fails anywhere is aborted by the head: an abort goes down the chain like a change
// and undoes it and the chunk's later ones. A token counts only with the aborts sent before it.
//
// When the chain changes, a replica keeps what it has received, sends what is not committed to the
// one now behind it, and waits for tokens anew. A new tail answers for a dirty chunk only once what
// it had received when it became the tail is committed: the one before may have committed it.
//
// Invariants (checked by tests/sim and ChainCoreTest):
//  1. What a replica has received is a prefix of what the one before it has.
//  2. committed <= token, settled <= received, on every replica; nothing committed is undone.
//  3. A client's mutation is answered with success only when it is committed, that is durable on
//     every serving member and on the syncing one.
//  4. A version that a read answered stays, or is followed by later ones, whatever fails.
//  5. Messages of another version of the chain, or not of the neighbour, have no effect.
//  6. A named mutation is executed once, whichever replica is asked again.
//
// Not thread-safe.
class ChainCore : private ResyncHost {
 public:
  // Beyond what a chain makes in a hundred years.
  static constexpr uint64_t kMaxSequence = (uint64_t{1} << 40) - 1;
  static constexpr size_t kMaxEntries = 4096;  // received and not committed; beyond: kBusy
  static constexpr size_t kMaxTokensUnderWay = 2;  // what becomes durable meanwhile shares the next

  ChainCore(ChainId chain, TargetId self, ChainHost& host);

  // ---- the chain as of a map; older versions are ignored ----
  void Configure(const ChainView& view);

  // ---- clients: REQUIRES admission for this version ----
  // `op->proposed` is version(). Answered by Finish.
  void Mutate(CallId call, ChainOpRef op);
  // All of `parts`, then `note`, which has the name and the result.
  void MutateGroup(CallId call, const std::vector<ChainOpRef>& parts, ChainOpRef note);
  // Whether a repeated group need not be put together: then it was joined or answered.
  bool JoinGroup(CallId call, const StreamTable::Name& name, uint64_t fingerprint);
  // Answered by ServeRead or FailRead.
  void Read(CallId call, ChunkId chunk);

  // ---- neighbours ----
  void OnReplicate(ReplyId reply, const ReplicateMessage& message);
  void OnDurable(ReplyId reply, const DurableMessage& message);
  void OnCommittedAsked(ReplyId reply, ChainVersion version);
  void OnReplicateReply(ChainVersion version, uint64_t sequence,
                        const Result<ReplicateReply>& answer);
  void OnDurableReply(ChainVersion version, const Result<uint64_t>& committed);
  void OnCommittedReply(uint64_t query, const Result<uint64_t>& committed);

  // ---- the engine ----
  void OnApplied(uint64_t ticket, ChunkId chunk, const Result<LocalState>& state);
  void OnReverted(uint64_t ticket, const Status& status);

  // ---- resync ----
  void OnLists(uint64_t step, const Result<ListPair>& lists);
  void OnStep(uint64_t step, const Status& status);
  // Of the member that syncs: it holds all that the sender does, unless a change failed here: then
  // the sender has to begin again. `base` is the sender's mirror_base(): on a chain without changes
  // none has told it yet.
  // `number` is the message's: if another has come since, its sender has given this one up.
  // kCorrupt: the member is not complete, and will not be before it was listed anew from the first
  // chunk.
  Status SetComplete(ChainVersion version, uint64_t base, uint64_t number);
  // Messages of a resync to this member. Their `number` rises, from 1: one that comes late, when
  // its sender has gone on, has no effect. A list is kBusy while anything may still change what it
  // tells: a change of before the resync, or an earlier message that nobody waits for any more.
  // `from_first`: nothing is passed yet, so what was lost before will be compared.
  Status CheckList(ChainVersion version, TargetId from, uint64_t number, bool from_first);
  // Before what the message asks is given to the engine; then EndSync when that has ended.
  Status BeginSync(ChainVersion version, TargetId from, uint64_t number);
  void EndSync() { --syncs_; }

  // Every now and then: what was lost is sent again.
  void Tick();

  // ---- what clients have done ----
  StreamTable& streams() { return streams_; }
  const StreamTable& streams() const { return streams_; }
  // Whether a change of such a client is received and neither committed nor undone.
  bool AnyUnderWay(const StreamTable::Predicate& over) const;

  ChainVersion version() const { return version_; }
  const std::vector<MemberView>& members() const { return members_; }
  // How many servers a change has passed when it reaches this member.
  uint32_t HopOf(TargetId member) const;
  bool HasOthers() const { return members_.size() > 1; }
  bool IsHead() const;
  bool IsTail() const;
  bool complete() const { return complete_; }
  const Resync& resync() const { return resync_; }
  uint64_t received() const { return received_; }
  uint64_t committed() const { return committed_; }
  uint64_t settled() const { return settled_; }
  // What is mirrored comes after it.
  uint64_t mirror_base() const { return mirror_base_; }

 private:
  enum class State : uint8_t {
    kHeld,      // of a chunk that is being copied to the syncing member
    kWaiting,   // for an abort to be undone; an abort: for what it undoes to end
    kApplying,  // the engine has it
    kDurable,
    kFailed,
    kUndone,
  };
  struct Entry {
    uint64_t sequence = 0;
    ChainOpRef op;
    State state = State::kApplying;
    bool skip = false;      // on the syncing member: not applied
    bool doomed = false;    // an abort that covers it is received
    bool mirrored = false;  // sent to the member that syncs, not to be skipped
    LocalState local;
    Status failed_here;
    Status failed_behind;
    Status verdict;  // what the client is told when it is undone
    std::vector<ReplyId> replies;
    std::vector<CallId> calls;
    uint64_t group = 0;
  };
  struct Group {
    ChainOpRef note;
    size_t left = 0;
    uint32_t removed = 0;
    Status status;
    std::vector<CallId> calls;
  };
  // Later ones are greater.
  struct Token {
    uint64_t after_abort = 0;
    uint64_t durable = 0;
    friend auto operator<=>(const Token&, const Token&) = default;
  };
  struct WaitingRead {
    CallId call = 0;
    ChunkId chunk;
  };
  using Sequences = std::vector<uint64_t>;  // of one chunk, not committed, rising

  // -- shape --
  Status Moved() const;  // what is refused since the chain has changed
  const MemberView* Me() const;
  proto::TargetState MyState() const;
  std::optional<TargetId> Before() const;
  std::optional<TargetId> Behind() const;
  bool MirrorsTo(TargetId target) const { return mirror_ == target; }
  Entry* Find(uint64_t sequence);
  uint64_t Ticket(uint64_t sequence) const { return generation_ << 40 | sequence; }

  // -- changes --
  Entry& Append(ChainOpRef op, bool skip);
  void Start(Entry& entry);
  void TryRevert(Entry& abort);
  void RevertFailed(Entry& abort);
  static Status VerdictOf(const Entry& entry);
  void Doom(const Entry& abort);
  void ResumeChunk(ChunkId chunk, uint64_t after);
  void RetryAborts(ChunkId chunk);
  void Failed(Entry& entry);
  void LoseChange(Entry& entry, const Status& status);
  void StartAbort(uint64_t sequence, const Status& status);
  void EndOfGroupPart(Entry& entry, const Status& status);
  void SendMore();
  void Advance();
  void CommitThrough(uint64_t sequence);
  void EndEntry(Entry& entry);
  void TakeToken();
  uint64_t Counts(const Token& token) const;
  uint64_t MirrorCounts();
  bool UndoesMirrored(const Entry& abort);
  bool AbortIsHeldUp();
  void ReplySettled();
  bool ChunkHasFailed(const Sequences& sequences, uint64_t before);

  // -- reads --
  void AskTail();
  void ServeWaiting();

  // -- configuration --
  void Reset();
  Status CheckSyncing(ChainVersion version, TargetId from, uint64_t number);
  void BeginAfter(uint64_t base);
  void DropNeighbours();
  void Adopt(const ChainView& view);
  void FailClients(const Status& status);

  // ResyncHost
  void ListBoth(const ListStep& step) override;
  void CopyChunks(const CopyStep& step) override;
  void RemoveChunks(const RemoveStep& step) override;
  void SendStreams(uint64_t step) override;
  bool IsQuiet(const ChunkRange& range) override;
  void WindowOpens() override { window_after_ = received_; }
  void WindowMoved() override;

  const ChainId chain_;
  const TargetId self_;
  ChainHost& host_;

  ChainVersion version_;
  std::vector<MemberView> members_;
  std::optional<TargetId> mirror_;  // the member that we mirror to

  uint64_t generation_ = 1;  // raised when all that was received is given up
  uint64_t received_ = 0;
  uint64_t settled_ = 0;
  Token token_;
  uint64_t committed_ = 0;
  uint64_t last_abort_ = 0;
  bool reverts_to_retry_ = false;
  std::deque<Entry> entries_;  // committed_ + 1 to received_
  std::unordered_map<ChunkId, Sequences> chunks_;
  StreamTable streams_;
  std::map<uint64_t, Group> groups_;
  uint64_t next_group_ = 1;

  std::vector<Token> early_tokens_;  // came before the abort they count with

  // Towards the one behind.
  uint64_t next_to_send_ = 1;
  uint64_t durable_sent_ = 0;
  size_t tokens_under_way_ = 0;  // of this version, not to the mirror
  bool send_broken_ = false;
  bool durable_broken_ = false;
  uint64_t mirror_base_ = 0;
  uint64_t mirror_settled_ = 0;
  uint64_t window_after_ = 0;  // what was received when the window opened is not held

  // As the syncing member.
  bool fresh_ = false;     // nothing of the mirror's stream has come yet
  bool trusting_ = false;  // what is known of streams is of before the resync
  bool complete_ = false;
  bool lost_ = false;  // a change failed here since the last list from the first chunk
  uint64_t source_committed_ = 0;
  uint64_t sync_number_ = 0;  // the highest seen
  size_t syncs_ = 0;          // BeginSync without EndSync
  size_t in_engine_ = 0;      // changes and reverts of this generation
  size_t strays_ = 0;         // ... and of earlier ones

  // Reads of dirty chunks.
  uint64_t recover_through_ = 0;
  std::vector<WaitingRead> asking_;  // the query under way answers them
  std::vector<WaitingRead> next_;    // came after it was sent
  uint64_t query_ = 0;
  uint64_t next_query_ = 1;
  std::vector<WaitingRead> recovering_;  // wait until we have committed what we had as a new tail
  std::vector<ReplyId> recovering_queries_;

  Resync resync_;
};

}  // namespace sheaf::storage
