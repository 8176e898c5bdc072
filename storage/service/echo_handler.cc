#include "storage/service/echo_handler.h"

#include <utility>

#include "proto/data.pb.h"

namespace sheaf::storage {
namespace {

void Finish(ServiceContext& context, uint32_t length, FramedCall& call) {
  Answer answer;
  if (length > 0) {
    answer.buffer = context.io().Allocate(length);
    if (!answer.buffer) return call.Finish({{Code::kBusy, "echo: no buffer free"}, {}, {}, {}});
    answer.payload = answer.buffer->span().first(length);
  }
  call.Finish(std::move(answer));
}

}  // namespace

void EchoHandler::Handle(ServiceContext& context, FramedRequest request,
                         std::shared_ptr<FramedCall> call) {
  if (request.method != transport::Method::kEcho)
    return call->Finish({{Code::kUnsupported, "request: this server only echoes"}, {}, {}, {}});
  proto::ReadChunkRequest asked;
  if (!asked.ParseFromArray(request.message.data(), static_cast<int>(request.message.size())))
    return call->Finish({{Code::kProtocol, "echo: the request cannot be read"}, {}, {}, {}});
  const uint32_t length = asked.length();
  if (length > max_payload_)
    return call->Finish({{Code::kTooBig, "echo: length over the limit (" + std::to_string(length) +
                                             ", at most " + std::to_string(max_payload_) + ")"},
                         {},
                         {},
                         {}});
  if (context.HasRoom(length)) return Finish(context, length, *call);
  context.WhenRoom(length, [&context, length, call = std::move(call)](Status status) {
    if (status.ok()) status = call->StillWanted();
    if (!status.ok()) return call->Finish({std::move(status), {}, {}, {}});
    Finish(context, length, *call);
  });
}

}  // namespace sheaf::storage
