#include <algorithm>
#include <string>
#include <utility>

#include "common/log.h"
#include "storage/replica/chain_core.h"
#include "storage/replica/planted.h"

// What goes between the replicas of a chain, and what follows from it: settling and committing,
// reads of what is not committed, resync.

namespace sheaf::storage {

// ---- towards the one behind ----

void ChainCore::SendMore() {
  const std::optional<TargetId> behind = Behind();
  if (!behind || send_broken_) return;
  next_to_send_ = std::max(next_to_send_, committed_ + 1);
  while (next_to_send_ <= received_) {
    Entry& entry = *Find(next_to_send_);
    if (mirror_ && entry.state == State::kHeld) return;
    ReplicateMessage message;
    message.version = version_;
    message.from = self_;
    message.sequence = entry.sequence;
    message.base = mirror_base_;
    message.committed = committed_;
    message.op = entry.op;
    if (mirror_) message.skip = resync_.ReachOf(entry.op->chunk) != Resync::Reach::kMirror;
    entry.mirrored |= mirror_ && !message.skip;
    ++next_to_send_;
    host_.SendReplicate(*behind, message);
  }
}

void ChainCore::OnReplicateReply(ChainVersion version, uint64_t sequence,
                                 const Result<ReplicateReply>& answer) {
  if (version != version_ || !Behind()) return;
  if (!answer.ok()) {
    send_broken_ = true;
    return;
  }
  Entry* entry = Find(sequence);
  if (!answer->failed.ok()) {
    if (entry == nullptr || entry->doomed || !entry->failed_behind.ok()) return;
    entry->failed_behind = answer->failed;
    Failed(*entry);
    return Advance();
  }
  const LocalState& there = answer->state;
  // What will be undone was made of something else, where one before it had failed.
  if (entry != nullptr && entry->state == State::kDurable && !entry->doomed &&
      !ChunkHasFailed(chunks_.at(entry->op->chunk), sequence) && there.version.IsSet() &&
      entry->op->kind != ChainOp::Kind::kNote &&
      (there.version != entry->local.version || there.checksum != entry->local.checksum)) {
    host_.Diverged(entry->op->chunk, sequence, entry->local, there);
  }
  if (mirror_) {
    mirror_settled_ = std::max(mirror_settled_, answer->committed);
    return Advance();
  }
  CommitThrough(std::min(answer->committed, settled_));
}

void ChainCore::OnDurableReply(ChainVersion version, const Result<uint64_t>& committed) {
  if (version != version_ || mirror_) return;
  --tokens_under_way_;
  if (!committed.ok()) {
    durable_broken_ = true;
    return;
  }
  CommitThrough(std::min(*committed, settled_));
  Advance();  // what has become durable meanwhile
}

// What is to be undone on the member that syncs is committed once that has the abort. If the window
// waits for such a change, and the abort for what is held behind it, neither would ever move.
bool ChainCore::AbortIsHeldUp() {
  bool held = false;
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    held |= entry.state == State::kHeld;
    return held && entry.op->kind == ChainOp::Kind::kAbort && UndoesMirrored(entry);
  });
}

void ChainCore::Tick() {
  if (mirror_ && AbortIsHeldUp()) resync_.GiveWay();
  resync_.Tick();
  if (std::exchange(reverts_to_retry_, false)) {
    for (Entry& entry : entries_) {
      if (entry.op->kind == ChainOp::Kind::kAbort && entry.state == State::kWaiting)
        TryRevert(entry);
    }
  }
  if (std::exchange(send_broken_, false)) {
    next_to_send_ = (mirror_ ? std::max(mirror_settled_, committed_) : committed_) + 1;
    SendMore();
  }
  if (std::exchange(durable_broken_, false)) durable_sent_ = 0;
  Advance();
}

// ---- from the one before ----

