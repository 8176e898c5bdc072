#include "client/meta/batcher.h"

#include <algorithm>
#include <utility>

#include "client/meta/backoff.h"
#include "client/meta/parallel.h"

namespace sheaf::client {
namespace {

// Indexes [begin, end) of what is wanted: one batch.
struct Cut {
  size_t begin = 0;
  size_t end = 0;
};

std::vector<Cut> CutUp(const std::vector<proto::BatchOperation>& operations,
                       const std::vector<size_t>& wanted, size_t together) {
  std::vector<Cut> cuts;
  size_t bytes = 0;
  for (size_t i = 0; i < wanted.size(); i += together) {
    size_t more = 0;
    for (size_t j = 0; j < together; ++j) more += operations[wanted[i + j]].ByteSizeLong();
    const bool full =
        !cuts.empty() && (i + together - cuts.back().begin > Batcher::kMaxOperations ||
                          bytes + more > Batcher::kMaxBytes);
    if (cuts.empty() || full) {
      cuts.push_back({i, i});
      bytes = 0;
    }
    cuts.back().end = i + together;
    bytes += more;
  }
  return cuts;
}

void SetError(const Status& status, proto::BatchResult& result) {
  result.Clear();
  result.set_code(static_cast<uint32_t>(status.code()));
  result.set_message(status.message());
}

bool InvitesRetry(const proto::BatchResult& result) {
  return result.code() != 0 && StatusOf(result).retry() != Retry::kNever;
}

}  // namespace

Status StatusOf(const proto::BatchResult& result) {
  if (result.code() == 0) return Status::Ok();
  return {CodeFromNumber(result.code()), result.message()};
}

void Batcher::RunRound(const Credentials& who, const std::vector<proto::BatchOperation>& operations,
                       const std::vector<size_t>& wanted, const Options& options,
                       std::vector<proto::BatchResult>& results) {
  const std::vector<Cut> cuts = CutUp(operations, wanted, options.together);
  ParallelFor(cuts.size(), kInFlight, [&](size_t which) {
    const Cut cut = cuts[which];
    proto::BatchRequest request;
    if (options.session.value() != 0) {
      request.mutable_ctx()->mutable_request()->set_incarnation(options.session.value());
    }
    for (size_t i = cut.begin; i < cut.end; ++i) {
      *request.add_operations() = operations[wanted[i]];
    }
    auto answer = meta_.Batch(who, std::move(request));
    Status status = answer.status();
    if (status.ok() && static_cast<size_t>(answer->results_size()) != cut.end - cut.begin) {
      status = {Code::kProtocol, "batch: " + std::to_string(answer->results_size()) +
                                     " results for " + std::to_string(cut.end - cut.begin) +
                                     " operations"};
    }
    for (size_t i = cut.begin; i < cut.end; ++i) {
      proto::BatchResult& result = results[wanted[i]];
      if (status.ok()) {
        result.Swap(answer->mutable_results(static_cast<int>(i - cut.begin)));
      } else {
        SetError(status, result);
      }
    }
  });
}

std::vector<proto::BatchResult> Batcher::Run(const Credentials& who,
                                             std::vector<proto::BatchOperation> operations,
                                             const Options& options) {
  CHECK(options.together > 0 && operations.size() % options.together == 0,
        "operations do not come in whole groups");
  Backoff backoff(std::chrono::steady_clock::now() + timeout_);
  std::vector<proto::BatchResult> results(operations.size());
  std::vector<size_t> wanted(operations.size());
  for (size_t i = 0; i < wanted.size(); ++i) wanted[i] = i;
  for (;;) {
    RunRound(who, operations, wanted, options, results);
    if (options.together > 1) return results;
    std::vector<size_t> again;
    std::copy_if(wanted.begin(), wanted.end(), std::back_inserter(again),
                 [&](size_t i) { return InvitesRetry(results[i]); });
    if (again.empty() || !backoff.Wait()) return results;
    wanted = std::move(again);
  }
}

}  // namespace sheaf::client
