#pragma once

#include <functional>

#include "common/metrics.h"
#include "meta/cluster/truncations.h"
#include "meta/cluster/worker_pool.h"
#include "meta/ops/executor.h"
#include "meta/ops/ops.h"
#include "meta/service/call_metrics.h"
#include "meta/service/unary_call.h"
#include "proto/meta.grpc.pb.h"

namespace sheaf::meta {

// The namespace over gRPC: decode, admit, hand on, encode. Mutations go to the executor, reads to
// a pool of threads over the committed state; a full queue of either answers kBusy. Nothing blocks
// a gRPC thread. Thread-safe.
class MetaService final : public proto::Meta::CallbackService {
 public:
  static constexpr int kMaxGroups = 1024;  // supplementary groups of a caller

  // All outlive the service.
  struct Parts {
    Executor& executor;
    WorkerPool& readers;
    Truncations& truncations;
    std::function<SpaceTotals()> space;
    Metrics& metrics;
  };
  explicit MetaService(Parts parts);

  using Reactor = grpc::ServerUnaryReactor;
  using Ctx = grpc::CallbackServerContext;

  Reactor* Lookup(Ctx*, const proto::LookupRequest*, proto::AttrResponse*) override;
  Reactor* GetAttr(Ctx*, const proto::GetAttrRequest*, proto::AttrResponse*) override;
  Reactor* SetAttr(Ctx*, const proto::SetAttrRequest*, proto::AttrResponse*) override;
  Reactor* Create(Ctx*, const proto::CreateRequest*, proto::CreateResponse*) override;
  Reactor* Mkdir(Ctx*, const proto::MkdirRequest*, proto::AttrResponse*) override;
  Reactor* Mknod(Ctx*, const proto::MknodRequest*, proto::AttrResponse*) override;
  Reactor* Symlink(Ctx*, const proto::SymlinkRequest*, proto::AttrResponse*) override;
  Reactor* Readlink(Ctx*, const proto::ReadlinkRequest*, proto::ReadlinkResponse*) override;
  Reactor* Link(Ctx*, const proto::LinkRequest*, proto::AttrResponse*) override;
  Reactor* Unlink(Ctx*, const proto::UnlinkRequest*, proto::UnlinkResponse*) override;
  Reactor* Rmdir(Ctx*, const proto::RmdirRequest*, proto::RmdirResponse*) override;
  Reactor* Rename(Ctx*, const proto::RenameRequest*, proto::RenameResponse*) override;
  Reactor* Open(Ctx*, const proto::OpenRequest*, proto::AttrResponse*) override;
  Reactor* Close(Ctx*, const proto::CloseRequest*, proto::AttrResponse*) override;
  Reactor* Fsync(Ctx*, const proto::FsyncRequest*, proto::AttrResponse*) override;
  Reactor* Truncate(Ctx*, const proto::TruncateRequest*, proto::AttrResponse*) override;
  Reactor* ReserveAppend(Ctx*, const proto::ReserveAppendRequest*,
                         proto::ReserveAppendResponse*) override;
  Reactor* ReadDir(Ctx*, const proto::ReadDirRequest*, proto::ReadDirResponse*) override;
  Reactor* StatFs(Ctx*, const proto::StatFsRequest*, proto::StatFsResponse*) override;
  Reactor* SetXattr(Ctx*, const proto::SetXattrRequest*, proto::SetXattrResponse*) override;
  Reactor* GetXattr(Ctx*, const proto::GetXattrRequest*, proto::GetXattrResponse*) override;
  Reactor* ListXattr(Ctx*, const proto::ListXattrRequest*, proto::ListXattrResponse*) override;
  Reactor* RemoveXattr(Ctx*, const proto::RemoveXattrRequest*,
                       proto::RemoveXattrResponse*) override;

 private:
  // `read` is called with the committed state on a reader thread.
  template <typename Request, typename Response, typename Read>
  Reactor* ReadCall(Ctx* context, const Request* request, Response* response, CallMetrics& metrics,
                    Read read);
  template <typename Request, typename Response>
  Reactor* MutateCall(Ctx* context, const Request* request, Response* response,
                      CallMetrics& metrics,
                      Result<Response> (*operation)(OpContext&, const Request&));

  Parts parts_;
  struct {
    CallMetrics lookup, getattr, setattr, create, mkdir, mknod, symlink, readlink, link, unlink,
        rmdir, rename, open, close, fsync, truncate, readdir, statfs, setxattr, getxattr, listxattr,
        removexattr, reserve_append;
  } metrics_;
};

}  // namespace sheaf::meta
