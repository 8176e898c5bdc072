#pragma once

#include <span>
#include <string>

#include "common/ids.h"
#include "common/status.h"
#include "proto/replica.pb.h"
#include "storage/replica/chain_core.h"
#include "storage/replica/staging.h"

namespace sheaf::storage {

// proto/replica.proto to and from what ChainCore speaks. Decoders check every field that something
// is done with: kInvalid names the field.

proto::PeerContext EncodePeer(ChainId chain, ChainVersion version, TargetId from);

// `length`: of the part's payload.
proto::StageRequest EncodeStage(const StageKey& key);
StagePart DecodeStage(const proto::StageRequest& request, uint32_t length);
// The stage that a change names.
StageKey StageOf(const proto::ReplicateRequest& request);

// Without the payload.
proto::ReplicateRequest EncodeReplicate(ChainId chain, const ReplicateMessage& message);
Result<ReplicateMessage> DecodeReplicate(const proto::ReplicateRequest& request, BufferRef buffer,
                                         std::span<const uint8_t> payload,
                                         std::shared_ptr<StageForward> forward, IoContext& io);

proto::ReplicateResponse EncodeReply(const ReplicateReply& reply);
ReplicateReply DecodeReply(const proto::ReplicateResponse& response);

proto::ChunkInfo EncodeFacts(const ChunkFacts& facts);
ChunkFacts DecodeFacts(const proto::ChunkInfo& info);

}  // namespace sheaf::storage
