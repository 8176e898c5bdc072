#include "storage/replica/chain_core.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/log.h"
#include "storage/replica/planted.h"

// The chain's members, changes of the chain, clients, and a change on this replica. What goes between
// the replicas, and what follows from it, is in chain_order.cc.

namespace sheaf::storage {
namespace {

constexpr uint64_t kGroupBit = uint64_t{1} << 63;  // of what a stream has under way

}  // namespace

// ---- shape ----

ChainCore::ChainCore(ChainId chain, TargetId self, ChainHost& host)
    : chain_(chain), self_(self), host_(host), resync_(*this) {}

const MemberView* ChainCore::Me() const {
  const auto me = std::find_if(members_.begin(), members_.end(),
                               [&](const MemberView& member) { return member.target == self_; });
  return me == members_.end() ? nullptr : &*me;
}

proto::TargetState ChainCore::MyState() const {
  const MemberView* me = Me();
  return me == nullptr ? proto::OFFLINE : me->state;
}

bool ChainCore::IsHead() const {
  return !members_.empty() && members_.front().target == self_ && MyState() == proto::SERVING;
}

bool ChainCore::IsTail() const {
  if (MyState() != proto::SERVING) return false;
  const MemberView* last = nullptr;
  for (const MemberView& member : members_)
    if (member.state == proto::SERVING) last = &member;
  return last->target == self_;
}

uint32_t ChainCore::HopOf(TargetId target) const {
  uint32_t hop = 0;
  for (const MemberView& member : members_) {
    if (member.target == target) break;
    if (member.state == proto::SERVING) ++hop;
  }
  return hop;
}

std::optional<TargetId> ChainCore::Before() const {
  std::optional<TargetId> before;
  for (const MemberView& member : members_) {
    if (member.target == self_) return before;
    if (member.state == proto::SERVING) before = member.target;
  }
  return std::nullopt;
}

// The next serving member, or the one that the last serving member mirrors to.
std::optional<TargetId> ChainCore::Behind() const {
  if (MyState() != proto::SERVING) return std::nullopt;
  bool after_me = false;
  for (const MemberView& member : members_) {
    if (after_me && (member.state == proto::SERVING || member.state == proto::SYNCING))
      return member.target;
    after_me |= member.target == self_;
  }
  return std::nullopt;
}

ChainCore::Entry* ChainCore::Find(uint64_t sequence) {
  if (sequence <= committed_ || sequence > received_) return nullptr;
  return &entries_[sequence - committed_ - 1];
}

Status ChainCore::Moved() const {
  return {Code::kWrongChain, "chain " + ToString(chain_) + ": it has changed meanwhile"};
}

// ---- configuration ----

void ChainCore::Configure(const ChainView& view) {
  if (view.version <= version_) return;
  const proto::TargetState before = MyState();
  DropNeighbours();
  Adopt(view);
  const proto::TargetState now = MyState();
  if (now == proto::LAST_SERVING) {
    FailClients({Code::kNotServing, "chain " + ToString(chain_) + ": this member has stopped"});
    return;
  }
  const bool kept_up = before == proto::SERVING || before == proto::LAST_SERVING ||
                       (before == proto::SYNCING && complete_ && now == proto::SERVING);
  if (now != proto::SERVING || !kept_up) Reset();
  if (now == proto::SYNCING) fresh_ = trusting_ = true;
  if (now != proto::SERVING) return;
  complete_ = false;
  if (!IsHead()) FailClients(Moved());
  recover_through_ = IsTail() ? received_ : 0;
  next_to_send_ = committed_ + 1;
  for (Entry& entry : entries_) entry.mirrored = false;  // whoever had it then gave it up
  if (mirror_) {
    mirror_base_ = mirror_settled_ = window_after_ = received_;
    next_to_send_ = received_ + 1;
    resync_.Begin();
  }
  if (IsHead()) {
    for (size_t i = 0; i < entries_.size(); ++i) {  // aborts are appended meanwhile
      Entry& entry = entries_[i];
      if (entry.state == State::kFailed && !entry.doomed)
        StartAbort(entry.sequence, entry.failed_here);
    }
  }
  WindowMoved();  // what waited for a copy of the earlier version
  SendMore();
  Advance();
}

void ChainCore::Adopt(const ChainView& view) {
  version_ = view.version;
  sync_number_ = 0;
  members_ = view.members;
  mirror_.reset();
  if (const auto behind = Behind(); behind && IsTail()) mirror_ = behind;
  token_ = {};
  early_tokens_.clear();
  durable_sent_ = 0;
  tokens_under_way_ = 0;
  send_broken_ = durable_broken_ = false;
}

// What neighbours of the earlier version wait for, and what we waited for from them.
void ChainCore::DropNeighbours() {
  resync_.Stop();
  for (Entry& entry : entries_) {
    for (ReplyId reply : std::exchange(entry.replies, {}))
      host_.ReplyReplicate(reply, Moved());
    entry.failed_behind = Status::Ok();
  }
  for (ReplyId reply : std::exchange(recovering_queries_, {}))
    host_.ReplyCommitted(reply, Moved());
  for (std::vector<WaitingRead>* reads : {&asking_, &next_, &recovering_}) {
    for (const WaitingRead& read : std::exchange(*reads, {}))
      host_.FailRead(read.call, Moved());
  }
  query_ = 0;
}

void ChainCore::FailClients(const Status& status) {
  for (Entry& entry : entries_) {
    for (CallId call : std::exchange(entry.calls, {})) host_.Finish(call, status);
    entry.group = 0;
  }
  for (auto& [id, group] : std::exchange(groups_, {})) {
    streams_.Undo(group.note->name, kGroupBit | id);
    for (CallId call : group.calls) host_.Finish(call, status);
  }
}

// Everything that is not committed is given up: what this replica holds will be compared with the
// chain's before it counts again.
void ChainCore::Reset() {
  FailClients({Code::kNotServing, "chain " + ToString(chain_) + ": this member has left it"});
  for (Entry& entry : entries_) {
    if (entry.state == State::kDurable && !entry.skip)
      host_.Release(entry.op->chunk, Ticket(entry.sequence));
  }
  entries_.clear();
  chunks_.clear();
  streams_.DropUnderWay();
  ++generation_;
  strays_ += std::exchange(in_engine_, 0);
  received_ = settled_ = committed_ = last_abort_ = 0;
  next_to_send_ = 1;
  fresh_ = complete_ = lost_ = false;
  source_committed_ = 0;
}

// The stream of the one that mirrors to us begins after `base`; what is before it comes by copy.
void ChainCore::BeginAfter(uint64_t base) {
  if (std::exchange(fresh_, false)) received_ = settled_ = committed_ = last_abort_ = base;
}

// ---- clients ----

void ChainCore::Mutate(CallId call, ChainOpRef op) {
  if (!IsHead()) return host_.Finish(call, Moved());
  StreamTable::Judgement judged = streams_.Judge(op->name, op->fingerprint);
  if (judged.verdict == StreamTable::Verdict::kAnswer) return host_.Finish(call, judged.answer);
  if (judged.verdict == StreamTable::Verdict::kJoin) {
    if (Entry* entry = Find(judged.under_way)) {
      entry->calls.push_back(call);
      return;
    }
    return host_.Finish(call, Status(Code::kBusy, "mutation: it is under way"));
  }
  if (entries_.size() >= kMaxEntries) {
    return host_.Finish(call, Status(Code::kBusy, "chain " + ToString(chain_) +
                                                      ": too many changes are under way"));
  }
  Entry& entry = Append(std::move(op), /*skip=*/false);
  entry.calls.push_back(call);
  Start(entry);
  SendMore();
  Advance();
}

bool ChainCore::JoinGroup(CallId call, const StreamTable::Name& name, uint64_t fingerprint) {
  if (!IsHead()) {
    host_.Finish(call, Moved());
    return true;
  }
  StreamTable::Judgement judged = streams_.Judge(name, fingerprint);
  if (judged.verdict == StreamTable::Verdict::kNew) return false;
  if (judged.verdict == StreamTable::Verdict::kAnswer) {
    host_.Finish(call, judged.answer);
    return true;
  }
  if ((judged.under_way & kGroupBit) != 0) {
    groups_.at(judged.under_way & ~kGroupBit).calls.push_back(call);
  } else if (Entry* entry = Find(judged.under_way)) {
    entry->calls.push_back(call);
  } else {
    host_.Finish(call, Status(Code::kBusy, "mutation: it is under way"));
  }
  return true;
}

// The note goes down the chain once the parts are committed: whoever finds it knows that they were.
void ChainCore::MutateGroup(CallId call, const std::vector<ChainOpRef>& parts, ChainOpRef note) {
  if (JoinGroup(call, note->name, note->fingerprint)) return;
  if (entries_.size() + parts.size() >= kMaxEntries) {
    return host_.Finish(call, Status(Code::kBusy, "chain " + ToString(chain_) +
                                                      ": too many changes are under way"));
  }
  const uint64_t id = next_group_++;
  streams_.Begin(note->name, note->fingerprint, kGroupBit | id);
  Group& group = groups_[id];
  group.note = std::move(note);
  group.left = parts.size() + 1;
  group.calls.push_back(call);
  for (const ChainOpRef& part : parts) {
    Entry& entry = Append(part, /*skip=*/false);
    entry.group = id;
    Start(entry);
  }
  Entry none;
  none.group = id;
  EndOfGroupPart(none, Status::Ok());
  SendMore();
  Advance();
}

void ChainCore::EndOfGroupPart(Entry& entry, const Status& status) {
  const auto found = groups_.find(entry.group);
  if (found == groups_.end()) return;
  Group& group = found->second;
  if (group.status.ok()) group.status = status;
  if (--group.left > 0) return;
  Group ended = std::move(group);
  groups_.erase(found);
  if (!ended.status.ok()) {
    streams_.Undo(ended.note->name, kGroupBit | entry.group);
    for (CallId call : ended.calls) host_.Finish(call, ended.status);
    return;
  }
  Entry& note = Append(std::move(ended.note), /*skip=*/false);
  note.calls = std::move(ended.calls);
  Start(note);
}

// ---- a change, from its receipt to its end ----

ChainCore::Entry& ChainCore::Append(ChainOpRef op, bool skip) {
  const uint64_t sequence = ++received_;
  // What is skipped is learned from the sender's table, once that has it.
  if (!skip) streams_.Begin(op->name, op->fingerprint, sequence);
  chunks_[op->chunk].push_back(sequence);
  if (op->kind == ChainOp::Kind::kAbort) last_abort_ = sequence;
  Entry& entry = entries_.emplace_back();
  entry.sequence = sequence;
  entry.op = std::move(op);
  entry.skip = skip;
  TakeToken();
  return entry;
}

bool ChainCore::ChunkHasFailed(const Sequences& sequences, uint64_t before) {
  return std::any_of(sequences.begin(), sequences.end(), [&](uint64_t sequence) {
    const Entry* entry = sequence < before ? Find(sequence) : nullptr;
    return entry != nullptr && entry->state == State::kFailed && !entry->doomed;
  });
}

void ChainCore::Start(Entry& entry) {
  const Sequences& sequences = chunks_.at(entry.op->chunk);
  const auto waits = [&](uint64_t sequence) {
    if (sequence >= entry.sequence) return false;
    const Entry& earlier = *Find(sequence);
    const bool undoing =
        earlier.op->kind == ChainOp::Kind::kAbort && earlier.state == State::kApplying;
    return undoing || earlier.state == State::kWaiting || earlier.state == State::kHeld;
  };
  if (entry.op->kind == ChainOp::Kind::kAbort) {
    Doom(entry);
    entry.state = State::kWaiting;
    return TryRevert(entry);
  }
  if (entry.skip) {
    entry.state = State::kDurable;
    return;
  }
  if (entry.doomed) {
    entry.state = State::kFailed;
    return;
  }
  // What was there before the window ends before the copy: it is not held.
  const bool held = mirror_ && entry.sequence > window_after_ &&
                    resync_.ReachOf(entry.op->chunk) == Resync::Reach::kHold;
  if (held) {
    entry.state = State::kHeld;
    return;
  }
  if (std::any_of(sequences.begin(), sequences.end(), waits)) {
    entry.state = State::kWaiting;
    return;
  }
  if (ChunkHasFailed(sequences, entry.sequence)) {
    entry.state = State::kFailed;
    entry.failed_here = {Code::kBusy, "change of chunk " + ToString(entry.op->chunk) +
                                          ": one before it failed"};
    Failed(entry);
    return;
  }
  entry.state = State::kApplying;
  ++in_engine_;
  host_.Apply(Ticket(entry.sequence), entry.op);
}

// From now on nothing that the abort covers will count, whatever becomes of it here.
void ChainCore::Doom(const Entry& abort) {
  for (uint64_t sequence : chunks_.at(abort.op->chunk)) {
    if (sequence < abort.op->abort_from || sequence >= abort.sequence) continue;
    if (Planted(Bug::kShortAbort) && sequence != abort.op->abort_from) continue;
    Find(sequence)->doomed = true;
    settled_ = std::min(settled_, sequence - 1);  // durable does not count: to be undone does
  }
}

void ChainCore::TryRevert(Entry& abort) {
  const Sequences& sequences = chunks_.at(abort.op->chunk);
  std::vector<StreamTable::Name> undone;
  for (uint64_t sequence : sequences) {
    if (sequence >= abort.sequence) break;
    Entry& entry = *Find(sequence);
    const bool earlier_abort = entry.op->kind == ChainOp::Kind::kAbort;
    if (entry.state == State::kApplying || (earlier_abort && entry.state == State::kWaiting))
      return;
    // What an earlier abort has undone may come again, elsewhere, before this one is durable.
    if (!entry.doomed || sequence < abort.op->abort_from) continue;
    if (entry.state == State::kWaiting || entry.state == State::kHeld) entry.state = State::kFailed;
    if (entry.op->name.IsNamed() && !entry.skip) undone.push_back(entry.op->name);
  }
  abort.state = State::kApplying;
  ++in_engine_;
  if (Planted(Bug::kShortAbort) && sequences.size() > 2) undone.clear();
  host_.Revert(abort.op->chunk, Ticket(abort.op->abort_from), Ticket(abort.sequence), undone);
}

void ChainCore::OnReverted(uint64_t ticket, const Status& status) {
  --(ticket >> 40 == generation_ ? in_engine_ : strays_);
  Entry* abort = ticket >> 40 == generation_ ? Find(ticket & kMaxSequence) : nullptr;
  if (abort == nullptr) return;
  if (!status.ok()) return RevertFailed(*abort);
  for (uint64_t sequence : chunks_.at(abort->op->chunk)) {
    if (sequence < abort->op->abort_from || sequence >= abort->sequence) continue;
    Entry& entry = *Find(sequence);
    if (entry.doomed) entry.state = State::kUndone;
  }
  abort->state = State::kDurable;
  ResumeChunk(abort->op->chunk, abort->sequence);
  SendMore();  // what was held and is undone is held no more
  if (mirror_) resync_.OnCommitted();
  Advance();
}

// Of an abort that an earlier head began, the reason is not known here.
Status ChainCore::VerdictOf(const Entry& entry) {
  if (!entry.verdict.ok()) return entry.verdict;
  return {Code::kBusy, "change: it was undone"};
}

// Tried again at the next Tick, until it is done or the engine is found out of service and this
// member leaves the chain. Clients need not wait for that: what failed is not committed in between.
void ChainCore::RevertFailed(Entry& abort) {
  abort.state = State::kWaiting;
  reverts_to_retry_ = true;
  for (uint64_t sequence : chunks_.at(abort.op->chunk)) {
    Entry& entry = *Find(sequence);
    if (!entry.doomed) continue;
    for (CallId call : std::exchange(entry.calls, {})) host_.Finish(call, VerdictOf(entry));
  }
}

void ChainCore::ResumeChunk(ChunkId chunk, uint64_t after) {
  const Sequences sequences = chunks_.at(chunk);
  for (uint64_t sequence : sequences) {
    Entry* entry = sequence > after ? Find(sequence) : nullptr;
    if (entry == nullptr) continue;
    if (entry->state != State::kWaiting && entry->state != State::kHeld) continue;
    if (entry->op->kind == ChainOp::Kind::kAbort) return TryRevert(*entry);
    Start(*entry);  // an abort may follow, which undoes what is held
  }
}

void ChainCore::OnApplied(uint64_t ticket, ChunkId chunk, const Result<LocalState>& state) {
  --(ticket >> 40 == generation_ ? in_engine_ : strays_);
  Entry* entry = ticket >> 40 == generation_ ? Find(ticket & kMaxSequence) : nullptr;
  if (entry == nullptr || entry->state != State::kApplying) {
    if (state.ok()) host_.Release(chunk, ticket);  // given up meanwhile
    return;
  }
  if (state.ok()) {
    entry->state = State::kDurable;
    entry->local = *state;
    if (Planted(Bug::kAckBeforeCommit)) {
      const MutationResult result{state->version, state->chunk_length, 0, false};
      for (CallId call : std::exchange(entry->calls, {})) host_.Finish(call, result);
    }
  } else if (MyState() == proto::SYNCING && !complete_) {
    LoseChange(*entry, state.status());
  } else {
    entry->state = State::kFailed;
    entry->failed_here = state.status();
    if (!entry->doomed) Failed(*entry);
  }
  RetryAborts(chunk);
  Advance();
}

// The chain goes on without us: what a member that syncs cannot do hinders nobody, until it has said
// that it is complete.
void ChainCore::LoseChange(Entry& entry, const Status& status) {
  LogWarn("chain {}: change {} failed on this member, which has to be resynced anew: {}",
          ToString(chain_), entry.sequence, status.ToString());
  lost_ = true;
  entry.skip = true;
  streams_.Undo(entry.op->name, entry.sequence);  // its result will be learned
  entry.state = State::kDurable;
}

void ChainCore::RetryAborts(ChunkId chunk) {
  const auto found = chunks_.find(chunk);
  if (found == chunks_.end()) return;
  for (uint64_t sequence : found->second) {
    Entry& entry = *Find(sequence);
    if (entry.op->kind != ChainOp::Kind::kAbort || entry.state != State::kWaiting) continue;
    return TryRevert(entry);
  }
}

void ChainCore::Failed(Entry& entry) {
  const uint64_t sequence = entry.sequence;
  const Status status = entry.failed_here.ok() ? entry.failed_behind : entry.failed_here;
  if (IsHead()) {
    StartAbort(sequence, status);
    return SendMore();  // no later change may come to take it along
  }
  const ReplicateReply answer{committed_, {}, status};
  for (ReplyId reply : std::exchange(entry.replies, {})) host_.ReplyReplicate(reply, answer);
}

void ChainCore::StartAbort(uint64_t sequence, const Status& status) {
  Entry& failed = *Find(sequence);
  if (failed.doomed || failed.op->kind == ChainOp::Kind::kAbort) return;
  auto op = std::make_shared<ChainOp>();
  op->kind = ChainOp::Kind::kAbort;
  op->chunk = failed.op->chunk;
  op->proposed = version_;
  op->abort_from = sequence;
  for (uint64_t later : chunks_.at(op->chunk)) {
    if (later < sequence || !Find(later)->verdict.ok()) continue;
    Find(later)->verdict = later == sequence
                               ? status
                               : Status(Code::kBusy, "change of chunk " + ToString(op->chunk) +
                                                         ": one before it failed");
  }
  LogDebug("chain {}: change {} is aborted: {}", ToString(chain_), sequence, status.ToString());
  Start(Append(std::move(op), /*skip=*/false));
}

}  // namespace sheaf::storage
