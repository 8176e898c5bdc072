#include "storage/replica/resync_mover.h"

#include <pthread.h>

#include <algorithm>
#include <future>
#include <utility>

#include "common/crc32c.h"
#include "proto/replica.pb.h"
#include "storage/engine/chunk_record.h"
#include "storage/replica/repairer.h"
#include "storage/replica/replica_messages.h"

namespace sheaf::storage {
namespace {

using transport::Method;

constexpr uint32_t kPiece = 1 << 20;  // bytes of a chunk sent in one frame
constexpr uint32_t kStreamsOfOneCall = 4096;
constexpr int kBusyTries = 200;
constexpr std::chrono::milliseconds kBusyPause{10};

void SetChunk(ChunkId chunk, proto::ChunkId* message) {
  message->set_data_id(chunk.data_id.value());
  message->set_index(chunk.index);
}

}  // namespace

ResyncMover::ResyncMover(Peers& peers, const Options& options)
    : peers_(peers),
      options_(options),
      pacer_(options.bytes_per_s),
      thread_([this] { Main(); }) {}

ResyncMover::~ResyncMover() { Stop(); }

void ResyncMover::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  pacer_.Stop();
  if (thread_.joinable()) thread_.join();
}

bool ResyncMover::stopping() const {
  std::lock_guard lock(mutex_);
  return stopping_;
}

void ResyncMover::Add(std::function<void()> step) {
  {
    std::lock_guard lock(mutex_);
    steps_.push_back(std::move(step));
  }
  changed_.notify_all();
}

void ResyncMover::Main() {
  ::pthread_setname_np(::pthread_self(), "resync");
  for (;;) {
    std::function<void()> step;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !steps_.empty(); });
      if (steps_.empty()) return;
      step = std::move(steps_.front());
      steps_.pop_front();
    }
    step();
  }
}

void ResyncMover::List(const Place& place, const ListStep& step, ListDone done) {
  Add([this, place, step, done = std::move(done)] { done(DoList(place, step)); });
}

void ResyncMover::Copy(const Place& place, const CopyStep& step, CopyDone done) {
  Add([this, place, step, done = std::move(done)] {
    std::optional<ChunkId> damaged;
    const Status status = DoCopies(place, step.chunks, &damaged);
    done(status, damaged);
  });
}

void ResyncMover::Remove(const Place& place, const RemoveStep& step, StepDone done) {
  Add([this, place, step, done = std::move(done)] { done(DoRemove(place, step)); });
}

void ResyncMover::SendStreams(const Place& place, std::vector<Engine::StreamRow> rows,
                              uint64_t base, StepDone done) {
  Add([this, place, rows = std::move(rows), base, done = std::move(done)] {
    done(DoSendStreams(place, rows, base));
  });
}

proto::PeerContext ResyncMover::PeerOf(const Place& place) {
  proto::PeerContext peer = EncodePeer(place.chain, place.version, place.from);
  peer.set_number(++last_number_);
  return peer;
}

ResyncMover::Reply ResyncMover::Begin(TargetId to, transport::Call call) {
  auto promise = std::make_shared<std::promise<Result<transport::Reply>>>();
  std::future<Result<transport::Reply>> reply = promise->get_future();
  if (stopping()) {
    promise->set_value(Status(Code::kCancelled, "resync: the server stops"));
    return reply;
  }
  call.deadline = Clock::System().Now() + options_.call_timeout;
  peers_.Call(to, std::move(call), [promise](Result<transport::Reply> answer) {
    promise->set_value(std::move(answer));
  });
  return reply;
}

Result<transport::Reply> ResyncMover::CallAndWait(TargetId to, transport::Call call) {
  return Begin(to, std::move(call)).get();
}

uint64_t ResyncMover::bytes_per_s() const { return pacer_.rate(); }

// ---- listing ----

