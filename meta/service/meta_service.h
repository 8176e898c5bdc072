#pragma once

#include "meta/service/meta_calls.h"
#include "proto/meta.grpc.pb.h"

namespace sheaf::meta {

// The namespace over gRPC. Nothing blocks a gRPC thread: reads are run by the readers. Thread-safe.
class MetaService final : public proto::Meta::CallbackService {
 public:
  // `calls` outlives the service.
  explicit MetaService(MetaCalls& calls) : calls_(calls) {}

  using Reactor = grpc::ServerUnaryReactor;
  using Ctx = grpc::CallbackServerContext;

#define X(Name, name, Response)                                                               \
  Reactor* Name(Ctx* context, const proto::Name##Request* request, proto::Response* response) \
      override;
  SHEAF_ALL_META_CALLS(X)
#undef X

 private:
  MetaCalls& calls_;
};

}  // namespace sheaf::meta
