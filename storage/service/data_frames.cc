#include "storage/service/data_frames.h"

#include <utility>

#include "proto/replica.pb.h"
#include "storage/service/stage_frames.h"

namespace sheaf::storage {
namespace {

using transport::Method;

template <typename Message>
bool Decode(const FramedRequest& request, Message& message, FramedCall& call) {
  if (message.ParseFromArray(request.message.data(), static_cast<int>(request.message.size())))
    return true;
  call.Finish(
      {{Code::kProtocol, message.GetTypeName() + ": the message cannot be read"}, {}, {}, {}});
  return false;
}

// Answers a call whose answer is a message alone.
template <typename Response>
DataHandler::Done<Response> Reply(std::shared_ptr<FramedCall> call) {
  return [call = std::move(call)](Result<Response> response) {
    if (!response.ok()) return call->Finish({response.status(), {}, {}, {}});
    call->Finish({Status::Ok(), response->SerializeAsString(), {}, {}});
  };
}

}  // namespace

void DataFrames::Read(ServiceContext& context, const FramedRequest& request,
                      std::shared_ptr<FramedCall> call) {
  proto::ReadChunkRequest message;
  if (!Decode(request, message, *call)) return;
  auto wanted = [call] { return call->StillWanted(); };
  data_.Read(context, message, wanted, [call](Result<DataHandler::ReadReply> reply) {
    if (!reply.ok()) return call->Finish({reply.status(), {}, {}, {}});
    call->Finish(
        {Status::Ok(), reply->meta.SerializeAsString(), std::move(reply->buffer), reply->bytes});
  });
}

void DataFrames::Write(ServiceContext& context, FramedRequest request,
                       std::shared_ptr<FramedCall> call) {
  proto::WriteChunkRequest message;
  if (!Decode(request, message, *call)) return;
  data_.Write(context, message,
              {std::move(request.buffer), request.payload, std::move(request.forward)},
              Reply<proto::WriteChunkResponse>(std::move(call)));
}

namespace {

// Passes a neighbour's request to the chain's replica by one of its methods.
template <typename Request, typename Response>
void PassOn(DataHandler& data, ServiceContext& context, const FramedRequest& request,
            const std::shared_ptr<FramedCall>& call,
            void (ChainReplica::*method)(IoContext&, const Request&,
                                         ChainReplica::Done<Response>)) {
  Request message;
  if (!Decode(request, message, *call)) return;
  auto replica = data.FindForPeer(message.peer());
  if (!replica.ok()) return call->Finish({replica.status(), {}, {}, {}});
  ((**replica).*method)(context.io(), message, Reply<Response>(call));
}

template <typename Request, typename Response>
void PassOn(DataHandler& data, ServiceContext& context, FramedRequest& request,
            const std::shared_ptr<FramedCall>& call,
            void (ChainReplica::*method)(IoContext&, const Request&, BufferRef,
                                         std::span<const uint8_t>, ChainReplica::Done<Response>)) {
  Request message;
  if (!Decode(request, message, *call)) return;
  auto replica = data.FindForPeer(message.peer());
  if (!replica.ok()) return call->Finish({replica.status(), {}, {}, {}});
  ((**replica).*method)(context.io(), message, std::move(request.buffer), request.payload,
                        Reply<Response>(call));
}

bool TakesPayload(Method method) {
  return method == Method::kWrite || method == Method::kReplicate ||
         method == Method::kSyncWrite || method == Method::kStage;
}

}  // namespace

void DataFrames::HandlePeer(ServiceContext& context, FramedRequest request,
                            std::shared_ptr<FramedCall> call) {
  switch (request.method) {
    case Method::kReplicate:
      if (OnStagedChange(data_, context, request, call)) return;
      return PassOn(data_, context, request, call, &ChainReplica::OnReplicateRequest);
    case Method::kStage:
      return OnStage(request, std::move(call));
    case Method::kDurable:
      return PassOn(data_, context, request, call, &ChainReplica::OnDurableRequest);
    case Method::kSyncList:
      return PassOn(data_, context, request, call, &ChainReplica::OnSyncList);
    case Method::kSyncWrite:
      return PassOn(data_, context, request, call, &ChainReplica::OnSyncWrite);
    case Method::kSyncSeal:
      return PassOn(data_, context, request, call, &ChainReplica::OnSyncSeal);
    case Method::kSyncRemove:
      return PassOn(data_, context, request, call, &ChainReplica::OnSyncRemove);
    case Method::kSyncUnits:
      return PassOn(data_, context, request, call, &ChainReplica::OnSyncUnits);
    case Method::kSyncResults:
      return PassOn(data_, context, request, call, &ChainReplica::OnSyncResults);
    default: {
      proto::CommittedRequest message;
      if (!Decode(request, message, *call)) return;
      return data_.Committed(context, message, Reply<proto::CommittedResponse>(std::move(call)));
    }
  }
}

std::unique_ptr<ConnectionState> DataFrames::NewConnection() {
  return std::make_unique<StagesOfConnection>(data_.max_payload());
}

FramedHandler::PlaceOfPayload DataFrames::PlaceOf(ServiceContext& context,
                                                  const PayloadAhead& ahead) {
  if (ahead.method != Method::kStage) return std::nullopt;
  return PlaceOfStage(data_, context, ahead);
}

std::shared_ptr<StageForward> DataFrames::Watch(const PayloadAhead& ahead,
                                                const BufferRef& buffer) {
  if (ahead.method != Method::kWrite || !data_.IsStaged(ahead.length)) return nullptr;
  proto::WriteChunkRequest message;
  if (!message.ParseFromArray(ahead.message.data(), static_cast<int>(ahead.message.size())))
    return nullptr;
  return data_.ForwardOf(message, buffer, ahead.length);
}

void DataFrames::Handle(ServiceContext& context, FramedRequest request,
                        std::shared_ptr<FramedCall> call) {
  if (!TakesPayload(request.method) && !request.payload.empty())
    return call->Finish({{Code::kProtocol, "request: a payload where none belongs"}, {}, {}, {}});
  switch (request.method) {
    case Method::kRead:
      return Read(context, request, std::move(call));
    case Method::kWrite:
      return Write(context, std::move(request), std::move(call));
    case Method::kTruncate: {
      proto::TruncateChunkRequest message;
      if (!Decode(request, message, *call)) return;
      return data_.Truncate(context, message, Reply<proto::TruncateChunkResponse>(call));
    }
    case Method::kRemove: {
      proto::RemoveChunksRequest message;
      if (!Decode(request, message, *call)) return;
      return data_.Remove(context, message, Reply<proto::RemoveChunksResponse>(call));
    }
    case Method::kList: {
      proto::ListChunksRequest message;
      if (!Decode(request, message, *call)) return;
      return data_.List(context, message, Reply<proto::ListChunksResponse>(call));
    }
    case Method::kSpace:
      return data_.Space(Reply<proto::SpaceResponse>(call));
    case Method::kHealth:
      return data_.Health(Reply<proto::HealthResponse>(call));
    case Method::kReplicate:
    case Method::kDurable:
    case Method::kCommitted:
    case Method::kSyncList:
    case Method::kSyncWrite:
    case Method::kSyncSeal:
    case Method::kSyncRemove:
    case Method::kSyncResults:
    case Method::kSyncUnits:
    case Method::kStage:
      return HandlePeer(context, std::move(request), std::move(call));
    case Method::kEcho:
      return echo_.Handle(context, std::move(request), std::move(call));
    default:
      break;
  }
  call->Finish({{Code::kUnsupported, "request: no such method (" +
                                         std::to_string(static_cast<int>(request.method)) + ")"},
                {},
                {},
                {}});
}

}  // namespace sheaf::storage