void ChainCore::OnReplicate(ReplyId reply, const ReplicateMessage& message) {
  const proto::TargetState state = MyState();
  const bool takes_part = state == proto::SERVING || state == proto::SYNCING;
  if (message.version != version_ || !takes_part || Before() != message.from)
    return host_.ReplyReplicate(reply, Moved());
  BeginAfter(message.base);
  source_committed_ = std::max(source_committed_, message.committed);
  if (message.sequence <= committed_)
    return host_.ReplyReplicate(reply, ReplicateReply{committed_, {}, Status::Ok()});
  if (Entry* known = Find(message.sequence)) {
    known->replies.push_back(reply);
    const bool failed = !known->failed_here.ok() || !known->failed_behind.ok();
    if (failed && !known->doomed) Failed(*known);
    return Advance();
  }
  if (message.sequence != received_ + 1 || entries_.size() >= kMaxEntries) {
    return host_.ReplyReplicate(
        reply, Status(Code::kBusy, "chain " + ToString(chain_) + ": change " +
                                       std::to_string(message.sequence) + " comes before " +
                                       std::to_string(received_ + 1)));
  }
  Entry& entry = Append(message.op, message.skip);
  entry.replies.push_back(reply);
  Start(entry);
  SendMore();
  Advance();
}

void ChainCore::OnDurable(ReplyId reply, const DurableMessage& message) {
  if (message.version != version_ || Before() != message.from || MyState() == proto::OFFLINE)
    return host_.ReplyDurable(reply, Moved());
  source_committed_ = std::max(source_committed_, message.committed);
  early_tokens_.push_back({message.after_abort, message.durable});
  TakeToken();
  Advance();
  host_.ReplyDurable(reply, committed_);
}

void ChainCore::TakeToken() {
  std::erase_if(early_tokens_, [&](const Token& early) {
    if (early.after_abort > received_) return false;
    token_ = std::max(token_, early);
    return true;
  });
}

// What an abort undoes that the giver of the token did not know of was durable there, not undone.
uint64_t ChainCore::Counts(const Token& token) const {
  if (token.after_abort >= last_abort_ || last_abort_ <= committed_) return token.durable;
  uint64_t through = token.durable;
  for (const Entry& entry : entries_) {
    if (entry.op->kind == ChainOp::Kind::kAbort && entry.sequence > token.after_abort)
      through = std::min(through, entry.op->abort_from - 1);
  }
  return through;
}

// A resync that begins anew does not take back what was mirrored before.
bool ChainCore::UndoesMirrored(const Entry& abort) {
  const Sequences& sequences = chunks_.at(abort.op->chunk);
  return std::any_of(sequences.begin(), sequences.end(), [&](uint64_t sequence) {
    return sequence >= abort.op->abort_from && sequence < abort.sequence &&
           Find(sequence)->mirrored;
  });
}

// The same of what the mirror has settled; what it was told to skip it has not to undo.
uint64_t ChainCore::MirrorCounts() {
  if (mirror_settled_ >= last_abort_ || last_abort_ <= committed_) return mirror_settled_;
  uint64_t through = mirror_settled_;
  for (const Entry& entry : entries_) {
    if (entry.op->kind == ChainOp::Kind::kAbort && entry.sequence > mirror_settled_ &&
        UndoesMirrored(entry))
      through = std::min(through, entry.op->abort_from - 1);
  }
  return through;
}

// ---- settling and committing ----

void ChainCore::Advance() {
  while (Entry* entry = Find(settled_ + 1)) {
    const bool durable = entry->state == State::kDurable && !entry->doomed;
    if (!durable && entry->state != State::kUndone) break;
    ++settled_;
  }
  const proto::TargetState state = MyState();
  if (state == proto::SYNCING) {
    ReplySettled();
    return CommitThrough(std::min(source_committed_, settled_));
  }
  if (state != proto::SERVING) return;
  const bool token_counts = !IsHead() && !Planted(Bug::kCommitWithoutToken);
  const uint64_t through =
      token_counts ? std::min(settled_, std::max(Counts(token_), committed_)) : settled_;
  if (IsTail()) {
    const uint64_t before = committed_;
    CommitThrough(mirror_ ? std::min(through, MirrorCounts()) : through);
    if (!mirror_ || committed_ == before) return;
    host_.SendDurable(*mirror_, {version_, self_, committed_, 0, committed_});
  } else if (through > durable_sent_ && tokens_under_way_ < kMaxTokensUnderWay) {
    durable_sent_ = through;
    ++tokens_under_way_;
    host_.SendDurable(*Behind(), {version_, self_, through, last_abort_, committed_});
  }
}

