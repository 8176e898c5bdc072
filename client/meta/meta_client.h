#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "client/meta/session.h"
#include "client/sheaf.h"
#include "common/metrics.h"
#include "common/status.h"
#include "proto/meta.pb.h"

namespace sheaf::client {

// How a metadata call may be repeated.
enum class CallKind {
  kRead,        // freely
  kMutation,    // under the same RequestId; under a new one only if it surely was not executed
  kIdempotent,  // a mutation that does no harm when executed twice: under a new one, too
  kOfSession,   // about something of the session itself: never under another
};

// The metadata service's calls. Fills in caller and request id, and repeats a call that met a busy
// or unreachable service until meta_timeout has passed (kDeadline, with what failed last, logged).
//
// When the service does not know the session any more, a new one is opened. A mutation then goes
// on under it only if no earlier try may have been executed; else the answer is kNoSession, which
// says that the outcome is unknown.
//
// Close ends a write-open that belongs to the session of its open, and goes when that does. The
// request may name that session (its RequestId's incarnation); else it is the one at the call. When
// it is not the current one any more, Close reports the length and ends nothing: it would be
// another handle's.
//
// Thread-safe. Calls block; `what` names them in errors.
class MetaClient {
 public:
  // `metrics` may be null.
  MetaClient(const std::string& meta_address, std::chrono::milliseconds timeout, Session& session,
             Metrics* metrics = nullptr);
  ~MetaClient();

#define SHEAF_META_CALLS(X)                          \
  X(Lookup, AttrResponse, kRead)                     \
  X(GetAttr, AttrResponse, kRead)                    \
  X(SetAttr, AttrResponse, kMutation)                \
  X(Create, CreateResponse, kMutation)               \
  X(Mkdir, AttrResponse, kMutation)                  \
  X(Mknod, AttrResponse, kMutation)                  \
  X(Symlink, AttrResponse, kMutation)                \
  X(Readlink, ReadlinkResponse, kRead)               \
  X(Link, AttrResponse, kMutation)                   \
  X(Unlink, UnlinkResponse, kMutation)               \
  X(Rmdir, RmdirResponse, kMutation)                 \
  X(Rename, RenameResponse, kMutation)               \
  X(Open, AttrResponse, kIdempotent) /* kMutation with O_TRUNC */ \
  X(Fsync, AttrResponse, kIdempotent)                \
  X(Truncate, AttrResponse, kMutation)                \
  X(ReserveAppend, ReserveAppendResponse, kMutation)  \
  X(ReadDir, ReadDirResponse, kRead)                 \
  X(StatFs, StatFsResponse, kRead)                   \
  X(SetXattr, SetXattrResponse, kMutation)           \
  X(GetXattr, GetXattrResponse, kRead)               \
  X(ListXattr, ListXattrResponse, kRead)             \
  X(RemoveXattr, RemoveXattrResponse, kMutation)     \
  X(LookupPath, LookupPathResponse, kRead)           \
  X(Batch, BatchResponse, kMutation) /* kRead when of look-ups alone, kOfSession with a Close */

#define X(name, response, kind)                                                             \
  Result<proto::response> name(const Credentials& who, proto::name##Request request);
  SHEAF_META_CALLS(X)
#undef X
  Result<proto::AttrResponse> Close(const Credentials& who, proto::CloseRequest request);

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace sheaf::client
