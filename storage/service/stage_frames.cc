#include "storage/service/stage_frames.h"

#include <optional>
#include <utility>

#include "proto/replica.pb.h"
#include "storage/replica/replica_messages.h"

namespace sheaf::storage {
namespace {

StagesOfConnection* StagesOf(ConnectionState* state) {
  return static_cast<StagesOfConnection*>(state);
}

template <typename Message>
bool Parse(std::span<const uint8_t> bytes, Message& message) {
  return message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

Status Unreadable() { return {Code::kProtocol, "sheaf.proto.StageRequest: it cannot be read"}; }

// A buffer at once or not at all, and the way on to the next member.
Result<StageShelf::Room> Open(DataHandler& data, ServiceContext& context,
                              const proto::PeerContext& peer, uint32_t total, uint32_t hop) {
  ASSIGN_OR_RETURN(const auto replica, data.FindForPeer(peer));
  ASSIGN_OR_RETURN(const auto route, replica->RouteOfStage(ChainVersion(peer.chain_version()),
                                                           TargetId(peer.from_target())));
  StageShelf::Room room;
  if (context.HasSpareRoom(total, hop)) room.buffer = context.io().Allocate(total);
  if (!room.buffer) return Status(Code::kBusy, "stage: no buffer to spare");
  if (route) room.onward = std::make_shared<StageForward>(*route, room.buffer, total);
  return room;
}

}  // namespace

void StagesOfConnection::OnPart(const StagePart& part, std::shared_ptr<FramedCall> call) {
  if (Status status = shelf_.Landed(part); !status.ok())
    return call->Finish({std::move(status), {}, {}, {}});
  landed_.push_back(std::move(call));
  const bool last = part.offset + part.length == part.total;
  if (last || landed_.size() >= kMaxLanded) AnswerLanded();
}

void StagesOfConnection::OnDrop(const StageKey& key, FramedCall& call) {
  shelf_.Drop(key);
  AnswerLanded();
  call.Finish({});
}

void StagesOfConnection::AnswerLanded() {
  for (const auto& call : std::exchange(landed_, {})) call->Finish({});
}

Result<StageShelf::Place> PlaceOfStage(DataHandler& data, ServiceContext& context,
                                       const PayloadAhead& ahead) {
  StagesOfConnection* stages = StagesOf(ahead.state);
  proto::StageRequest request;
  if (stages == nullptr || !Parse(ahead.message, request)) return Unreadable();
  return stages->shelf().Expect(DecodeStage(request, ahead.length), ahead.now, [&](uint32_t total) {
    return Open(data, context, request.peer(), total, ahead.hop);
  });
}

void OnStage(const FramedRequest& request, std::shared_ptr<FramedCall> call) {
  StagesOfConnection* stages = StagesOf(request.state);
  proto::StageRequest message;
  if (stages == nullptr || !Parse(request.message, message))
    return call->Finish({Unreadable(), {}, {}, {}});
  const StagePart part = DecodeStage(message, static_cast<uint32_t>(request.payload.size()));
  if (message.drop()) return stages->OnDrop(part.key, *call);
  if (part.length > 0) return stages->OnPart(part, std::move(call));
  call->Finish(
      {{Code::kInvalid, "stage " + std::to_string(part.key.number) + ": no payload"}, {}, {}, {}});
}

bool OnStagedChange(DataHandler& data, ServiceContext& context, const FramedRequest& request,
                    const std::shared_ptr<FramedCall>& call) {
  StagesOfConnection* stages = StagesOf(request.state);
  proto::ReplicateRequest message;
  if (stages == nullptr || !request.payload.empty() || !Parse(request.message, message) ||
      message.stage() == 0)
    return false;
  auto staged = stages->shelf().Take(StageOf(message), message.length());
  const auto replica = data.FindForPeer(message.peer());
  if (!staged || !replica.ok()) return false;
  (*replica)->OnStagedReplicate(
      context.io(), message, std::move(staged->buffer),
      std::static_pointer_cast<StageForward>(std::move(staged->onward)),
      [call](Result<proto::ReplicateResponse> response) {
        if (!response.ok()) return call->Finish({response.status(), {}, {}, {}});
        call->Finish({Status::Ok(), response->SerializeAsString(), {}, {}});
      });
  return true;
}

}  // namespace sheaf::storage