// The syncing member answers what is durable: its word counts for the one that mirrors to it.
void ChainCore::ReplySettled() {
  for (Entry& entry : entries_) {
    if (entry.sequence > settled_) break;
    // What was lost shows until it is copied, and is not to be compared.
    const bool tells = complete_ && entry.state != State::kUndone;
    const ReplicateReply answer{settled_, tells ? entry.local : LocalState{}, Status::Ok()};
    for (ReplyId reply : std::exchange(entry.replies, {})) host_.ReplyReplicate(reply, answer);
  }
}

void ChainCore::CommitThrough(uint64_t sequence) {
  if (sequence <= committed_) return;
  CHECK(sequence <= settled_, "chain " + ToString(chain_) + ": committed beyond what is durable");
  std::vector<Entry> ended;
  while (committed_ < sequence) {
    Entry& entry = entries_.front();
    Sequences& sequences = chunks_.at(entry.op->chunk);
    std::erase(sequences, entry.sequence);
    if (sequences.empty()) chunks_.erase(entry.op->chunk);
    ended.push_back(std::move(entry));
    entries_.pop_front();
    ++committed_;
  }
  for (Entry& entry : ended) EndEntry(entry);
  ServeWaiting();
  if (mirror_) resync_.OnCommitted();
  SendMore();
}

void ChainCore::EndEntry(Entry& entry) {
  const ChainOp& op = *entry.op;
  const bool undone = entry.state == State::kUndone;
  const bool changes = op.kind != ChainOp::Kind::kNote && op.kind != ChainOp::Kind::kAbort;
  if (changes && !undone && !entry.skip) host_.Release(op.chunk, Ticket(entry.sequence));
  const MutationResult result = op.kind == ChainOp::Kind::kNote
                                    ? op.note
                                    : MutationResult{entry.local.version, entry.local.chunk_length};
  // Not before: the next of the stream would be stored where this one is still to be undone.
  if (undone) streams_.Undo(op.name, entry.sequence);
  if (!undone && !entry.skip) streams_.Commit(op.name, entry.sequence, result);
  const ReplicateReply reply{committed_, undone ? LocalState{} : entry.local, Status::Ok()};
  for (ReplyId id : entry.replies) host_.ReplyReplicate(id, reply);
  const Status verdict = VerdictOf(entry);
  for (CallId call : entry.calls) {
    if (undone) {
      host_.Finish(call, verdict);
    } else {
      host_.Finish(call, result);
    }
  }
  if (entry.group != 0) EndOfGroupPart(entry, undone ? verdict : Status::Ok());
}

bool ChainCore::AnyUnderWay(const StreamTable::Predicate& over) const {
  const auto names = [&](const ChainOp& op) {
    return op.name.incarnation.IsSet() && over(op.name.incarnation);
  };
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const Entry& entry) { return names(*entry.op); }) ||
         std::any_of(groups_.begin(), groups_.end(),
                     [&](const auto& group) { return names(*group.second.note); });
}

// ---- reads ----

void ChainCore::Read(CallId call, ChunkId chunk) {
  const auto found = chunks_.find(chunk);
  if (found == chunks_.end() || Planted(Bug::kNoTailQuery))
    return host_.ServeRead(call, Ticket(committed_));
  if (!IsTail()) {
    next_.push_back({call, chunk});
    return AskTail();
  }
  if (found->second.front() <= recover_through_) {
    recovering_.push_back({call, chunk});
    return;
  }
  host_.ServeRead(call, Ticket(committed_));
}

// A query answers the reads that had come when it was sent.
void ChainCore::AskTail() {
  if (query_ != 0 || next_.empty()) return;
  asking_ = std::exchange(next_, {});
  query_ = next_query_++;
  TargetId tail;
  for (const MemberView& member : members_)
    if (member.state == proto::SERVING) tail = member.target;
  host_.AskCommitted(tail, version_, query_);
}

