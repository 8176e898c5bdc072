#include "storage/service/data_checks.h"

#include <bit>
#include <string>

#include "common/layout.h"

namespace sheaf::storage {
namespace {

constexpr uint64_t kMaxChunkSize = uint64_t{1} << kMaxChunkSizeLog2;
constexpr uint64_t kMinChunkSize = uint64_t{1} << kMinChunkSizeLog2;

Status Bad(const char* call, const std::string& why) {
  return {Code::kInvalid, std::string(call) + ": " + why};
}

Status CheckContext(const char* call, const proto::DataContext& context) {
  if (context.chain_id() == 0) return Bad(call, "no chain id");
  if (context.chain_version() == 0) return Bad(call, "no chain version");
  return Status::Ok();
}

Status CheckChunk(const char* call, const proto::ChunkId& chunk) {
  if (chunk.data_id() == 0) return Bad(call, "no data id");
  return Status::Ok();
}

Status CheckChunkSize(const char* call, uint32_t chunk_size) {
  if (std::has_single_bit(chunk_size) && chunk_size >= kMinChunkSize && chunk_size <= kMaxChunkSize)
    return Status::Ok();
  return Bad(call, "chunk_size is not a power of two from " + std::to_string(kMinChunkSize) +
                       " to " + std::to_string(kMaxChunkSize) + " (" + std::to_string(chunk_size) +
                       ")");
}

Status CheckRange(const char* call, uint64_t offset, uint64_t length, uint64_t limit) {
  if (offset + length <= limit) return Status::Ok();
  return Bad(call, "range ends past the chunk (offset " + std::to_string(offset) + ", length " +
                       std::to_string(length) + ", limit " + std::to_string(limit) + ")");
}

Status CheckPayload(const char* call, uint64_t bytes, uint32_t max_payload) {
  if (bytes <= max_payload) return Status::Ok();
  return {Code::kTooBig, std::string(call) + ": over the largest payload (" +
                             std::to_string(bytes) + " bytes, at most " +
                             std::to_string(max_payload) + ")"};
}

}  // namespace

Status CheckRead(const proto::ReadChunkRequest& request, uint32_t max_payload) {
  constexpr const char* kCall = "read chunk";
  RETURN_IF_ERROR(CheckContext(kCall, request.ctx()));
  RETURN_IF_ERROR(CheckChunk(kCall, request.chunk()));
  RETURN_IF_ERROR(CheckPayload(kCall, request.length(), max_payload));
  return CheckRange(kCall, request.offset(), request.length(), kMaxChunkSize);
}

Status CheckWrite(const proto::WriteChunkRequest& request, size_t payload_bytes,
                  uint32_t max_payload) {
  constexpr const char* kCall = "write chunk";
  RETURN_IF_ERROR(CheckContext(kCall, request.ctx()));
  RETURN_IF_ERROR(CheckChunk(kCall, request.chunk()));
  RETURN_IF_ERROR(CheckChunkSize(kCall, request.chunk_size()));
  if (payload_bytes == 0) return Bad(kCall, "no payload");
  RETURN_IF_ERROR(CheckPayload(kCall, payload_bytes, max_payload));
  return CheckRange(kCall, request.offset(), payload_bytes, request.chunk_size());
}

Status CheckTruncate(const proto::TruncateChunkRequest& request) {
  constexpr const char* kCall = "truncate chunk";
  RETURN_IF_ERROR(CheckContext(kCall, request.ctx()));
  RETURN_IF_ERROR(CheckChunk(kCall, request.chunk()));
  RETURN_IF_ERROR(CheckChunkSize(kCall, request.chunk_size()));
  return CheckRange(kCall, 0, request.length(), request.chunk_size());
}

Status CheckRemove(const proto::RemoveChunksRequest& request) {
  constexpr const char* kCall = "remove chunks";
  RETURN_IF_ERROR(CheckContext(kCall, request.ctx()));
  if (request.data_id() == 0) return Bad(kCall, "no data id");
  return Status::Ok();
}

Status CheckList(const proto::ListChunksRequest& request) {
  return CheckContext("list chunks", request.ctx());
}

}  // namespace sheaf::storage
