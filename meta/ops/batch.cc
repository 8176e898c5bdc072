#include <string>
#include <utility>

#include "meta/ops/ops.h"
#include "meta/ops/rows.h"

namespace sheaf::meta {
namespace {

using Request = proto::BatchRequest;
using Entry = proto::BatchOperation;

// The answer is stored for a retry, and of it only attributes and messages have a length worth
// counting: 1024 of them stay below 1 MiB.
constexpr size_t kMaxMessageBytes = 512;

bool IsLookup(const Entry& entry) { return entry.has_lookup() || entry.has_get_attr(); }

void Take(proto::AttrResponse& from, proto::BatchResult* to) {
  to->mutable_attr()->Swap(from.mutable_attr());
}
void Take(proto::CreateResponse& from, proto::BatchResult* to) {
  to->mutable_attr()->Swap(from.mutable_attr());
  to->set_created(from.created());
}
void Take(const proto::UnlinkResponse& from, proto::BatchResult* to) {
  to->mutable_attr()->set_inode(from.inode());
  to->mutable_attr()->set_nlink(from.nlink());
}
void Take(const proto::RmdirResponse& from, proto::BatchResult* to) {
  to->mutable_attr()->set_inode(from.inode());
}

// One entry under the batch's context. `context` is lent to it, so that a caller's groups are not
// copied a thousand times.
template <typename View, typename Wanted, typename Response, typename Each>
Status Apply(View& view, Result<Response> (*operation)(Wanted&, const Each&), const Each& entry,
             proto::Context& context, proto::BatchResult* result) {
  Each request = entry;
  request.mutable_ctx()->Swap(&context);
  Result<Response> response = operation(view, request);
  request.mutable_ctx()->Swap(&context);
  if (response.ok()) Take(*response, result);
  return response.status();
}

Status ApplyLookup(const ReadView& view, const Entry& entry, proto::Context& context,
                   proto::BatchResult* result) {
  return entry.has_lookup() ? Apply(view, &Lookup, entry.lookup(), context, result)
                            : Apply(view, &GetAttr, entry.get_attr(), context, result);
}

Status ApplyEntry(OpContext& ctx, const Entry& entry, proto::Context& context,
                  proto::BatchResult* result) {
  switch (entry.operation_case()) {
    case Entry::kLookup:
    case Entry::kGetAttr:
      return ApplyLookup(ctx, entry, context, result);
    case Entry::kCreate:
      return Apply(ctx, &Create, entry.create(), context, result);
    case Entry::kClose:
      return Apply(ctx, &Close, entry.close(), context, result);
    case Entry::kSetAttr:
      return Apply(ctx, &SetAttr, entry.set_attr(), context, result);
    case Entry::kUnlink:
      return Apply(ctx, &Unlink, entry.unlink(), context, result);
    case Entry::kMkdir:
      return Apply(ctx, &Mkdir, entry.mkdir(), context, result);
    case Entry::kSymlink:
      return Apply(ctx, &Symlink, entry.symlink(), context, result);
    case Entry::kRmdir:
      return Apply(ctx, &Rmdir, entry.rmdir(), context, result);
    case Entry::OPERATION_NOT_SET:
      break;
  }
  return {Code::kInvalid, "batch: an operation is not set"};  // CheckBatch was not asked
}

void Fill(const Status& status, proto::BatchResult* result) {
  if (status.ok()) return;
  result->set_code(static_cast<uint32_t>(status.code()));
  result->set_message(status.message().substr(0, kMaxMessageBytes));
}

// `context` of the batch without its request id, which is not for the entries to read.
proto::Context ContextOf(const Request& request) {
  proto::Context context;
  *context.mutable_caller() = request.ctx().caller();
  return context;
}

}  // namespace

Status CheckBatch(const Request& request) {
  RETURN_IF_ERROR(CheckCaller(request.ctx()));
  if (request.operations_size() > kMaxBatchOperations) {
    return {Code::kInvalid, "batch: " + std::to_string(request.operations_size()) +
                                " operations (at most " + std::to_string(kMaxBatchOperations) +
                                "); send several"};
  }
  if (const size_t bytes = request.ByteSizeLong(); bytes > kMaxBatchBytes) {
    return {Code::kInvalid, "batch: " + std::to_string(bytes) + " bytes (at most " +
                                std::to_string(kMaxBatchBytes) + "); send several"};
  }
  for (int i = 0; i < request.operations_size(); ++i) {
    if (request.operations(i).operation_case() != Entry::OPERATION_NOT_SET) continue;
    return {Code::kInvalid, "batch: operation " + std::to_string(i) +
                                " is not set, or not one that a batch may hold"};
  }
  return Status::Ok();
}

bool BatchMutates(const Request& request) {
  for (const Entry& entry : request.operations()) {
    if (!IsLookup(entry)) return true;
  }
  return false;
}

Result<proto::BatchResponse> BatchLookups(const ReadView& view, const Request& request) {
  RETURN_IF_ERROR(CheckBatch(request));
  if (BatchMutates(request)) return Status(Code::kInvalid, "batch: not of look-ups alone");
  proto::Context context = ContextOf(request);
  proto::BatchResponse answer;
  for (const Entry& entry : request.operations()) {
    proto::BatchResult* result = answer.add_results();
    Fill(ApplyLookup(view, entry, context, result), result);
  }
  return answer;
}

// Each entry sees the changes of those before it; a failed one's are taken back.
Result<proto::BatchResponse> Batch(OpContext& ctx, const Request& request) {
  RETURN_IF_ERROR(CheckBatch(request));
  proto::Context context = ContextOf(request);
  proto::BatchResponse answer;
  for (const Entry& entry : request.operations()) {
    proto::BatchResult* result = answer.add_results();
    const size_t savepoint = ctx.Savepoint();
    const Status status = ApplyEntry(ctx, entry, context, result);
    if (!status.ok()) ctx.RollbackTo(savepoint);
    Fill(status, result);
  }
  return answer;
}

}  // namespace sheaf::meta
