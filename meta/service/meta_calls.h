#pragma once

#include <functional>
#include <string>
#include <utility>

#include "common/metrics.h"
#include "common/status.h"
#include "meta/cluster/truncations.h"
#include "meta/cluster/worker_pool.h"
#include "meta/ops/executor.h"
#include "meta/ops/ops.h"
#include "meta/service/call_metrics.h"
#include "proto/meta.pb.h"

namespace sheaf::meta {

// The namespace's calls, whatever plane they come by: admitted, checked, run, finished. Mutations
// go to the executor, which refuses with kBusy what its queue does not hold, or has them run where
// they were received when it rests; reads look at the committed state. Thread-safe.
//
// A Call is copyable, stands for one request, and has
//   static constexpr bool kMayBlock    whether its thread may run a read itself; else a reader does
//   bool StepAside()                   where it may block: whether it may run a mutation, too, as
//                                      others go on with what came after it
//   bool Admit()                       false: refused, and finished
//   void Finish(Status), Finish(Result<Response>), FinishSerialized(Result<std::string>)
// A RequestPtr points to a request that stays as it is until the call is finished.
class MetaCalls {
 public:
  static constexpr int kMaxGroups = 1024;  // supplementary groups of a caller

  // All outlive the calls.
  struct Parts {
    Executor& executor;
    WorkerPool& readers;
    Truncations& truncations;
    std::function<SpaceTotals()> space;
    Metrics& metrics;
  };
  explicit MetaCalls(Parts parts);

// X(Name, name in metrics, Response)
#define SHEAF_META_READS(X)                  \
  X(Lookup, lookup, AttrResponse)            \
  X(GetAttr, getattr, AttrResponse)          \
  X(Readlink, readlink, ReadlinkResponse)    \
  X(ReadDir, readdir, ReadDirResponse)       \
  X(GetXattr, getxattr, GetXattrResponse)    \
  X(ListXattr, listxattr, ListXattrResponse) \
  X(LookupPath, lookup_path, LookupPathResponse)
#define SHEAF_META_MUTATIONS(X)                           \
  X(SetAttr, setattr, AttrResponse)                       \
  X(Create, create, CreateResponse)                       \
  X(Mkdir, mkdir, AttrResponse)                           \
  X(Mknod, mknod, AttrResponse)                           \
  X(Symlink, symlink, AttrResponse)                       \
  X(Link, link, AttrResponse)                             \
  X(Unlink, unlink, UnlinkResponse)                       \
  X(Rmdir, rmdir, RmdirResponse)                          \
  X(Rename, rename, RenameResponse)                       \
  X(Close, close, AttrResponse)                           \
  X(Fsync, fsync, AttrResponse)                           \
  X(ReserveAppend, reserve_append, ReserveAppendResponse) \
  X(SetXattr, setxattr, SetXattrResponse)                 \
  X(RemoveXattr, removexattr, RemoveXattrResponse)
#define SHEAF_META_OTHERS(X)        \
  X(Open, open, AttrResponse)       \
  X(Batch, batch, BatchResponse)    \
  X(StatFs, statfs, StatFsResponse) \
  X(Truncate, truncate, AttrResponse)
#define SHEAF_ALL_META_CALLS(X) SHEAF_META_READS(X) SHEAF_META_MUTATIONS(X) SHEAF_META_OTHERS(X)

#define X(Name, name, Response)                                                            \
  template <typename Call, typename RequestPtr>                                            \
  void Name(const Call& call, const RequestPtr& request) {                                 \
    Read(call, request,                                                                    \
         [](const ReadView& view, const auto& asked) { return meta::Name(view, asked); }); \
  }
  SHEAF_META_READS(X)
#undef X
#define X(Name, name, Response)                            \
  template <typename Call, typename RequestPtr>            \
  void Name(const Call& call, const RequestPtr& request) { \
    Mutate(call, request, &meta::Name);                    \
  }
  SHEAF_META_MUTATIONS(X)
#undef X

  template <typename Call, typename RequestPtr>
  void Open(const Call& call, const RequestPtr& request) {
    if (OpenMutates(*request)) return Mutate(call, request, &meta::Open);
    Read(call, request,
         [](const ReadView& view, const auto& asked) { return OpenForRead(view, asked); });
  }
  // Checked before it is queued, where a batch counts as one whatever its size.
  template <typename Call, typename RequestPtr>
  void Batch(const Call& call, const RequestPtr& request) {
    if (Status status = CheckBatch(*request); !status.ok()) return call.Finish(status);
    if (BatchMutates(*request)) {
      return Mutate(call, request, &meta::Batch, static_cast<size_t>(request->operations_size()));
    }
    Read(call, request,
         [](const ReadView& view, const auto& asked) { return BatchLookups(view, asked); });
  }
  template <typename Call, typename RequestPtr>
  void StatFs(const Call& call, const RequestPtr& request) {
    Read(call, request, [this](const ReadView& view, const auto& asked) {
      return meta::StatFs(view, asked, parts_.space());
    });
  }
  template <typename Call, typename RequestPtr>
  void Truncate(const Call& call, const RequestPtr& request) {
    Result<RequestId> id = Check(call, request);
    if (!id.ok()) return;
    parts_.truncations.Truncate(*id, *request, [call](const Result<std::string>& result) {
      call.FinishSerialized(result);
    });
  }

  struct Counts {
#define X(Name, name, Response) CallMetrics name;
    SHEAF_ALL_META_CALLS(X)
#undef X
  };
  Counts& metrics() { return metrics_; }

 private:
  static Status CheckCaller(const proto::Context& context);

  // Of a mutation; an error is finished already.
  template <typename Call, typename RequestPtr>
  static Result<RequestId> Check(const Call& call, const RequestPtr& request) {
    if (!call.Admit()) return Status(Code::kDeadline, "call: refused");
    Result<RequestId> id = RequestIdOf(request->ctx());
    Status status = id.status();
    if (status.ok()) status = CheckCaller(request->ctx());
    if (status.ok()) return id;
    call.Finish(status);
    return status;
  }

  template <typename Call, typename RequestPtr, typename Run>
  void Read(const Call& call, const RequestPtr& request, Run run) {
    if (!call.Admit()) return;
    if (Status status = CheckCaller(request->ctx()); !status.ok()) return call.Finish(status);
    auto read = [this, call, request, run] {
      call.Finish(run(*parts_.executor.Committed(), *request));
    };
    if constexpr (Call::kMayBlock) return read();
    if (parts_.readers.Submit(std::move(read))) return;
    call.Finish(Status(Code::kBusy, "call: too many reads are waiting"));
  }

  template <typename Call, typename RequestPtr, typename Request, typename Response>
  void Mutate(const Call& call, const RequestPtr& request,
              Result<Response> (*operation)(OpContext&, const Request&), size_t steps = 1) {
    Result<RequestId> id = Check(call, request);
    if (!id.ok()) return;
    auto run = [operation, request](OpContext& ctx) -> Result<std::string> {
      Result<Response> result = operation(ctx, *request);
      if (!result.ok()) return result.status();
      return result->SerializeAsString();
    };
    auto done = [call](const Result<std::string>& result) { call.FinishSerialized(result); };
    if constexpr (Call::kMayBlock) {
      if (steps == 1) {
        return parts_.executor.SubmitOrRun(*id, std::move(run), std::move(done),
                                           [&call] { return call.StepAside(); });
      }
    }
    parts_.executor.Submit(*id, std::move(run), std::move(done), steps);
  }

  Parts parts_;
  Counts metrics_;
};

}  // namespace sheaf::meta
