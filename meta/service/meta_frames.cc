#include "meta/service/meta_frames.h"

#include <utility>

namespace sheaf::meta {
namespace {

using transport::Method;
using transport::ServerCall;

// A MetaCalls call that came as a frame.
class FramedCall {
 public:
  static constexpr bool kMayBlock = true;

  FramedCall(std::shared_ptr<ServerCall> call, CallMetrics& metrics)
      : call_(std::move(call)), metrics_(&metrics), begin_(Clock::System().Now()) {}

  bool Admit() const {
    if (begin_ < call_->deadline()) return true;
    Finish(Status(Code::kDeadline, "call: its deadline had passed before it began"));
    return false;
  }
  bool StepAside() const { return call_->StepAside(); }
  void Finish(const Status& status) const {
    metrics_->Record(begin_, status);
    call_->Refuse(status);
  }
  template <typename Response>
  void Finish(const Result<Response>& result) const {
    if (!result.ok()) return Finish(result.status());
    FinishSerialized(result->SerializeAsString());
  }
  void FinishSerialized(const Result<std::string>& result) const {
    if (!result.ok()) return Finish(result.status());
    metrics_->Record(begin_, Status::Ok());
    call_->Respond(*result);
  }

 private:
  std::shared_ptr<ServerCall> call_;
  CallMetrics* metrics_;
  Clock::Instant begin_;
};

template <typename Request>
std::shared_ptr<const Request> Parse(std::span<const uint8_t> message) {
  auto request = std::make_shared<Request>();
  if (!request->ParseFromArray(message.data(), static_cast<int>(message.size()))) return nullptr;
  return request;
}

Status Unreadable(const char* name) {
  return {Code::kInvalid, std::string("call: its request is not readable as ") + name + "Request"};
}

}  // namespace

Result<std::unique_ptr<MetaFrames>> MetaFrames::Start(MetaCalls& calls,
                                                      const transport::Server::Options& options) {
  std::unique_ptr<MetaFrames> frames(new MetaFrames(calls));
  ASSIGN_OR_RETURN(frames->server_,
                   transport::Server::Start(options, [raw = frames.get()](auto call, auto message) {
                     raw->Handle(std::move(call), message);
                   }));
  return frames;
}

void MetaFrames::Handle(std::shared_ptr<ServerCall> call, std::span<const uint8_t> message) {
  const Method method = call->method();
  switch (method) {
#define X(Name, name, Response)                                      \
  case Method::kMeta##Name: {                                        \
    const FramedCall framed(std::move(call), calls_.metrics().name); \
    const auto request = Parse<proto::Name##Request>(message);       \
    if (request == nullptr) return framed.Finish(Unreadable(#Name)); \
    return calls_.Name(framed, request);                             \
  }
    SHEAF_ALL_META_CALLS(X)
#undef X
    default:
      return call->Refuse({Code::kUnsupported, "call: method " +
                                                   std::to_string(static_cast<int>(method)) +
                                                   " is not one of the metadata service"});
  }
}

}  // namespace sheaf::meta
