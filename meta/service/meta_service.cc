#include "meta/service/meta_service.h"

#include <string>
#include <utility>

namespace sheaf::meta {
namespace {

Status CheckCaller(const proto::Context& context) {
  const int groups = context.caller().groups_size();
  if (groups <= MetaService::kMaxGroups) return Status::Ok();
  return {Code::kInvalid, "call: its caller has " + std::to_string(groups) +
                              " groups, the limit is " + std::to_string(MetaService::kMaxGroups)};
}

}  // namespace

MetaService::MetaService(Parts parts)
    : parts_(std::move(parts)),
      metrics_{{parts_.metrics, "meta", "lookup"},        {parts_.metrics, "meta", "getattr"},
               {parts_.metrics, "meta", "setattr"},       {parts_.metrics, "meta", "create"},
               {parts_.metrics, "meta", "mkdir"},         {parts_.metrics, "meta", "mknod"},
               {parts_.metrics, "meta", "symlink"},       {parts_.metrics, "meta", "readlink"},
               {parts_.metrics, "meta", "link"},          {parts_.metrics, "meta", "unlink"},
               {parts_.metrics, "meta", "rmdir"},         {parts_.metrics, "meta", "rename"},
               {parts_.metrics, "meta", "open"},          {parts_.metrics, "meta", "close"},
               {parts_.metrics, "meta", "fsync"},         {parts_.metrics, "meta", "truncate"},
               {parts_.metrics, "meta", "readdir"},       {parts_.metrics, "meta", "statfs"},
               {parts_.metrics, "meta", "setxattr"},      {parts_.metrics, "meta", "getxattr"},
               {parts_.metrics, "meta", "listxattr"},     {parts_.metrics, "meta", "removexattr"},
               {parts_.metrics, "meta", "reserve_append"}} {}

template <typename Request, typename Response, typename Read>
MetaService::Reactor* MetaService::ReadCall(Ctx* context, const Request* request,
                                            Response* response, CallMetrics& metrics, Read read) {
  const UnaryCall<Response> call(context, response, metrics);
  if (!call.Admit()) return call.reactor();
  if (Status status = CheckCaller(request->ctx()); !status.ok()) {
    call.Finish(status);
    return call.reactor();
  }
  const bool queued = parts_.readers.Submit(
      [this, call, request, read] { call.Finish(read(*parts_.executor.Committed(), *request)); });
  if (!queued) call.Finish(Status(Code::kBusy, "call: too many reads are waiting"));
  return call.reactor();
}

template <typename Request, typename Response>
MetaService::Reactor* MetaService::MutateCall(Ctx* context, const Request* request,
                                              Response* response, CallMetrics& metrics,
                                              Result<Response> (*operation)(OpContext&,
                                                                            const Request&)) {
  const UnaryCall<Response> call(context, response, metrics);
  if (!call.Admit()) return call.reactor();
  Result<RequestId> id = RequestIdOf(request->ctx());
  Status status = id.status();
  if (status.ok()) status = CheckCaller(request->ctx());
  if (!status.ok()) {
    call.Finish(status);
    return call.reactor();
  }
  auto run = [operation, request](OpContext& ctx) -> Result<std::string> {
    Result<Response> result = operation(ctx, *request);
    if (!result.ok()) return result.status();
    return result->SerializeAsString();
  };
  parts_.executor.Submit(*id, std::move(run),
                         [call](Result<std::string> result) { call.FinishSerialized(result); });
  return call.reactor();
}

#define SHEAF_READ(Name, name, Response)                                                     \
  MetaService::Reactor* MetaService::Name(Ctx* context, const proto::Name##Request* request, \
                                          proto::Response* response) {                       \
    return ReadCall(context, request, response, metrics_.name,                               \
                    [](const ReadView& view, const proto::Name##Request& asked) {            \
                      return meta::Name(view, asked);                                        \
                    });                                                                      \
  }
#define SHEAF_MUTATION(Name, name, Response)                                                 \
  MetaService::Reactor* MetaService::Name(Ctx* context, const proto::Name##Request* request, \
                                          proto::Response* response) {                       \
    return MutateCall(context, request, response, metrics_.name, &meta::Name);               \
  }

SHEAF_READ(Lookup, lookup, AttrResponse)
SHEAF_READ(GetAttr, getattr, AttrResponse)
SHEAF_READ(Readlink, readlink, ReadlinkResponse)
SHEAF_READ(ReadDir, readdir, ReadDirResponse)
SHEAF_READ(GetXattr, getxattr, GetXattrResponse)
SHEAF_READ(ListXattr, listxattr, ListXattrResponse)

SHEAF_MUTATION(SetAttr, setattr, AttrResponse)
SHEAF_MUTATION(Create, create, CreateResponse)
SHEAF_MUTATION(Mkdir, mkdir, AttrResponse)
SHEAF_MUTATION(Mknod, mknod, AttrResponse)
SHEAF_MUTATION(Symlink, symlink, AttrResponse)
SHEAF_MUTATION(Link, link, AttrResponse)
SHEAF_MUTATION(Unlink, unlink, UnlinkResponse)
SHEAF_MUTATION(Rmdir, rmdir, RmdirResponse)
SHEAF_MUTATION(Rename, rename, RenameResponse)
SHEAF_MUTATION(Close, close, AttrResponse)
SHEAF_MUTATION(Fsync, fsync, AttrResponse)
SHEAF_MUTATION(ReserveAppend, reserve_append, ReserveAppendResponse)
SHEAF_MUTATION(SetXattr, setxattr, SetXattrResponse)
SHEAF_MUTATION(RemoveXattr, removexattr, RemoveXattrResponse)

#undef SHEAF_READ
#undef SHEAF_MUTATION

MetaService::Reactor* MetaService::Open(Ctx* context, const proto::OpenRequest* request,
                                        proto::AttrResponse* response) {
  if (OpenMutates(*request)) {
    return MutateCall(context, request, response, metrics_.open, &meta::Open);
  }
  return ReadCall(context, request, response, metrics_.open,
                  [](const ReadView& view, const proto::OpenRequest& asked) {
                    return OpenForRead(view, asked);
                  });
}

MetaService::Reactor* MetaService::StatFs(Ctx* context, const proto::StatFsRequest* request,
                                          proto::StatFsResponse* response) {
  return ReadCall(context, request, response, metrics_.statfs,
                  [this](const ReadView& view, const proto::StatFsRequest& asked) {
                    return meta::StatFs(view, asked, parts_.space());
                  });
}

MetaService::Reactor* MetaService::Truncate(Ctx* context, const proto::TruncateRequest* request,
                                            proto::AttrResponse* response) {
  const UnaryCall<proto::AttrResponse> call(context, response, metrics_.truncate);
  if (!call.Admit()) return call.reactor();
  Result<RequestId> id = RequestIdOf(request->ctx());
  Status status = id.status();
  if (status.ok()) status = CheckCaller(request->ctx());
  if (!status.ok()) {
    call.Finish(status);
    return call.reactor();
  }
  parts_.truncations.Truncate(
      *id, *request, [call](Result<std::string> result) { call.FinishSerialized(result); });
  return call.reactor();
}

}  // namespace sheaf::meta
