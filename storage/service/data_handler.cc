#include "storage/service/data_handler.h"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <utility>

#include "common/buffer.h"
#include "common/layout.h"
#include "storage/service/data_checks.h"

namespace sheaf::storage {
namespace {

AdmissionRequest AdmissionFor(const proto::DataContext& context, Access access) {
  return {ChainId(context.chain_id()), ChainVersion(context.chain_version()),
          Incarnation(context.incarnation()), access};
}

ChunkId ChunkFrom(const proto::ChunkId& chunk) { return {DataId(chunk.data_id()), chunk.index()}; }

// What the engine takes for a read: whole blocks around the range.
size_t RoomForRead(uint32_t length) { return length == 0 ? 0 : length + 2 * kDirectAlignment; }

proto::ChunkInfo InfoFrom(const Engine::ListedChunk& listed) {
  proto::ChunkInfo info;
  info.mutable_chunk()->set_data_id(listed.key.chunk.data_id.value());
  info.mutable_chunk()->set_index(listed.key.chunk.index);
  info.set_length(listed.state.length);
  info.set_version(listed.state.version.value());
  info.set_chain_version(listed.state.chain_version.value());
  info.set_checksum(listed.state.checksum);
  info.set_chunk_size(listed.state.chunk_size);
  return info;
}

// Stands for what a mutation asks, so that another one under its name is noticed.
uint64_t Fingerprint(std::initializer_list<uint64_t> fields) {
  uint64_t mixed = 0;
  for (uint64_t field : fields) mixed = MixBits(mixed ^ field);
  return mixed;
}

StreamTable::Name NameFrom(const proto::DataContext& context) {
  return {Incarnation(context.incarnation()), context.stream(), context.sequence()};
}

}  // namespace

void DataHandler::Read(ServiceContext& context, const proto::ReadChunkRequest& request,
                       StillWanted wanted, Done<ReadReply> done) {
  if (Status status = CheckRead(request, options_.max_payload); !status.ok())
    return done(std::move(status));
  const AdmissionRequest admission = AdmissionFor(request.ctx(), Access::kRead);
  const ChunkId chunk = ChunkFrom(request.chunk());
  const uint32_t offset = request.offset();
  const uint32_t length = request.length();
  const size_t room = RoomForRead(length);
  if (room == 0 || context.HasRoom(room))
    return StartRead(context.io(), admission, chunk, offset, length, std::move(done));
  context.WhenRoom(room, [this, &context, admission, chunk, offset, length,
                          wanted = std::move(wanted), done = std::move(done)](Status status) {
    if (status.ok() && wanted) status = wanted();
    if (!status.ok()) return done(std::move(status));
    StartRead(context.io(), admission, chunk, offset, length, done);
  });
}

void DataHandler::StartRead(IoContext& io, const AdmissionRequest& admission, ChunkId chunk,
                            uint32_t offset, uint32_t length, Done<ReadReply> done) {
  auto replica = replicas_.Find(admission);
  if (!replica.ok()) return done(replica.status());
  const auto admits = [this, admission] { return replicas_.StillAdmits(admission); };
  (*replica)->Read(io, chunk, offset, length, admits,
                   [admits, done = std::move(done)](Result<Engine::ReadAnswer> answer) {
                     if (!answer.ok()) return done(answer.status());
                     if (Status status = admits(); !status.ok()) return done(std::move(status));
                     ReadReply reply;
                     reply.meta.set_chunk_length(answer->state.length);
                     reply.meta.set_version(answer->state.version.value());
                     reply.meta.set_crc32c(answer->crc32c);
                     reply.buffer = std::move(answer->buffer);
                     reply.bytes = answer->bytes;
                     done(std::move(reply));
                   });
}

void DataHandler::Mutate(const proto::DataContext& request, const Start& start, OutcomeDone done) {
  const AdmissionRequest admission = AdmissionFor(request, Access::kMutate);
  auto replica = replicas_.Find(admission);
  if (!replica.ok()) return done(replica.status());
  const auto admits = [this, admission] { return replicas_.StillAdmits(admission); };
  start(**replica, admits, [admits, done = std::move(done)](Outcome outcome) {
    // Done, but a server without a lease must not say so: the client asks again.
    if (outcome.ok()) {
      if (Status status = admits(); !status.ok()) outcome = status;
    }
    done(std::move(outcome));
  });
}

void DataHandler::Write(ServiceContext& context, const proto::WriteChunkRequest& request,
                        Payload payload, Done<proto::WriteChunkResponse> done) {
  if (Status status = CheckWrite(request, payload.bytes.size(), options_.max_payload); !status.ok())
    return done(std::move(status));
  ChainOp op;
  op.kind = ChainOp::Kind::kWrite;
  op.chunk = ChunkFrom(request.chunk());
  op.offset = request.offset();
  op.chunk_size = request.chunk_size();
  op.crc32c = request.crc32c();
  op.name = NameFrom(request.ctx());
  op.fingerprint = Fingerprint({static_cast<uint64_t>(transport::Method::kWrite),
                                request.chunk().data_id(), request.chunk().index(),
                                request.offset(), payload.bytes.size(), request.crc32c()});
  op.buffer = std::move(payload.buffer);
  op.bytes = payload.bytes;
  op.forward = std::move(payload.forward);
  auto start = [&](ChainReplica& replica, const ChainReplica::Admission& admits,
                   OutcomeDone finish) {
    replica.Mutate(context.io(), std::move(op), admits, std::move(finish));
  };
  Mutate(request.ctx(), start, [done = std::move(done)](const Outcome& outcome) {
    if (!outcome.ok()) return done(outcome.status());
    proto::WriteChunkResponse response;
    response.set_version(outcome->version.value());
    response.set_chunk_length(outcome->chunk_length);
    done(std::move(response));
  });
}

std::shared_ptr<StageForward> DataHandler::ForwardOf(const proto::WriteChunkRequest& request,
                                                     const BufferRef& buffer, uint32_t length) {
  if (!IsStaged(length) || !CheckWrite(request, length, options_.max_payload).ok())
    return nullptr;
  const AdmissionRequest admission = AdmissionFor(request.ctx(), Access::kMutate);
  const auto replica = replicas_.Find(admission);
  if (!replica.ok()) return nullptr;
  const auto route = (*replica)->RouteOfStage(admission.chain_version, std::nullopt);
  if (!route.ok() || !*route) return nullptr;
  return std::make_shared<StageForward>(**route, buffer, length);
}

void DataHandler::Truncate(ServiceContext& context, const proto::TruncateChunkRequest& request,
                           Done<proto::TruncateChunkResponse> done) {
  if (Status status = CheckTruncate(request); !status.ok()) return done(std::move(status));
  ChainOp op;
  op.kind = ChainOp::Kind::kTruncate;
  op.chunk = ChunkFrom(request.chunk());
  op.length = request.length();
  op.chunk_size = request.chunk_size();
  op.extend = request.extend();
  op.name = NameFrom(request.ctx());
  op.fingerprint =
      Fingerprint({static_cast<uint64_t>(transport::Method::kTruncate), request.chunk().data_id(),
                   request.chunk().index(), request.length(), request.extend()});
  auto start = [&](ChainReplica& replica, const ChainReplica::Admission& admits,
                   OutcomeDone finish) {
    replica.Mutate(context.io(), std::move(op), admits, std::move(finish));
  };
  Mutate(request.ctx(), start, [done = std::move(done)](const Outcome& outcome) {
    if (!outcome.ok()) return done(outcome.status());
    proto::TruncateChunkResponse response;
    response.set_version(outcome->version.value());
    response.set_chunk_length(outcome->chunk_length);
    done(std::move(response));
  });
}

// One page; the caller asks for the next under its stream's next sequence. The same sequence gets
// the first answer again, and removes nothing.
void DataHandler::Remove(ServiceContext& context, const proto::RemoveChunksRequest& request,
                         Done<proto::RemoveChunksResponse> done) {
  if (Status status = CheckRemove(request); !status.ok()) return done(std::move(status));
  const uint32_t limit =
      request.limit() == 0 ? kMaxRemovals : std::min(request.limit(), kMaxRemovals);
  ChainReplica::RemoveArgs args;
  args.data_id = DataId(request.data_id());
  args.first_index = request.first_index();
  args.limit = limit;
  args.name = NameFrom(request.ctx());
  args.fingerprint = Fingerprint({static_cast<uint64_t>(transport::Method::kRemove),
                                  request.data_id(), request.first_index(), limit});
  auto start = [&](ChainReplica& replica, const ChainReplica::Admission& admits,
                   OutcomeDone finish) {
    replica.Remove(context.io(), args, admits, std::move(finish));
  };
  Mutate(request.ctx(), start, [done = std::move(done)](const Outcome& outcome) {
    if (!outcome.ok()) return done(outcome.status());
    proto::RemoveChunksResponse response;
    response.set_removed(outcome->removed);
    response.set_more(outcome->more);
    done(std::move(response));
  });
}

void DataHandler::List(ServiceContext& context, const proto::ListChunksRequest& request,
                       Done<proto::ListChunksResponse> done) {
  if (Status status = CheckList(request); !status.ok()) return done(std::move(status));
  const AdmissionRequest admission = AdmissionFor(request.ctx(), Access::kRead);
  auto replica = replicas_.Find(admission);
  if (!replica.ok()) return done(replica.status());
  std::optional<ChunkId> after;
  if (request.has_after()) after = ChunkFrom(request.after());
  std::optional<DataId> only;
  if (request.has_data_id()) only = DataId(request.data_id());
  const bool in_range = request.limit() > 0 && request.limit() <= kMaxListed;
  const uint32_t limit = in_range ? request.limit() : kDefaultListed;
  (*replica)->List(context.io(), after, only, limit,
                          [this, admission, limit,
                           done = std::move(done)](Result<std::vector<Engine::ListedChunk>> page) {
                            if (!page.ok()) return done(page.status());
                            if (Status status = replicas_.StillAdmits(admission); !status.ok())
                              return done(std::move(status));
                            proto::ListChunksResponse response;
                            for (const Engine::ListedChunk& chunk : *page)
                              *response.add_chunks() = InfoFrom(chunk);
                            response.set_end(page->size() < limit);
                            done(std::move(response));
                          });
}

void DataHandler::Committed(ServiceContext& context, const proto::CommittedRequest& request,
                            Done<proto::CommittedResponse> done) {
  auto replica = FindForPeer(request.peer());
  if (!replica.ok()) return done(replica.status());
  (*replica)->OnCommittedRequest(
      context.io(), request,
      [this, done = std::move(done)](Result<proto::CommittedResponse> response) {
        if (Status status = replicas_.Serving(); !status.ok()) return done(std::move(status));
        done(std::move(response));
      });
}

void DataHandler::Space(Done<proto::SpaceResponse> done) {
  proto::SpaceResponse response;
  for (size_t i = 0; i < replicas_.targets().size(); ++i) {
    const Engine::Space space = replicas_.targets()[i].engine->GetSpace();
    proto::TargetSpace* entry = response.add_targets();
    entry->set_target_id(replicas_.TargetIdOf(i).value());
    entry->set_used_bytes(space.used_bytes);
    entry->set_total_bytes(space.total_bytes);
  }
  done(std::move(response));
}

void DataHandler::Health(Done<proto::HealthResponse> done) {
  Status status = replicas_.Serving();
  for (const ReplicaSet::LocalTarget& target : replicas_.targets())
    if (status.ok()) status = target.engine->Health();
  proto::HealthResponse response;
  response.set_serving(status.ok());
  response.set_reason(status.message());
  response.set_map_version(replicas_.map_version().value());
  done(std::move(response));
}

}  // namespace sheaf::storage