Result<ListPair> ResyncMover::DoList(const Place& place, const ListStep& step) {
  ListPair lists;
  auto promise = std::make_shared<std::promise<Result<std::vector<Engine::ListedChunk>>>>();
  auto listed = promise->get_future();
  if (stopping()) return Status(Code::kCancelled, "resync: the server stops");
  place.engine->List(*place.io, place.chain, step.range.after, std::nullopt, step.limit,
                     [promise](Result<std::vector<Engine::ListedChunk>> chunks) {
                       promise->set_value(std::move(chunks));
                     });
  ASSIGN_OR_RETURN(const std::vector<Engine::ListedChunk> here, listed.get());
  lists.here.end = here.size() < step.limit;
  for (const Engine::ListedChunk& chunk : here) {
    if (step.range.last && chunk.key.chunk > *step.range.last) {
      lists.here.end = true;
      break;
    }
    lists.here.chunks.push_back({chunk.key.chunk, chunk.state.length, chunk.state.version,
                                 chunk.state.chain_version, chunk.state.checksum,
                                 chunk.state.chunk_size});
  }

  proto::SyncListRequest request;
  *request.mutable_peer() = PeerOf(place);
  if (step.range.after) SetChunk(*step.range.after, request.mutable_after());
  if (step.range.last) SetChunk(*step.range.last, request.mutable_last());
  request.set_limit(step.limit);
  ASSIGN_OR_RETURN(const transport::Reply reply,
                   CallAndWait(place.to, {.method = Method::kSyncList,
                                          .message = request.SerializeAsString()}));
  proto::SyncListResponse response;
  if (!response.ParseFromString(reply.message))
    return Status(Code::kProtocol, "resync: a list that cannot be read");
  for (const proto::ChunkInfo& info : response.chunks())
    lists.there.chunks.push_back(DecodeFacts(info));
  lists.there.end = response.end();
  return lists;
}

// ---- copying ----

std::future<Result<std::vector<uint32_t>>> ResyncMover::StartUnits(const Place& place,
                                                                   ChunkId chunk) {
  auto promise = std::make_shared<std::promise<Result<std::vector<uint32_t>>>>();
  auto listed = promise->get_future();
  place.io->Post([place, chunk, promise] {
    place.engine->ListUnits(*place.io, {place.chain, chunk},
                            [promise](Result<std::vector<uint32_t>> units) {
                              promise->set_value(std::move(units));
                            });
  });
  return listed;
}

Result<ResyncMover::UnitPair> ResyncMover::ListUnits(const Place& place, ChunkId chunk) {
  if (stopping()) return Status(Code::kCancelled, "resync: the server stops");
  UnitPair units;
  ASSIGN_OR_RETURN(units.first, StartUnits(place, chunk).get());
  proto::SyncUnitsRequest request;
  *request.mutable_peer() = PeerOf(place);
  SetChunk(chunk, request.mutable_chunk());
  ASSIGN_OR_RETURN(const transport::Reply reply,
                   CallAndWait(place.to, {.method = Method::kSyncUnits,
                                          .message = request.SerializeAsString()}));
  proto::SyncUnitsResponse response;
  if (!response.ParseFromString(reply.message))
    return Status(Code::kProtocol, "resync: checksums that cannot be read");
  units.second.assign(response.crc32c().begin(), response.crc32c().end());
  return units;
}

std::future<Result<Engine::ReadAnswer>> ResyncMover::StartRead(const Place& place, ChunkId chunk,
                                                               uint32_t offset, uint32_t length) {
  auto promise = std::make_shared<std::promise<Result<Engine::ReadAnswer>>>();
  auto answer = promise->get_future();
  place.io->Post([place, chunk, offset, length, promise] {
    place.engine->ReadAt(*place.io, {place.chain, chunk}, Engine::kNewest, offset, length,
                         [promise](Result<Engine::ReadAnswer> read) {
                           promise->set_value(std::move(read));
                         });
  });
  return answer;
}

