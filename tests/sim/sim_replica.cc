#include "tests/sim/sim_replica.h"

#include <memory>
#include <utility>

#include "tests/sim/sim_node.h"

namespace sheaf::sim {
namespace {

constexpr Time kPeerDeadline = 150 * kMillisecond;
constexpr Time kReadTakes = 2 * kMillisecond;
constexpr Time kListTakes = 2 * kMillisecond;
constexpr uint32_t kPieceCells = 2;

Status NoReplica() { return {Code::kWrongChain, "peer: no replica of the chain here"}; }

void Answer(const Network::Responder<bool>& reply, const Status& status) {
  if (status.ok()) {
    reply(true);
  } else {
    reply(status);
  }
}

}  // namespace

SimReplica::SimReplica(SimNode& node, ChainId chain, bool learns)
    : node_(node),
      chain_(chain),
      engine_(node.engine()),
      core_(chain, node.target(), static_cast<storage::ChainHost&>(*this)) {
  if (!learns) return;
  for (const auto& [name, stream] : engine_.LoadRows(chain)) core_.streams().Learn(name, stream);
}

void SimReplica::Stop() {
  storage::ChainView nobody;
  nobody.id = chain_;
  nobody.version = ChainVersion(UINT32_MAX);
  core_.Configure(nobody);
}

void SimReplica::Forget(const StreamTable::Predicate& over) {
  core_.streams().Forget(over);
  engine_.ForgetRows(chain_, over);
}

void SimReplica::Later(Time delay, Action action) {
  node_.world().scheduler().At(node_.world().now() + delay, node_.actor(), node_.actor().life,
                               std::move(action));
}

// ---- clients ----

void SimReplica::Mutate(const MutateRequest& request,
                        const Network::Responder<MutateAnswer>& reply) {
  const CallId call = next_id_++;
  mutations_.emplace(call, MutationCall{request.admission, reply});
  if (!request.group) {
    auto op = std::make_shared<ChainOp>(request.op);
    op->proposed = core_.version();
    return core_.Mutate(call, std::move(op));
  }
  if (core_.JoinGroup(call, request.op.name, request.op.fingerprint)) return;
  Later(kListTakes, [this, call, request] { MutateGroup(call, request); });
}

// What is to be removed has been listed. Meanwhile nothing was under way, so the request is
// admitted again.
void SimReplica::MutateGroup(CallId call, const MutateRequest& request) {
  if (auto admitted = node_.Admit(request.admission); !admitted.ok())
    return Finish(call, admitted.status());
  std::vector<ChainOpRef> parts;
  const std::vector<ChunkId> present = engine_.AnyVersion(chain_);
  for (ChunkId chunk : request.removes) {
    if (std::find(present.begin(), present.end(), chunk) == present.end()) continue;
    auto part = std::make_shared<ChainOp>();
    part->kind = ChainOp::Kind::kRemove;
    part->chunk = chunk;
    part->proposed = core_.version();
    part->name.incarnation = request.op.name.incarnation;
    parts.push_back(std::move(part));
  }
  auto note = std::make_shared<ChainOp>(request.op);
  note->proposed = core_.version();
  if (!request.removes.empty()) note->chunk = request.removes.front();
  note->note.removed = static_cast<uint32_t>(parts.size());
  core_.MutateGroup(call, parts, std::move(note));
}

void SimReplica::Finish(CallId call, const Result<storage::MutationResult>& answer) {
  const auto found = mutations_.find(call);
  CHECK(found != mutations_.end(), "a mutation is finished twice");
  const MutationCall finished = std::move(found->second);
  mutations_.erase(found);
  const auto admitted = node_.Admit(finished.admission);
  // A fence does not take back what was done before it.
  if (!admitted.ok() && admitted.status().code() != Code::kFenced)
    return finished.reply(admitted.status());
  finished.reply(answer);
}

void SimReplica::Read(const ReadRequest& request, const Network::Responder<Image>& reply) {
  const CallId call = next_id_++;
  reads_.emplace(call, ReadCall{request, reply});
  core_.Read(call, request.chunk);
}

void SimReplica::ServeRead(CallId call, uint64_t upto) {
  const Time takes = node_.world().random().Between(1, kReadTakes);
  Later(takes, [this, call, upto] { SendRead(call, upto); });
}

void SimReplica::SendRead(CallId call, uint64_t upto) {
  const auto found = reads_.find(call);
  CHECK(found != reads_.end(), "a read is answered twice");
  const ReadCall read = std::move(found->second);
  reads_.erase(found);
  const Result<Image> image = engine_.ReadAt(chain_, read.request.chunk, upto);
  if (const auto admitted = node_.Admit(read.request.admission); !admitted.ok())
    return read.reply(admitted.status());
  read.reply(image);
}

void SimReplica::FailRead(CallId call, const Status& status) {
  const auto found = reads_.find(call);
  CHECK(found != reads_.end(), "a read is answered twice");
  found->second.reply(status);
  reads_.erase(found);
}

// ---- the engine ----

void SimReplica::Apply(uint64_t ticket, const ChainOpRef& op) {
  node_.world().Trace("node {} chain {} applies {:x} to chunk {}", node_.id(), chain_.value(),
                      ticket, op->chunk.index);
  engine_.Apply(chain_, ticket, op,
                [this, ticket, chunk = op->chunk, life = node_.actor().life](const auto& state) {
                  if (life != node_.actor().life) return;
                  Later(0, [this, ticket, chunk, state] {
                    TraceApplied(ticket, chunk, state);
                    core_.OnApplied(ticket, chunk, state);
                  });
                });
}

void SimReplica::TraceApplied(uint64_t ticket, ChunkId chunk, const Result<LocalState>& state) {
  if (!node_.world().verbose()) return;
  node_.world().Trace("node {} chain {} applied {:x} of chunk {}: {}", node_.id(), chain_.value(),
                      ticket, chunk.index,
                      state.ok() ? fmt::format("version {}", state->version.value())
                                 : state.status().ToString());
}

void SimReplica::Release(ChunkId chunk, uint64_t ticket) {
  node_.world().Trace("node {} chain {} releases {:x} of chunk {}", node_.id(), chain_.value(),
                      ticket, chunk.index);
  engine_.Release(chain_, chunk, ticket);
}

void SimReplica::Revert(ChunkId chunk, uint64_t from_ticket, uint64_t ticket,
                        const std::vector<StreamTable::Name>& undone) {
  node_.world().Trace("node {} chain {} reverts chunk {} from {:x} by {:x}", node_.id(),
                      chain_.value(), chunk.index, from_ticket, ticket);
  engine_.Revert(chain_, chunk, from_ticket, undone,
                 [this, ticket, life = node_.actor().life](const Status& status) {
                   if (life != node_.actor().life) return;
                   Later(0, [this, ticket, status] {
                     node_.world().Trace("node {} chain {} reverted by {:x}: {}", node_.id(),
                                         chain_.value(), ticket, status.ToString());
                     core_.OnReverted(ticket, status);
                   });
                 });
}

void SimReplica::Distrust(const std::vector<StreamTable::Name>& names) {
  std::vector<SimEngine::Row> rows;
  for (const StreamTable::Name& name : names)
    rows.emplace_back(name, StreamTable::Stream{name.sequence, 0, 0, false, {}});
  engine_.PutRows(chain_, std::move(rows), [](const Status&) {});
}

// ---- neighbours ----

template <typename Answer, typename Handle>
void SimReplica::CallPeer(TargetId to, Handle handle,
                          std::function<void(const Result<Answer>&)> done) {
  SimNode& peer = node_.world().node_of(to);
  node_.world().network().Call<Answer>(
      node_.actor(), peer.actor(), kPeerDeadline,
      [&peer, chain = chain_, handle = std::move(handle)](const auto& reply) {
        SimReplica* replica = peer.replica(chain);
        if (replica == nullptr) return reply(NoReplica());
        handle(*replica, reply);
      },
      std::move(done));
}

void SimReplica::SendReplicate(TargetId to, const storage::ReplicateMessage& message) {
  node_.world().Trace("node {} chain {} sends change {:x} (kind {}, chunk {}{}) to node {}",
                      node_.id(), chain_.value(), message.sequence,
                      static_cast<int>(message.op->kind), message.op->chunk.index,
                      message.skip ? ", to skip" : "", to.value());
  CallPeer<storage::ReplicateReply>(
      to,
      [message](SimReplica& peer, const auto& reply) {
        const ReplyId id = peer.next_id_++;
        peer.replicate_replies_.emplace(id, reply);
        peer.core_.OnReplicate(id, message);
      },
      [this, version = message.version, sequence = message.sequence](const auto& answer) {
        TraceAnswer(sequence, answer);
        core_.OnReplicateReply(version, sequence, answer);
      });
}

void SimReplica::TraceAnswer(uint64_t sequence, const Result<storage::ReplicateReply>& answer) {
  if (!node_.world().verbose()) return;
  node_.world().Trace(
      "node {} chain {} is answered for change {:x}: {}", node_.id(), chain_.value(), sequence,
      !answer.ok() ? answer.status().ToString()
                   : fmt::format("committed {:x} {}", answer->committed, answer->failed.ToString()));
}

void SimReplica::SendDurable(TargetId to, const storage::DurableMessage& message) {
  node_.world().Trace("node {} chain {} sends token {:x} after abort {:x} to node {}", node_.id(),
                      chain_.value(), message.durable, message.after_abort, to.value());
  CallPeer<uint64_t>(
      to,
      [message](SimReplica& peer, const auto& reply) {
        const ReplyId id = peer.next_id_++;
        peer.number_replies_.emplace(id, reply);
        peer.core_.OnDurable(id, message);
      },
      [this, version = message.version](const auto& answer) {
        core_.OnDurableReply(version, answer);
      });
}

void SimReplica::AskCommitted(TargetId tail, ChainVersion version, uint64_t query) {
  CallPeer<uint64_t>(
      tail,
      [version](SimReplica& peer, const auto& reply) {
        const ReplyId id = peer.next_id_++;
        peer.number_replies_.emplace(id, reply);
        peer.core_.OnCommittedAsked(id, version);
      },
      [this, query](const auto& answer) { core_.OnCommittedReply(query, answer); });
}

void SimReplica::ReplyReplicate(ReplyId reply, const Result<storage::ReplicateReply>& answer) {
  const auto found = replicate_replies_.find(reply);
  CHECK(found != replicate_replies_.end(), "a change is answered twice");
  found->second(answer);
  replicate_replies_.erase(found);
}

void SimReplica::ReplyDurable(ReplyId reply, const Result<uint64_t>& committed) {
  const auto found = number_replies_.find(reply);
  CHECK(found != number_replies_.end(), "a neighbour is answered twice");
  found->second(committed);
  number_replies_.erase(found);
}

void SimReplica::ReplyCommitted(ReplyId reply, const Result<uint64_t>& committed) {
  ReplyDurable(reply, committed);
}

void SimReplica::Diverged(ChunkId chunk, uint64_t sequence, const LocalState& here,
                          const LocalState& there) {
  node_.world().Fail(fmt::format(
      "chain {} chunk {} change {}: version {} checksum {:x} on node {}, version {} checksum {:x} "
      "behind it",
      chain_.value(), ToString(chunk), sequence, here.version.value(), here.checksum, node_.id(),
      there.version.value(), there.checksum));
}

// ---- resync, the sender ----

void SimReplica::List(TargetId peer, const storage::ListStep& step) {
  const SyncFrom sync = Sync(core_.version(), step.step);
  auto here = std::make_shared<storage::ListPage>(engine_.List(chain_, step.range, step.limit));
  CallPeer<storage::ListPage>(
      peer,
      [sync, step](SimReplica& there, const auto& reply) { there.OnSyncList(sync, step, reply); },
      [this, here, step](const Result<storage::ListPage>& there) {
        if (!there.ok()) return core_.OnLists(step.step, there.status());
        core_.OnLists(step.step, storage::ListPair{*here, *there});
      });
}

void SimReplica::Copy(TargetId peer, const storage::CopyStep& step) {
  CopyOne(peer, step, core_.version());
}

// Those of a step one after the other, from its end.
void SimReplica::CopyOne(TargetId peer, const storage::CopyStep& step, ChainVersion version) {
  Later(kReadTakes, [this, peer, step, version] {
    const Result<Image> image =
        engine_.ReadAt(chain_, step.chunks.back().chunk.chunk, SimEngine::kNewest);
    if (!image.ok()) return core_.OnStep(step.step, image.status());
    CopyPiece(peer, step, version, image->content, 0);
  });
}

void SimReplica::CopyPiece(TargetId peer, const storage::CopyStep& step, ChainVersion version,
                           const Content& content, uint32_t begin) {
  const SyncFrom sync = Sync(version, step.step);
  const uint32_t end = std::min<uint32_t>(begin + kPieceCells, content.length);
  CallPeer<bool>(
      peer,
      [sync, chunk = step.chunks.back().chunk.chunk, content, begin, end](SimReplica& there,
                                                                          const auto& reply) {
        there.OnSyncPiece(sync, chunk, content, begin, end, reply);
      },
      [this, peer, step, version, content, end](const Result<bool>& done) {
        if (!done.ok()) return core_.OnStep(step.step, done.status());
        if (end < content.length) return CopyPiece(peer, step, version, content, end);
        CopySeal(peer, step, version);
      });
}

void SimReplica::CopySeal(TargetId peer, const storage::CopyStep& step, ChainVersion version) {
  const SyncFrom sync = Sync(version, step.step);
  CallPeer<bool>(
      peer,
      [sync, facts = step.chunks.back().chunk](SimReplica& there, const auto& reply) {
        there.OnSyncSeal(sync, facts, reply);
      },
      [this, peer, step, version](const Result<bool>& done) {
        if (!done.ok() || step.chunks.size() == 1) return core_.OnStep(step.step, done.status());
        storage::CopyStep rest = step;
        rest.chunks.pop_back();
        CopyOne(peer, rest, version);
      });
}

void SimReplica::RemoveThere(TargetId peer, const storage::RemoveStep& step) {
  const SyncFrom sync = Sync(core_.version(), step.step);
  CallPeer<bool>(
      peer,
      [sync, chunks = step.chunks](SimReplica& there, const auto& reply) {
        there.OnSyncRemove(sync, chunks, reply);
      },
      [this, step](const Result<bool>& done) { core_.OnStep(step.step, done.status()); });
}

void SimReplica::SendResults(TargetId peer, uint64_t step) {
  const SyncFrom sync = Sync(core_.version(), step);
  std::vector<SimEngine::Row> rows;
  core_.streams().ForEach([&](const StreamTable::Name& name, const StreamTable::Stream& stream) {
    rows.emplace_back(name, stream);
  });
  CallPeer<bool>(
      peer,
      [sync, rows = std::move(rows), base = core_.mirror_base()](
          SimReplica& there, const auto& reply) { there.OnSyncResults(sync, rows, base, reply); },
      [this, step](const Result<bool>& done) { core_.OnStep(step, done.status()); });
}

// ---- resync, the receiver ----

void SimReplica::TraceSync(const SyncFrom& sync, const std::string& what) {
  node_.world().Trace("node {} chain {} (step {} of node {}) {}", node_.id(), chain_.value(),
                      sync.step, sync.from.value(), what);
}

SimReplica::SyncFrom SimReplica::Sync(ChainVersion version, uint64_t step) {
  return {version, node_.target(), step, ++last_number_};
}

Status SimReplica::BeginSync(const SyncFrom& sync) {
  return core_.BeginSync(sync.version, sync.from, sync.number);
}

// Called by the engine, also when the process that asked is gone.
void SimReplica::EndSync(uint32_t life, const Ack& reply, const Status& status) {
  if (life != node_.actor().life) return;
  Later(0, [this, reply, status] {
    core_.EndSync();
    Answer(reply, status);
  });
}

void SimReplica::OnSyncList(const SyncFrom& sync, const storage::ListStep& step,
                            const Network::Responder<storage::ListPage>& reply) {
  const Status status = core_.CheckList(sync.version, sync.from, sync.number,
                                        !step.range.after.has_value());
  if (!status.ok()) return reply(status);
  TraceSync(sync, "lists");
  Later(kListTakes, [this, step, reply] { reply(engine_.List(chain_, step.range, step.limit)); });
}

void SimReplica::OnSyncPiece(const SyncFrom& sync, ChunkId chunk, const Content& content,
                             uint32_t begin, uint32_t end, const Ack& reply) {
  if (Status status = BeginSync(sync); !status.ok()) return reply(status);
  TraceSync(sync, fmt::format("takes cells {} to {} of chunk {}", begin, end, chunk.index));
  engine_.WritePiece(chain_, chunk, begin == 0, content, begin, end,
                     [this, reply, life = node_.actor().life](const Status& status) {
                       EndSync(life, reply, status);
                     });
}

void SimReplica::OnSyncSeal(const SyncFrom& sync, const storage::ChunkFacts& facts,
                            const Ack& reply) {
  if (Status status = BeginSync(sync); !status.ok()) return reply(status);
  TraceSync(sync, fmt::format("seals chunk {}", facts.chunk.index));
  engine_.Stamp(chain_, facts, [this, reply, life = node_.actor().life](const Status& status) {
    EndSync(life, reply, status);
  });
}

void SimReplica::OnSyncRemove(const SyncFrom& sync, const std::vector<ChunkId>& chunks,
                              const Ack& reply) {
  if (Status status = BeginSync(sync); !status.ok()) return reply(status);
  TraceSync(sync, fmt::format("removes {} chunks", chunks.size()));
  struct Left {
    size_t count = 0;
    Status status;
  };
  auto left = std::make_shared<Left>();
  left->count = chunks.size();
  for (ChunkId chunk : chunks) {
    engine_.Remove(chain_, chunk,
                   [this, reply, left, life = node_.actor().life](const Status& status) {
                     if (!status.ok()) left->status = status;
                     if (--left->count == 0) EndSync(life, reply, left->status);
                   });
  }
}

void SimReplica::OnSyncResults(const SyncFrom& sync, const std::vector<SimEngine::Row>& rows,
                               uint64_t base, const Ack& reply) {
  if (Status status = BeginSync(sync); !status.ok()) return reply(status);
  TraceSync(sync, fmt::format("takes {} stream results", rows.size()));
  std::vector<SimEngine::Row> taken;
  for (const SimEngine::Row& row : rows)
    if (core_.streams().Learn(row.first, row.second)) taken.push_back(row);
  engine_.PutRows(chain_, std::move(taken),
                  [this, sync, base, reply, life = node_.actor().life](const Status& status) {
                    if (life != node_.actor().life) return;
                    Later(0, [this, sync, base, reply, status] {
                      core_.EndSync();
                      if (!status.ok()) return reply(status);
                      Answer(reply, core_.SetComplete(sync.version, base, sync.number));
                    });
                  });
}

}  // namespace sheaf::sim
