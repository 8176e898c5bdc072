#include "storage/service/data_frames.h"

#include <utility>

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
  data_.Write(context, message, {std::move(request.buffer), request.payload},
              Reply<proto::WriteChunkResponse>(std::move(call)));
}

void DataFrames::Handle(ServiceContext& context, FramedRequest request,
                        std::shared_ptr<FramedCall> call) {
  if (request.method != Method::kWrite && !request.payload.empty())
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
