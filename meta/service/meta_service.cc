#include "meta/service/meta_service.h"

#include "meta/service/unary_call.h"

namespace sheaf::meta {

#define X(Name, name, Response)                                                              \
  MetaService::Reactor* MetaService::Name(Ctx* context, const proto::Name##Request* request, \
                                          proto::Response* response) {                       \
    const UnaryCall<proto::Response> call(context, response, calls_.metrics().name);         \
    calls_.Name(call, request);                                                              \
    return call.reactor();                                                                   \
  }
SHEAF_ALL_META_CALLS(X)
#undef X

}  // namespace sheaf::meta
