#include "storage/replica/chain_replica.h"

#include <algorithm>
#include <utility>

#include "common/crc32c.h"
#include "common/log.h"
#include "storage/replica/replica_messages.h"

// The chain's clients and what the core wants done. What a member does that is being brought up to
// date is in chain_sync.cc.

namespace sheaf::storage {
namespace {

using transport::Method;

// Then the call is given up and the change sent again. It is answered when the chain has committed,
// which takes as long as the slowest disk.
constexpr std::chrono::milliseconds kReplicateTimeout{5000};
constexpr std::chrono::milliseconds kAskTimeout{1000};

LocalState LocalFrom(const Engine::ChunkState& state) {
  return {state.version, state.length, state.checksum};
}

template <typename Response>
Result<Response> ParseReply(const Result<transport::Reply>& reply) {
  if (!reply.ok()) return reply.status();
  Response response;
  if (response.ParseFromString(reply->message)) return response;
  return Status(Code::kProtocol, response.GetTypeName() + ": the answer cannot be read");
}

}  // namespace

ChainReplica::ChainReplica(ChainId chain, TargetId self, Engine& engine, const Env& env)
    : chain_(chain), self_(self), engine_(engine), env_(env), core_(chain, self, *this) {}

// ---- life ----

void ChainReplica::Learn(const Engine::StreamRow& row) {
  std::lock_guard lock(mutex_);
  StreamTable::Stream stream;
  stream.fingerprint = row.fingerprint;
  stream.done = row.done;
  stream.result = {row.version, row.chunk_length, row.removed, row.more};
  core_.streams().Learn({row.incarnation, row.stream, row.sequence}, stream);
}

void ChainReplica::Configure(const ChainView& view) {
  Run(nullptr, [&] {
    if (!stopped_) core_.Configure(view);
  });
}

// A chain that we are no member of: everyone who waits is told so.
void ChainReplica::Stop() {
  Run(nullptr, [&] {
    ChainView nobody;
    nobody.id = chain_;
    nobody.version = ChainVersion(UINT32_MAX);
    core_.Configure(nobody);
    stopped_ = true;
  });
}

bool ChainReplica::stopped() const {
  std::lock_guard lock(mutex_);
  return stopped_;
}

void ChainReplica::Tick() {
  Run(nullptr, [&] { core_.Tick(); });
}

bool ChainReplica::AnyUnderWay(const StreamTable::Predicate& over) const {
  std::lock_guard lock(mutex_);
  return core_.AnyUnderWay(over);
}

void ChainReplica::ForgetStreams(const StreamTable::Predicate& over) {
  std::lock_guard lock(mutex_);
  core_.streams().Forget(over);
}

ChainReplica::Counts ChainReplica::GetCounts() const {
  std::lock_guard lock(mutex_);
  return {core_.streams().counts(), core_.received() - core_.committed(), diverged_,
          core_.resync().IsRunning(), stages_->bytes, stages_->lost};
}

std::optional<proto::ChainReport> ChainReplica::Report() const {
  std::lock_guard lock(mutex_);
  if (!core_.complete() && !core_.resync().IsRunning()) return std::nullopt;
  proto::ChainReport report;
  report.set_chain_id(chain_.value());
  report.set_chain_version(core_.version().value());
  report.set_complete(core_.complete());
  if (!core_.resync().IsRunning()) return report;
  report.set_chunks_left(core_.resync().IsDone() ? 0 : 1);
  if (env_.mover != nullptr) report.set_bytes_per_s(env_.mover->bytes_per_s());
  return report;
}

// ---- clients ----

void ChainReplica::Read(IoContext& io, ChunkId chunk, uint32_t offset, uint32_t length,
                        const Admission& admission, Engine::ReadDone done) {
  Run(&io, [&] {
    if (Status status = admission(); !status.ok()) {
      return After(&io, [done, status] { done(status); });
    }
    const CallId call = next_id_++;
    reads_.emplace(call, ReadCall{&io, chunk, offset, length, std::move(done)});
    core_.Read(call, chunk);
  });
}

void ChainReplica::ServeRead(CallId call, uint64_t upto) {
  ReadCall read = std::move(reads_.extract(call).mapped());
  IoContext* io = read.io;
  After(io, [this, self = shared_from_this(), read = std::move(read), upto] {
    engine_.ReadAt(*read.io, KeyOf(read.chunk), upto, read.offset, read.length,
                   [self, chunk = read.chunk, done = read.done](Result<Engine::ReadAnswer> answer) {
                     if (IsDamage(answer.status())) (void)self->RequestRepair(chunk);
                     done(std::move(answer));
                   });
  });
}

bool ChainReplica::RequestRepair(ChunkId chunk) {
  if (env_.repairer == nullptr || env_.home == nullptr || !engine_.Health().ok()) return false;
  {
    std::lock_guard lock(mutex_);
    if (stopped_ || core_.members().size() < 2) return false;
  }
  return env_.repairer->Add({.engine = &engine_,
                             .io = env_.home,
                             .key = KeyOf(chunk),
                             .sources = [weak = weak_from_this()] {
                               const auto self = weak.lock();
                               return self ? self->SourcesOfRepair() : Repairer::Sources();
                             }});
}

// Bytes beside those that the change is of could not be read. Once they are repaired it can be made: the
// client is to send it again. Where the payload is what was damaged, nothing is repaired.
Status ChainReplica::AfterRepair(const ChainOp& op, const Status& status) {
  if (!IsDamage(status) || Crc32c(op.bytes) != op.crc32c || !RequestRepair(op.chunk)) return status;
  return {Code::kBusy, "chunk " + ToString(op.chunk) + " is to be repaired: " + status.message()};
}

Repairer::Sources ChainReplica::SourcesOfRepair() const {
  std::lock_guard lock(mutex_);
  Repairer::Sources sources{.version = core_.version()};
  for (const MemberView& member : core_.members()) {
    if (member.state == proto::SERVING && !member.leaving && member.target != self_)
      sources.targets.push_back(member.target);
  }
  return sources;
}

void ChainReplica::FailRead(CallId call, const Status& status) {
  ReadCall read = std::move(reads_.extract(call).mapped());
  After(read.io, [done = std::move(read.done), status] { done(status); });
}

void ChainReplica::Mutate(IoContext& io, ChainOp op, const Admission& admission,
                          Done<MutationResult> done) {
  op.io = &io;
  Run(&io, [&] {
    last_io_ = &io;
    if (Status status = admission(); !status.ok()) {
      return After(&io, [done, status] { done(status); });
    }
    op.proposed = core_.version();
    const CallId call = next_id_++;
    calls_.emplace(call, ClientCall{&io, std::move(done)});
    core_.Mutate(call, std::make_shared<const ChainOp>(std::move(op)));
  });
}

// Its chunks are listed, then removed one by one along the chain.
void ChainReplica::Remove(IoContext& io, const RemoveArgs& args, const Admission& admission,
                          Done<MutationResult> done) {
  bool known = false;
  Run(&io, [&] {
    last_io_ = &io;
    if (Status status = admission(); !status.ok()) {
      known = true;
      return After(&io, [done, status] { done(status); });
    }
    const CallId call = next_id_++;
    calls_.emplace(call, ClientCall{&io, done});
    known = core_.JoinGroup(call, args.name, args.fingerprint);
    if (!known) calls_.erase(call);
  });
  if (known) return;
  std::optional<ChunkId> after;
  if (args.first_index > 0) after = ChunkId{args.data_id, args.first_index - 1};
  engine_.List(io, chain_, after, args.data_id, args.limit + 1,
               [this, self = shared_from_this(), &io, args, admission,
                done = std::move(done)](Result<std::vector<Engine::ListedChunk>> chunks) {
                 RemoveListed(io, args, admission, std::move(chunks), done);
               });
}

void ChainReplica::RemoveListed(IoContext& io, const RemoveArgs& args, const Admission& admission,
                                Result<std::vector<Engine::ListedChunk>> chunks,
                                Done<MutationResult> done) {
  if (!chunks.ok()) return done(chunks.status());
  auto note = std::make_shared<ChainOp>();
  note->kind = ChainOp::Kind::kNote;
  note->chunk = {args.data_id, args.first_index};
  note->name = args.name;
  note->fingerprint = args.fingerprint;
  note->note.more = chunks->size() > args.limit;
  note->io = &io;
  chunks->resize(std::min<size_t>(chunks->size(), args.limit));
  note->note.removed = static_cast<uint32_t>(chunks->size());
  Run(&io, [&] {
    if (Status status = admission(); !status.ok()) {
      return After(&io, [done, status] { done(status); });
    }
    note->proposed = core_.version();
    std::vector<ChainOpRef> parts;
    for (const Engine::ListedChunk& chunk : *chunks) {
      auto part = std::make_shared<ChainOp>();
      part->kind = ChainOp::Kind::kRemove;
      part->chunk = chunk.key.chunk;
      part->proposed = core_.version();
      part->name.incarnation = args.name.incarnation;
      part->io = &io;
      parts.push_back(std::move(part));
    }
    const CallId call = next_id_++;
    calls_.emplace(call, ClientCall{&io, std::move(done)});
    core_.MutateGroup(call, parts, std::move(note));
  });
}

void ChainReplica::Finish(CallId call, const Result<MutationResult>& answer) {
  auto found = calls_.extract(call);
  if (found.empty()) return;  // answered before it was committed
  ClientCall& waiting = found.mapped();
  After(waiting.io, [done = std::move(waiting.done), answer] { done(answer); });
}

void ChainReplica::List(IoContext& io, std::optional<ChunkId> after, std::optional<DataId> only,
                        uint32_t limit, Engine::ListDone done) {
  engine_.List(io, chain_, after, only, limit, std::move(done));
}

// ---- the engine ----

IoContext& ChainReplica::AnyIo() const {
  IoContext* io = env_.home != nullptr ? env_.home : last_io_;
  CHECK(io != nullptr, "a chain of several members has no context");
  return *io;
}

IoContext& ChainReplica::IoOf(const ChainOp& op) const {
  return op.io != nullptr ? *op.io : AnyIo();
}

Engine::Change ChainReplica::ChangeFor(uint64_t ticket, const ChainOp& op) const {
  using Kind = Engine::Change::Kind;
  Engine::Change change;
  switch (op.kind) {
    case ChainOp::Kind::kWrite:
      change.kind = Kind::kWrite;
      break;
    case ChainOp::Kind::kTruncate:
      change.kind = Kind::kTruncate;
      break;
    case ChainOp::Kind::kRemove:
      change.kind = Kind::kRemove;
      break;
    default:
      change.kind = Kind::kNote;
      break;
  }
  change.args = {.key = KeyOf(op.chunk),
                 .offset = op.offset,
                 .chunk_size = op.chunk_size,
                 .crc32c = op.crc32c,
                 .chain_version = op.proposed,
                 .buffer = op.buffer,
                 .bytes = op.bytes};
  change.length = op.length;
  change.extend = op.extend;
  change.ticket = ticket;
  if (!op.name.IsNamed()) return change;
  Engine::StreamRow row;
  row.chain = chain_;
  row.incarnation = op.name.incarnation;
  row.stream = op.name.stream;
  row.sequence = op.name.sequence;
  row.fingerprint = op.fingerprint;
  row.done = true;
  row.removed = op.note.removed;
  row.more = op.note.more;
  change.row = row;
  return change;
}

void ChainReplica::Apply(uint64_t ticket, const ChainOpRef& op) {
  IoContext& io = IoOf(*op);
  engine_.Apply(io, ChangeFor(ticket, *op),
                [this, self = shared_from_this(), &io, ticket,
                 op](Result<Engine::ChunkState> state) {
                  const Status status = AfterRepair(*op, state.status());
                  Run(&io, [&] {
                    core_.OnApplied(ticket, op->chunk,
                                    state.ok() ? Result<LocalState>(LocalFrom(*state))
                                               : Result<LocalState>(WhyFailed(status)));
                  });
                });
}

// A target that is out of service leaves the chain, which then takes the change.
Status ChainReplica::WhyFailed(const Status& status) const {
  if (!core_.HasOthers() || engine_.Health().ok()) return status;
  return {Code::kNotServing, "chain " + ToString(chain_) + ": target " + ToString(self_) +
                                 " leaves it: " + status.message()};
}

void ChainReplica::Release(ChunkId chunk, uint64_t ticket) {
  engine_.Release(KeyOf(chunk), ticket);
}

std::vector<Engine::StreamRow> ChainReplica::NotDone(
    const std::vector<StreamTable::Name>& names) const {
  std::vector<Engine::StreamRow> rows;
  for (const StreamTable::Name& name : names) {
    Engine::StreamRow row;
    row.chain = chain_;
    row.incarnation = name.incarnation;
    row.stream = name.stream;
    row.sequence = name.sequence;
    rows.push_back(row);
  }
  return rows;
}

void ChainReplica::Revert(ChunkId chunk, uint64_t from_ticket, uint64_t ticket,
                          const std::vector<StreamTable::Name>& undone) {
  IoContext& io = AnyIo();
  engine_.Revert(io, KeyOf(chunk), from_ticket, NotDone(undone),
                 [this, self = shared_from_this(), &io, ticket](Result<Engine::ChunkState> state) {
                   Run(&io, [&] { core_.OnReverted(ticket, state.status()); });
                 });
}

// An engine that cannot do this is out of service.
void ChainReplica::Distrust(const std::vector<StreamTable::Name>& names) {
  if (names.empty()) return;
  engine_.PutStreamRows(AnyIo(), NotDone(names), [self = shared_from_this()](const Status&) {});
}

// ---- neighbours: asking ----

// `keep` holds the payload until the call has ended. `event` runs under the mutex.
void ChainReplica::CallPeer(TargetId to, transport::Call call, ChainOpRef keep,
                            std::function<void(const Result<transport::Reply>&)> event) {
  CHECK(env_.peers != nullptr && env_.home != nullptr, "a chain of several members has no peers");
  env_.peers->Call(to, std::move(call),
                   [weak = weak_from_this(), home = env_.home, keep = std::move(keep),
                    event = std::move(event)](Result<transport::Reply> reply) {
                     home->Post([weak, home, event, reply = std::move(reply)] {
                       if (const auto self = weak.lock())
                         self->Run(home, [&] { event(reply); });
                     });
                   });
}

// The bytes of a large write are there already, where they were sent ahead while they came in.
void ChainReplica::SendReplicate(TargetId to, const ReplicateMessage& message) {
  const auto& forward = message.op->forward;
  const bool ahead = forward != nullptr && !message.skip;
  SendChange(to, message, ahead ? forward->Take(to, message.version) : 0);
}

void ChainReplica::SendChange(TargetId to, const ReplicateMessage& message, uint64_t stage) {
  proto::ReplicateRequest request = EncodeReplicate(chain_, message);
  if (stage != 0) {
    request.set_stage(stage);
    request.set_length(static_cast<uint32_t>(message.op->bytes.size()));
  }
  transport::Call call{.method = Method::kReplicate,
                       .message = request.SerializeAsString(),
                       .deadline = Clock::System().Now() + kReplicateTimeout,
                       .hop = core_.HopOf(to)};
  if (!message.skip && stage == 0) call.payload = message.op->bytes;
  const uint64_t attempt = sent_.Note(to, message);
  CallPeer(to, std::move(call), message.op,
           [this, message, attempt](const Result<transport::Reply>& reply) {
             OnAnswerTo(message, attempt, reply);
           });
}

void ChainReplica::OnAnswerTo(const ReplicateMessage& message, uint64_t attempt,
                              const Result<transport::Reply>& reply) {
  const auto response = ParseReply<proto::ReplicateResponse>(reply);
  const bool latest = sent_.IsLatest(message.sequence, attempt);
  if (!response.ok() || response->wants_bytes()) {
    if (!latest) return;
    if (response.ok() && message.version == core_.version()) {
      // Lost, and refused with it all that was sent after it.
      ++stages_->lost;
      for (const SentChanges::Sent& again : sent_.From(message.sequence))
        SendChange(again.to, again.message, /*stage=*/0);
      return;
    }
  }
  if (latest) sent_.Forget(message.sequence);
  core_.OnReplicateReply(message.version, message.sequence,
                         response.ok() ? Result<ReplicateReply>(DecodeReply(*response))
                                       : Result<ReplicateReply>(response.status()));
}

void ChainReplica::SendDurable(TargetId to, const DurableMessage& message) {
  proto::DurableRequest request;
  *request.mutable_peer() = EncodePeer(chain_, message.version, message.from);
  request.set_durable(message.durable);
  request.set_after_abort(message.after_abort);
  request.set_committed(message.committed);
  CallPeer(to,
           {.method = Method::kDurable,
            .message = request.SerializeAsString(),
            .deadline = Clock::System().Now() + kAskTimeout,
            .hop = core_.HopOf(to)},
           nullptr, [this, version = message.version](const Result<transport::Reply>& reply) {
             const auto response = ParseReply<proto::DurableResponse>(reply);
             core_.OnDurableReply(version, response.ok()
                                               ? Result<uint64_t>(response->committed())
                                               : Result<uint64_t>(response.status()));
           });
}

void ChainReplica::AskCommitted(TargetId tail, ChainVersion version, uint64_t query) {
  proto::CommittedRequest request;
  *request.mutable_peer() = EncodePeer(chain_, version, self_);
  CallPeer(tail,
           {.method = Method::kCommitted,
            .message = request.SerializeAsString(),
            .deadline = Clock::System().Now() + kAskTimeout,
            .hop = core_.HopOf(tail)},
           nullptr, [this, query](const Result<transport::Reply>& reply) {
             const auto response = ParseReply<proto::CommittedResponse>(reply);
             core_.OnCommittedReply(query, response.ok()
                                               ? Result<uint64_t>(response->committed())
                                               : Result<uint64_t>(response.status()));
           });
}

// ---- neighbours: answering ----

template <typename T>
void ChainReplica::AnswerPeer(std::unordered_map<ReplyId, PeerCall<T>>& calls, ReplyId reply,
                              Result<T> answer) {
  PeerCall<T> call = std::move(calls.extract(reply).mapped());
  After(call.io, [done = std::move(call.done), answer = std::move(answer)] { done(answer); });
}

void ChainReplica::ReplyReplicate(ReplyId reply, const Result<ReplicateReply>& answer) {
  AnswerPeer(replicates_, reply,
             answer.ok() ? Result<proto::ReplicateResponse>(EncodeReply(*answer))
                         : Result<proto::ReplicateResponse>(answer.status()));
}

void ChainReplica::ReplyDurable(ReplyId reply, const Result<uint64_t>& committed) {
  if (!committed.ok())
    return AnswerPeer(durables_, reply, Result<proto::DurableResponse>(committed.status()));
  proto::DurableResponse response;
  response.set_committed(*committed);
  AnswerPeer(durables_, reply, Result<proto::DurableResponse>(std::move(response)));
}

void ChainReplica::ReplyCommitted(ReplyId reply, const Result<uint64_t>& committed) {
  if (!committed.ok())
    return AnswerPeer(committeds_, reply, Result<proto::CommittedResponse>(committed.status()));
  proto::CommittedResponse response;
  response.set_committed(*committed);
  AnswerPeer(committeds_, reply, Result<proto::CommittedResponse>(std::move(response)));
}

void ChainReplica::OnReplicateRequest(IoContext& io, const proto::ReplicateRequest& request,
                                      BufferRef buffer, std::span<const uint8_t> payload,
                                      Done<proto::ReplicateResponse> done) {
  if (request.stage() != 0) {
    proto::ReplicateResponse response;
    response.set_wants_bytes(true);
    return done(std::move(response));
  }
  Take(io, DecodeReplicate(request, std::move(buffer), payload, /*forward=*/nullptr, io),
       std::move(done));
}

void ChainReplica::OnStagedReplicate(IoContext& io, const proto::ReplicateRequest& request,
                                     BufferRef buffer, std::shared_ptr<StageForward> forward,
                                     Done<proto::ReplicateResponse> done) {
  const auto payload = buffer->span().first(request.length());
  Take(io, DecodeReplicate(request, std::move(buffer), payload, std::move(forward), io),
       std::move(done));
}

void ChainReplica::Take(IoContext& io, Result<ReplicateMessage> message,
                        Done<proto::ReplicateResponse> done) {
  if (!message.ok()) return done(message.status());
  Run(&io, [&] {
    last_io_ = &io;
    const ReplyId reply = next_id_++;
    replicates_.emplace(reply, PeerCall<proto::ReplicateResponse>{&io, std::move(done)});
    core_.OnReplicate(reply, *message);
  });
}

Result<std::optional<StageForward::Route>> ChainReplica::RouteOfStage(
    ChainVersion version, std::optional<TargetId> from) {
  std::lock_guard lock(mutex_);
  std::optional<TargetId> before;
  std::optional<TargetId> behind;
  bool found = false;
  for (const MemberView& member : core_.members()) {
    if (member.target == self_) {
      found = member.state == proto::SERVING;
    } else if (member.state == proto::SERVING) {
      (found ? behind : before) = member.target;
      if (found) break;
    }
  }
  if (stopped_ || version != core_.version() || !found || before != from)
    return Status(Code::kWrongChain, "chain " + ToString(chain_) + ": it has changed meanwhile");
  if (!behind || env_.peers == nullptr || !env_.peers->TakesStages(*behind))
    return std::optional<StageForward::Route>();
  return std::optional(StageForward::Route{.peers = env_.peers,
                                           .key = {chain_, version, self_, next_stage_++},
                                           .to = *behind,
                                           .hop = core_.HopOf(*behind),
                                           .counts = stages_});
}

void ChainReplica::OnDurableRequest(IoContext& io, const proto::DurableRequest& request,
                                    Done<proto::DurableResponse> done) {
  const DurableMessage message{ChainVersion(request.peer().chain_version()),
                               TargetId(request.peer().from_target()), request.durable(),
                               request.after_abort(), request.committed()};
  Run(&io, [&] {
    const ReplyId reply = next_id_++;
    durables_.emplace(reply, PeerCall<proto::DurableResponse>{&io, std::move(done)});
    core_.OnDurable(reply, message);
  });
}

void ChainReplica::OnCommittedRequest(IoContext& io, const proto::CommittedRequest& request,
                                      Done<proto::CommittedResponse> done) {
  Run(&io, [&] {
    const ReplyId reply = next_id_++;
    committeds_.emplace(reply, PeerCall<proto::CommittedResponse>{&io, std::move(done)});
    core_.OnCommittedAsked(reply, ChainVersion(request.peer().chain_version()));
  });
}

void ChainReplica::Diverged(ChunkId chunk, uint64_t sequence, const LocalState& here,
                            const LocalState& there) {
  ++diverged_;
  LogError(
      "chain {}: chunk {} differs from its copy behind after change {} (version {} and {}, checksum "
      "{:08x} and {:08x})",
      ToString(chain_), ToString(chunk), sequence, here.version.value(), there.version.value(),
      here.checksum, there.checksum);
}

}  // namespace sheaf::storage
