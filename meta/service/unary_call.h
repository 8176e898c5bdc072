#pragma once

#include <google/protobuf/message_lite.h>

#include <utility>

#include "common/clock.h"
#include "common/rpc.h"
#include "common/status.h"
#include "meta/service/call_metrics.h"

namespace sheaf::meta {

// One unary call of the callback API: admitted, then finished exactly once from any thread.
// Request and response stay valid until then. Copies stand for the same call.
template <typename Response>
class UnaryCall {
 public:
  static constexpr bool kMayBlock = false;  // its thread is gRPC's

  UnaryCall(grpc::CallbackServerContext* context, Response* response, CallMetrics& metrics)
      : context_(context),
        reactor_(context->DefaultReactor()),
        response_(response),
        metrics_(&metrics),
        begin_(Clock::System().Now()) {}

  grpc::ServerUnaryReactor* reactor() const { return reactor_; }

  // False: the call is refused, and finished.
  bool Admit() const {
    Status status = AdmitCall(*context_);
    if (!status.ok()) Finish(status);
    return status.ok();
  }

  void Finish(const Status& status) const {
    metrics_->Record(begin_, status);
    reactor_->Finish(ToGrpc(status));
  }
  void Finish(Result<Response> result) const {
    if (result.ok()) *response_ = std::move(*result);
    Finish(result.status());
  }
  // A serialised response, as the executor stores and answers it.
  void FinishSerialized(const Result<std::string>& result) const {
    if (!result.ok()) return Finish(result.status());
    const bool parsed = response_->ParseFromString(*result);
    Finish(parsed ? Status::Ok() : Status(Code::kCorrupt, "stored result: does not parse"));
  }

 private:
  grpc::CallbackServerContext* context_;
  grpc::ServerUnaryReactor* reactor_;
  Response* response_;
  CallMetrics* metrics_;
  Clock::Instant begin_;
};

}  // namespace sheaf::meta
