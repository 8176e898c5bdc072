#include "storage/replica/replica_messages.h"

#include <bit>
#include <utility>

#include "common/layout.h"

namespace sheaf::storage {
namespace {

using Kind = ChainOp::Kind;

proto::ChangeKind EncodeKind(Kind kind) {
  switch (kind) {
    case Kind::kWrite:
      return proto::CHANGE_WRITE;
    case Kind::kTruncate:
      return proto::CHANGE_TRUNCATE;
    case Kind::kRemove:
      return proto::CHANGE_REMOVE;
    case Kind::kNote:
      return proto::CHANGE_NOTE;
    case Kind::kAbort:
      return proto::CHANGE_ABORT;
  }
  return proto::CHANGE_KIND_UNSPECIFIED;
}

Status Bad(const proto::ReplicateRequest& request, const std::string& why) {
  return {Code::kInvalid, "replicate change " + std::to_string(request.sequence()) + " of chain " +
                              std::to_string(request.peer().chain_id()) + ": " + why};
}

Result<Kind> DecodeKind(const proto::ReplicateRequest& request) {
  switch (request.kind()) {
    case proto::CHANGE_WRITE:
      return Kind::kWrite;
    case proto::CHANGE_TRUNCATE:
      return Kind::kTruncate;
    case proto::CHANGE_REMOVE:
      return Kind::kRemove;
    case proto::CHANGE_NOTE:
      return Kind::kNote;
    case proto::CHANGE_ABORT:
      return Kind::kAbort;
    default:
      return Bad(request, "unknown kind (" + std::to_string(request.kind()) + ")");
  }
}

StageKey KeyFrom(const proto::PeerContext& peer, uint64_t number) {
  return {ChainId(peer.chain_id()), ChainVersion(peer.chain_version()),
          TargetId(peer.from_target()), number};
}

Status CheckSizes(const proto::ReplicateRequest& request, Kind kind, size_t payload) {
  if (request.sequence() == 0 || request.sequence() > ChainCore::kMaxSequence)
    return Bad(request, "its sequence is not one");
  if (request.base() >= request.sequence()) return Bad(request, "it comes before its stream");
  if (request.chunk().data_id() == 0) return Bad(request, "no data id");
  if (kind == Kind::kAbort && request.abort_from() == 0) return Bad(request, "nothing to abort");
  if (kind == Kind::kAbort && request.abort_from() >= request.sequence())
    return Bad(request, "it aborts what comes after it");
  if ((kind == Kind::kWrite && !request.skip()) != (payload > 0))
    return Bad(request, "payload of " + std::to_string(payload) + " bytes");
  if (kind != Kind::kWrite && kind != Kind::kTruncate) return Status::Ok();
  const uint64_t size = request.chunk_size();
  if (!std::has_single_bit(size) || size < uint64_t{1} << kMinChunkSizeLog2 ||
      size > uint64_t{1} << kMaxChunkSizeLog2)
    return Bad(request, "chunk size " + std::to_string(size));
  const uint64_t end =
      kind == Kind::kWrite ? uint64_t{request.offset()} + payload : uint64_t{request.length()};
  if (end > size) return Bad(request, "it ends past the chunk (" + std::to_string(end) + ")");
  return Status::Ok();
}

}  // namespace

proto::PeerContext EncodePeer(ChainId chain, ChainVersion version, TargetId from) {
  proto::PeerContext peer;
  peer.set_chain_id(chain.value());
  peer.set_chain_version(version.value());
  peer.set_from_target(from.value());
  return peer;
}

proto::StageRequest EncodeStage(const StageKey& key) {
  proto::StageRequest request;
  *request.mutable_peer() = EncodePeer(key.chain, key.version, key.from);
  request.set_stage(key.number);
  return request;
}

StagePart DecodeStage(const proto::StageRequest& request, uint32_t length) {
  return {.key = KeyFrom(request.peer(), request.stage()),
          .offset = request.offset(),
          .length = length,
          .total = request.total()};
}

StageKey StageOf(const proto::ReplicateRequest& request) {
  return KeyFrom(request.peer(), request.stage());
}

proto::ReplicateRequest EncodeReplicate(ChainId chain, const ReplicateMessage& message) {
  const ChainOp& op = *message.op;
  proto::ReplicateRequest request;
  *request.mutable_peer() = EncodePeer(chain, message.version, message.from);
  request.set_sequence(message.sequence);
  request.set_base(message.base);
  request.set_committed(message.committed);
  request.set_skip(message.skip);
  request.set_kind(EncodeKind(op.kind));
  request.mutable_chunk()->set_data_id(op.chunk.data_id.value());
  request.mutable_chunk()->set_index(op.chunk.index);
  request.set_proposed_version(op.proposed.value());
  request.set_offset(op.offset);
  request.set_length(op.length);
  request.set_chunk_size(op.chunk_size);
  request.set_crc32c(op.crc32c);
  request.set_extend(op.extend);
  request.set_abort_from(op.abort_from);
  request.set_incarnation(op.name.incarnation.value());
  request.set_stream(op.name.stream);
  request.set_stream_sequence(op.name.sequence);
  request.set_fingerprint(op.fingerprint);
  request.set_removed(op.note.removed);
  request.set_more(op.note.more);
  return request;
}

Result<ReplicateMessage> DecodeReplicate(const proto::ReplicateRequest& request, BufferRef buffer,
                                         std::span<const uint8_t> payload,
                                         std::shared_ptr<StageForward> forward, IoContext& io) {
  auto op = std::make_shared<ChainOp>();
  ASSIGN_OR_RETURN(op->kind, DecodeKind(request));
  RETURN_IF_ERROR(CheckSizes(request, op->kind, payload.size()));
  op->chunk = {DataId(request.chunk().data_id()), request.chunk().index()};
  op->proposed = ChainVersion(request.proposed_version());
  op->offset = request.offset();
  op->length = request.length();
  op->chunk_size = request.chunk_size();
  op->crc32c = request.crc32c();
  op->extend = request.extend();
  op->abort_from = request.abort_from();
  op->name = {Incarnation(request.incarnation()), request.stream(), request.stream_sequence()};
  op->fingerprint = request.fingerprint();
  op->note.removed = request.removed();
  op->note.more = request.more();
  op->io = &io;
  op->buffer = std::move(buffer);
  op->bytes = payload;
  op->forward = std::move(forward);
  ReplicateMessage message;
  message.version = ChainVersion(request.peer().chain_version());
  message.from = TargetId(request.peer().from_target());
  message.sequence = request.sequence();
  message.base = request.base();
  message.committed = request.committed();
  message.skip = request.skip();
  message.op = std::move(op);
  return message;
}

proto::ReplicateResponse EncodeReply(const ReplicateReply& reply) {
  proto::ReplicateResponse response;
  response.set_committed(reply.committed);
  response.set_version(reply.state.version.value());
  response.set_checksum(reply.state.checksum);
  if (reply.failed.ok()) return response;
  response.mutable_failed()->set_code(static_cast<uint32_t>(reply.failed.code()));
  response.mutable_failed()->set_message(reply.failed.message());
  return response;
}

ReplicateReply DecodeReply(const proto::ReplicateResponse& response) {
  ReplicateReply reply;
  reply.committed = response.committed();
  reply.state.version = ChunkVersion(response.version());
  reply.state.checksum = response.checksum();
  if (!response.has_failed()) return reply;
  const Code code = CodeFromNumber(response.failed().code());
  reply.failed = {code == Code::kOk ? Code::kProtocol : code, response.failed().message()};
  return reply;
}

proto::ChunkInfo EncodeFacts(const ChunkFacts& facts) {
  proto::ChunkInfo info;
  info.mutable_chunk()->set_data_id(facts.chunk.data_id.value());
  info.mutable_chunk()->set_index(facts.chunk.index);
  info.set_length(facts.length);
  info.set_version(facts.version.value());
  info.set_chain_version(facts.chain_version.value());
  info.set_checksum(facts.checksum);
  info.set_chunk_size(facts.chunk_size);
  return info;
}

ChunkFacts DecodeFacts(const proto::ChunkInfo& info) {
  return {{DataId(info.chunk().data_id()), info.chunk().index()},
          info.length(),
          ChunkVersion(info.version()),
          ChainVersion(info.chain_version()),
          info.checksum(),
          info.chunk_size()};
}

}  // namespace sheaf::storage