Result<Engine::ReadAnswer> ResyncMover::ReadPiece(const Place& place, ChunkId chunk,
                                                  uint32_t offset, uint32_t length) {
  for (int attempt = 0;; ++attempt) {
    if (stopping()) return Status(Code::kCancelled, "resync: the server stops");
    Result<Engine::ReadAnswer> read = StartRead(place, chunk, offset, length).get();
    if (read.ok() || read.status().code() != Code::kBusy || attempt == kBusyTries) return read;
    (void)pacer_.Rest(kBusyPause);
  }
}

ResyncMover::Reply ResyncMover::SendPiece(const Place& place,
                                                             const ChunkFacts& chunk,
                                                             uint32_t offset,
                                                             const Engine::ReadAnswer& piece,
                                                             bool first) {
  proto::SyncWriteRequest request;
  *request.mutable_peer() = PeerOf(place);
  SetChunk(chunk.chunk, request.mutable_chunk());
  request.set_offset(offset);
  request.set_chunk_size(chunk.chunk_size);
  request.set_crc32c(piece.crc32c);
  request.set_first(first);
  return Begin(place.to, {.method = Method::kSyncWrite,
                          .message = request.SerializeAsString(),
                          .payload = piece.bytes});
}

ResyncMover::Reply ResyncMover::Seal(const Place& place, const ChunkFacts& chunk,
                                                        bool first) {
  proto::SyncSealRequest seal;
  *seal.mutable_peer() = PeerOf(place);
  *seal.mutable_chunk() = EncodeFacts(chunk);
  seal.set_first(first);
  return Begin(place.to, {.method = Method::kSyncSeal, .message = seal.SerializeAsString()});
}

// Runs of units that differ. Where nothing is there yet, zeros are not sent: the seal extends the
// chunk over them.
Result<bool> ResyncMover::SendPieces(const Place& place, const ChunkFacts& chunk,
                                     const UnitPair& units) {
  const std::vector<uint32_t>& here = units.first;  // clang 14 captures no structured binding
  const std::vector<uint32_t>& there = units.second;
  const auto differs = [&](size_t unit) {
    return unit >= there.size() ? here[unit] != ZeroUnitCrc() : here[unit] != there[unit];
  };
  bool first = there.empty();
  for (size_t unit = 0; unit < here.size();) {
    if (!differs(unit)) {
      ++unit;
      continue;
    }
    const auto offset = static_cast<uint32_t>(unit * kUnitBytes);
    uint32_t length = 0;
    while (unit < here.size() && differs(unit) && length < kPiece) {
      length += kUnitBytes;
      ++unit;
    }
    ASSIGN_OR_RETURN(const Engine::ReadAnswer piece,
                     ReadPiece(place, chunk.chunk, offset, length));
    if (piece.bytes.empty()) break;  // it was cut meanwhile: the seal will say so
    RETURN_IF_ERROR(pacer_.Take(piece.bytes.size()));
    RETURN_IF_ERROR(
        SendPiece(place, chunk, offset, piece, std::exchange(first, false)).get().status());
  }
  return first;
}

Status ResyncMover::DoCopy(const Place& place, const ChunkFacts& chunk) {
  ASSIGN_OR_RETURN(UnitPair units, ListUnits(place, chunk.chunk));
  Result<bool> first = SendPieces(place, chunk, units);
  if (IsDamage(first.status())) {  // what was to stay there cannot be read
    units.second.clear();
    first = SendPieces(place, chunk, units);
  }
  RETURN_IF_ERROR(first.status());
  return Seal(place, chunk, *first).get().status();
}

