#include <bit>
#include <string>
#include <utility>

#include "common/layout.h"
#include "storage/replica/chain_replica.h"
#include "storage/replica/replica_messages.h"

// Resync, at both ends: the steps that the core wants, and what the member does that is brought up
// to date.

namespace sheaf::storage {
namespace {

constexpr uint32_t kMaxSyncListed = 4096;

ChunkId ChunkFrom(const proto::ChunkId& chunk) { return {DataId(chunk.data_id()), chunk.index()}; }

Status CheckExtent(ChunkId chunk, uint64_t end, uint64_t chunk_size) {
  const std::string what = "resync chunk " + ToString(chunk) + ": ";
  if (!chunk.data_id.IsSet()) return {Code::kInvalid, what + "no data id"};
  if (!std::has_single_bit(chunk_size) || chunk_size < uint64_t{1} << kMinChunkSizeLog2 ||
      chunk_size > uint64_t{1} << kMaxChunkSizeLog2)
    return {Code::kInvalid, what + "chunk size " + std::to_string(chunk_size)};
  if (end > chunk_size) return {Code::kInvalid, what + "it ends at " + std::to_string(end)};
  return Status::Ok();
}

ResyncMover::Place PlaceOf(ChainId chain, ChainVersion version, TargetId from, TargetId to,
                           Engine& engine, IoContext* io) {
  return {chain, version, from, to, &engine, io};
}

}  // namespace

// ---- the member that sends ----

void ChainReplica::List(TargetId peer, const ListStep& step) {
  if (env_.mover == nullptr) return;  // a node without neighbours sends no resync
  env_.mover->List(PlaceOf(chain_, core_.version(), self_, peer, engine_, env_.home), step,
                   [weak = weak_from_this(), step = step.step](const Result<ListPair>& lists) {
                     const auto self = weak.lock();
                     if (self) self->Run(nullptr, [&] { self->core_.OnLists(step, lists); });
                   });
}

void ChainReplica::Copy(TargetId peer, const CopyStep& step) {
  env_.mover->Copy(PlaceOf(chain_, core_.version(), self_, peer, engine_, env_.home), step,
                   [weak = weak_from_this(), step = step.step](const Status& status,
                                                               std::optional<ChunkId> damaged) {
                     const auto self = weak.lock();
                     if (!self) return;
                     if (damaged.has_value()) (void)self->RequestRepair(*damaged);
                     self->EndStep(step, status);
                   });
}

void ChainReplica::RemoveThere(TargetId peer, const RemoveStep& step) {
  env_.mover->Remove(PlaceOf(chain_, core_.version(), self_, peer, engine_, env_.home), step,
                     [weak = weak_from_this(), step = step.step](const Status& status) {
                       if (const auto self = weak.lock()) self->EndStep(step, status);
                     });
}

// What is under way is sent too, as not done: that it is mirrored does not mean that it arrives.
void ChainReplica::SendResults(TargetId peer, uint64_t step) {
  std::vector<Engine::StreamRow> rows;
  core_.streams().ForEach([&](const StreamTable::Name& name, const StreamTable::Stream& stream) {
    Engine::StreamRow row;
    row.chain = chain_;
    row.incarnation = name.incarnation;
    row.stream = name.stream;
    row.sequence = stream.sequence;
    row.fingerprint = stream.fingerprint;
    row.done = stream.done;
    row.version = stream.result.version;
    row.chunk_length = stream.result.chunk_length;
    row.removed = stream.result.removed;
    row.more = stream.result.more;
    rows.push_back(row);
  });
  env_.mover->SendStreams(PlaceOf(chain_, core_.version(), self_, peer, engine_, env_.home),
                          std::move(rows), core_.mirror_base(),
                          [weak = weak_from_this(), step](const Status& status) {
                            if (const auto self = weak.lock()) self->EndStep(step, status);
                          });
}

void ChainReplica::EndStep(uint64_t step, const Status& status) {
  Run(nullptr, [&] { core_.OnStep(step, status); });
}

// ---- the member that is brought up to date ----

Status ChainReplica::BeginSync(const proto::PeerContext& peer) {
  return core_.BeginSync(ChainVersion(peer.chain_version()), TargetId(peer.from_target()),
                         peer.number());
}

template <typename Response>
void ChainReplica::EndSync(IoContext& io, const Status& status, const Done<Response>& done) {
  Run(&io, [&] { core_.EndSync(); });
  if (!status.ok()) return done(status);
  done(Response());
}

void ChainReplica::OnSyncList(IoContext& io, const proto::SyncListRequest& request,
                              Done<proto::SyncListResponse> done) {
  std::optional<ChunkId> after;
  std::optional<ChunkId> last;
  if (request.has_after()) after = ChunkFrom(request.after());
  if (request.has_last()) last = ChunkFrom(request.last());
  const uint32_t limit = std::min(std::max(request.limit(), 1u), kMaxSyncListed);
  Status status;
  Run(&io, [&] {
    const proto::PeerContext& peer = request.peer();
    status = core_.CheckList(ChainVersion(peer.chain_version()), TargetId(peer.from_target()),
                             peer.number(), !after.has_value());
  });
  if (!status.ok()) return done(status);
  engine_.List(io, chain_, after, std::nullopt, limit,
               [last, limit,
                done = std::move(done)](Result<std::vector<Engine::ListedChunk>> chunks) {
                 if (!chunks.ok()) return done(chunks.status());
                 proto::SyncListResponse response;
                 response.set_end(chunks->size() < limit);
                 for (const Engine::ListedChunk& chunk : *chunks) {
                   if (last && chunk.key.chunk > *last) {
                     response.set_end(true);
                     break;
                   }
                   *response.add_chunks() = EncodeFacts(
                       {chunk.key.chunk, chunk.state.length, chunk.state.version,
                        chunk.state.chain_version, chunk.state.checksum, chunk.state.chunk_size});
                 }
                 done(std::move(response));
               });
}

void ChainReplica::OnSyncUnits(IoContext& io, const proto::SyncUnitsRequest& request,
                               Done<proto::SyncUnitsResponse> done) {
  engine_.ListUnits(io, KeyOf(ChunkFrom(request.chunk())),
                    [done = std::move(done)](const Result<std::vector<uint32_t>>& units) {
                      if (!units.ok()) return done(units.status());
                      proto::SyncUnitsResponse response;
                      response.mutable_crc32c()->Add(units->begin(), units->end());
                      done(std::move(response));
                    });
}

// Begun under the mutex: nothing of an earlier resync comes after the chain has changed.
void ChainReplica::OnSyncWrite(IoContext& io, const proto::SyncWriteRequest& request,
                               BufferRef buffer, std::span<const uint8_t> payload,
                               Done<proto::SyncWriteResponse> done) {
  const ChunkId chunk = ChunkFrom(request.chunk());
  if (payload.empty()) return done(Status(Code::kInvalid, "resync: a piece without bytes"));
  if (Status status = CheckExtent(chunk, uint64_t{request.offset()} + payload.size(),
                                  request.chunk_size());
      !status.ok())
    return done(std::move(status));
  Run(&io, [&] {
    if (Status status = BeginSync(request.peer()); !status.ok())
      return After(&io, [done, status] { done(status); });
    if (request.first()) {
      Engine::Change clear;
      clear.kind = Engine::Change::Kind::kRemove;
      clear.args.key = KeyOf(chunk);
      engine_.Apply(io, std::move(clear), [](const auto&) {});
    }
    Engine::Change piece;
    piece.args = {.key = KeyOf(chunk),
                  .offset = request.offset(),
                  .chunk_size = request.chunk_size(),
                  .crc32c = request.crc32c(),
                  .chain_version = ChainVersion(request.peer().chain_version()),
                  .buffer = std::move(buffer),
                  .bytes = payload};
    engine_.Apply(io, std::move(piece),
                  [this, self = shared_from_this(), &io, done = std::move(done)](
                      const auto& state) { EndSync(io, state.status(), done); });
  });
}

void ChainReplica::OnSyncSeal(IoContext& io, const proto::SyncSealRequest& request,
                              Done<proto::SyncSealResponse> done) {
  const ChunkFacts facts = DecodeFacts(request.chunk());
  if (Status status = CheckExtent(facts.chunk, facts.length, facts.chunk_size); !status.ok())
    return done(std::move(status));
  Run(&io, [&] {
    if (Status status = BeginSync(request.peer()); !status.ok())
      return After(&io, [done, status] { done(status); });
    Engine::Change change;
    change.args.key = KeyOf(facts.chunk);
    change.args.chunk_size = facts.chunk_size;
    change.args.chain_version = facts.chain_version;
    if (request.first()) {
      change.kind = Engine::Change::Kind::kRemove;
      engine_.Apply(io, change, [](const auto&) {});
    }
    change.kind = Engine::Change::Kind::kTruncate;
    change.length = facts.length;
    change.extend = true;
    engine_.Apply(io, std::move(change), [](const auto&) {});
    const Engine::ChunkState want{.length = facts.length,
                                  .version = facts.version,
                                  .chain_version = facts.chain_version,
                                  .checksum = facts.checksum};
    engine_.Stamp(io, KeyOf(facts.chunk), want,
                  [this, self = shared_from_this(), &io, done = std::move(done)](
                      const auto& state) { EndSync(io, state.status(), done); });
  });
}

void ChainReplica::OnSyncRemove(IoContext& io, const proto::SyncRemoveRequest& request,
                                Done<proto::SyncRemoveResponse> done) {
  struct Left {
    size_t count = 0;
    Status status;
  };
  auto left = std::make_shared<Left>();  // on io's thread
  left->count = static_cast<size_t>(request.chunks_size());
  if (left->count == 0) return done(proto::SyncRemoveResponse());
  Run(&io, [&] {
    if (Status status = BeginSync(request.peer()); !status.ok())
      return After(&io, [done, status] { done(status); });
    for (const proto::ChunkId& chunk : request.chunks()) {
      Engine::Change change;
      change.kind = Engine::Change::Kind::kRemove;
      change.args.key = KeyOf(ChunkFrom(chunk));
      engine_.Apply(io, std::move(change),
                    [this, self = shared_from_this(), &io, left, done](const auto& state) {
                      if (!state.ok()) left->status = state.status();
                      if (--left->count == 0) EndSync(io, left->status, done);
                    });
    }
  });
}

// Durable before it is told that we are complete: after that this member may be the only one left.
void ChainReplica::OnSyncResults(IoContext& io, const proto::SyncResultsRequest& request,
                                 Done<proto::SyncResultsResponse> done) {
  const ChainVersion version(request.peer().chain_version());
  const bool complete = request.complete();
  const uint64_t base = request.base();
  if (base > ChainCore::kMaxSequence)
    return done(Status(Code::kInvalid, "resync: its stream begins after no sequence"));
  std::vector<Engine::StreamRow> rows;
  for (const proto::StreamResult& result : request.results()) {
    Engine::StreamRow row;
    row.chain = chain_;
    row.incarnation = Incarnation(result.incarnation());
    row.stream = result.stream();
    row.sequence = result.sequence();
    row.fingerprint = result.fingerprint();
    row.done = result.done();
    row.version = ChunkVersion(result.version());
    row.chunk_length = result.chunk_length();
    row.removed = result.removed();
    row.more = result.more();
    rows.push_back(row);
  }
  Run(&io, [&] {
    if (Status status = BeginSync(request.peer()); !status.ok())
      return After(&io, [done, status] { done(status); });
    std::vector<Engine::StreamRow> taken;
    for (const Engine::StreamRow& row : rows) {
      StreamTable::Stream stream;
      stream.fingerprint = row.fingerprint;
      stream.done = row.done;
      stream.result = {row.version, row.chunk_length, row.removed, row.more};
      if (core_.streams().Learn({row.incarnation, row.stream, row.sequence}, stream))
        taken.push_back(row);
    }
    engine_.PutStreamRows(io, std::move(taken),
                          [this, self = shared_from_this(), &io, version, complete, base,
                           number = request.peer().number(),
                           done = std::move(done)](Status status) {
                            Run(&io, [&] {
                              if (status.ok() && complete) status = core_.SetComplete(version, base, number);
                            });
                            EndSync(io, status, done);
                          });
  });
}

}  // namespace sheaf::storage