void ChainCore::OnCommittedReply(uint64_t query, const Result<uint64_t>& committed) {
  if (query != query_) return;
  query_ = 0;
  for (const WaitingRead& read : std::exchange(asking_, {})) {
    if (committed.ok()) {
      host_.ServeRead(read.call, Ticket(std::max(*committed, committed_)));
    } else {
      host_.FailRead(read.call, committed.status());
    }
  }
  AskTail();
}

void ChainCore::OnCommittedAsked(ReplyId reply, ChainVersion version) {
  if (version != version_ || !IsTail()) return host_.ReplyCommitted(reply, Moved());
  if (committed_ < recover_through_) {
    recovering_queries_.push_back(reply);
    return;
  }
  host_.ReplyCommitted(reply, committed_);
}

void ChainCore::ServeWaiting() {
  std::erase_if(recovering_, [&](const WaitingRead& read) {
    const auto found = chunks_.find(read.chunk);
    if (found != chunks_.end() && found->second.front() <= recover_through_) return false;
    host_.ServeRead(read.call, Ticket(committed_));
    return true;
  });
  if (committed_ < recover_through_) return;
  for (ReplyId reply : std::exchange(recovering_queries_, {}))
    host_.ReplyCommitted(reply, committed_);
}

// ---- resync ----

void ChainCore::OnLists(uint64_t step, const Result<ListPair>& lists) {
  resync_.OnLists(step, lists);
}

void ChainCore::OnStep(uint64_t step, const Status& status) { resync_.OnStep(step, status); }

Status ChainCore::SetComplete(ChainVersion version, uint64_t base, uint64_t number) {
  if (version != version_ || MyState() != proto::SYNCING) return Moved();
  if (number != sync_number_)
    return {Code::kCancelled, "resync: message " + std::to_string(number) + " comes late"};
  BeginAfter(base);
  if (lost_) {
    return {Code::kCorrupt, "chain " + ToString(chain_) + ": a change was lost during the resync"};
  }
  complete_ = true;
  return Status::Ok();
}

Status ChainCore::CheckSyncing(ChainVersion version, TargetId from, uint64_t number) {
  if (version != version_ || MyState() != proto::SYNCING || Before() != from) return Moved();
  if (number <= sync_number_)
    return {Code::kCancelled, "resync: message " + std::to_string(number) + " comes late"};
  sync_number_ = number;
  return Status::Ok();
}

Status ChainCore::CheckList(ChainVersion version, TargetId from, uint64_t number, bool from_first) {
  RETURN_IF_ERROR(CheckSyncing(version, from, number));
  if (syncs_ + strays_ > 0) return {Code::kBusy, "resync: earlier changes are still under way"};
  if (from_first) lost_ = false;
  if (std::exchange(trusting_, false)) host_.Distrust(streams_.Distrust());
  return Status::Ok();
}

Status ChainCore::BeginSync(ChainVersion version, TargetId from, uint64_t number) {
  RETURN_IF_ERROR(CheckSyncing(version, from, number));
  ++syncs_;
  return Status::Ok();
}

void ChainCore::ListBoth(const ListStep& step) { host_.List(*mirror_, step); }
void ChainCore::CopyChunks(const CopyStep& step) { host_.Copy(*mirror_, step); }
void ChainCore::RemoveChunks(const RemoveStep& step) { host_.RemoveThere(*mirror_, step); }
void ChainCore::SendStreams(uint64_t step) { host_.SendResults(*mirror_, step); }

// What is undone behind a held change is not committed before that; it does not matter any more.
bool ChainCore::IsQuiet(const ChunkRange& range) {
  return std::none_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    const bool undone = entry.state == State::kUndone ||
                        (entry.op->kind == ChainOp::Kind::kAbort && entry.state == State::kDurable);
    const bool waits = entry.state == State::kHeld || (undone && entry.sequence > window_after_);
    return !waits && range.Contains(entry.op->chunk);
  });
}

void ChainCore::WindowMoved() {
  for (size_t i = 0; i < entries_.size(); ++i) {
    Entry& entry = entries_[i];
    const bool waits = entry.state == State::kWaiting && entry.op->kind != ChainOp::Kind::kAbort;
    if (waits || entry.state == State::kHeld) Start(entry);
  }
  SendMore();
  Advance();
}

}  // namespace sheaf::storage