// Small chunks that are not there at all go together: read at once, then all their pieces sent
// without waiting for answers, and when those have come all their seals.
Status ResyncMover::DoCopies(const Place& place, const std::vector<ChunkCopy>& copies,
                             std::optional<ChunkId>* damaged) {
  struct Small {
    std::future<Result<std::vector<uint32_t>>> units;
    std::future<Result<Engine::ReadAnswer>> read;
    Result<Engine::ReadAnswer> piece = Engine::ReadAnswer();  // its bytes are used until answered
  };
  std::vector<Small> small(copies.size());
  if (stopping()) return Status(Code::kCancelled, "resync: the server stops");
  for (size_t i = 0; i < copies.size(); ++i) {
    const ChunkFacts& chunk = copies[i].chunk;
    if (copies[i].is_there || chunk.length == 0 || chunk.length > kPiece) continue;
    small[i].units = StartUnits(place, chunk.chunk);
    small[i].read = StartRead(place, chunk.chunk, 0, chunk.length);
  }
  Status status;
  std::vector<Reply> answers;
  std::vector<const ChunkFacts*> sent;
  std::vector<const ChunkFacts*> others;  // that need a closer look, or are large
  for (size_t i = 0; i < copies.size(); ++i) {
    const ChunkFacts& chunk = copies[i].chunk;
    bool whole = false;
    if (small[i].read.valid()) {
      const auto units = small[i].units.get();
      small[i].piece = small[i].read.get();
      whole = units.ok() && small[i].piece.ok() && small[i].piece->bytes.size() == chunk.length &&
              std::find(units->begin(), units->end(), ZeroUnitCrc()) == units->end();
    }
    if (!whole) {
      small[i].piece = Engine::ReadAnswer();
      others.push_back(&chunk);
      continue;
    }
    if (status.ok()) status = pacer_.Take(chunk.length);
    if (!status.ok()) continue;
    answers.push_back(SendPiece(place, chunk, 0, *small[i].piece, /*first=*/true));
    sent.push_back(&chunk);
  }
  const auto await_all = [&] {
    for (Reply& answer : answers) {
      const Status answered = answer.get().status();
      if (status.ok()) status = answered;
    }
    answers.clear();
  };
  await_all();
  small.clear();
  RETURN_IF_ERROR(status);
  for (const ChunkFacts* chunk : sent) answers.push_back(Seal(place, *chunk, /*first=*/false));
  await_all();
  for (const ChunkFacts* chunk : others) {
    RETURN_IF_ERROR(status);
    status = DoCopy(place, *chunk);
    if (IsDamage(status)) *damaged = chunk->chunk;
  }
  return status;
}

Status ResyncMover::DoRemove(const Place& place, const RemoveStep& step) {
  proto::SyncRemoveRequest request;
  *request.mutable_peer() = PeerOf(place);
  for (const ChunkId& chunk : step.chunks) SetChunk(chunk, request.add_chunks());
  return CallAndWait(place.to,
                     {.method = Method::kSyncRemove, .message = request.SerializeAsString()})
      .status();
}

Status ResyncMover::DoSendStreams(const Place& place, const std::vector<Engine::StreamRow>& rows,
                                  uint64_t base) {
  for (size_t sent = 0;;) {
    proto::SyncResultsRequest request;
    *request.mutable_peer() = PeerOf(place);
    for (uint32_t i = 0; i < kStreamsOfOneCall && sent < rows.size(); ++i, ++sent) {
      const Engine::StreamRow& row = rows[sent];
      proto::StreamResult* result = request.add_results();
      result->set_incarnation(row.incarnation.value());
      result->set_stream(row.stream);
      result->set_sequence(row.sequence);
      result->set_fingerprint(row.fingerprint);
      result->set_done(row.done);
      result->set_version(row.version.value());
      result->set_chunk_length(row.chunk_length);
      result->set_removed(row.removed);
      result->set_more(row.more);
    }
    request.set_complete(sent == rows.size());
    request.set_base(base);
    RETURN_IF_ERROR(CallAndWait(place.to, {.method = Method::kSyncResults,
                                           .message = request.SerializeAsString()})
                        .status());
    if (sent == rows.size()) return Status::Ok();
  }
}

}  // namespace sheaf::storage
