#pragma once

#include <chrono>
#include <vector>

#include "client/meta/meta_client.h"
#include "client/sheaf.h"
#include "common/ids.h"
#include "proto/meta.pb.h"

namespace sheaf::client {

// Any number of metadata operations by Batch calls: cut at the service's limits, some of them under
// way at a time. Thread-safe; calls block.
//
// 1. Operations that stand `together` are executed in order, in one batch.
// 2. A single operation whose error invites a retry goes into a later batch, until the timeout has
//    passed; one of several that stand together does not.
class Batcher {
 public:
  static constexpr size_t kMaxOperations = 1024;        // of a batch: the service's limit
  static constexpr size_t kMaxBytes = size_t{1} << 19;  // half of the service's limit
  static constexpr size_t kInFlight = 4;                // batches of one Run

  Batcher(MetaClient& meta, std::chrono::milliseconds timeout) : meta_(meta), timeout_(timeout) {}

  struct Options {
    size_t together = 1;  // the operations come in groups of so many; divides their number
    Incarnation session;  // of what a Close closes; else unset
  };
  // One result an operation, in order. A batch that fails as a whole fails each of its operations.
  std::vector<proto::BatchResult> Run(const Credentials& who,
                                      std::vector<proto::BatchOperation> operations,
                                      const Options& options);
  std::vector<proto::BatchResult> Run(const Credentials& who,
                                      std::vector<proto::BatchOperation> operations) {
    return Run(who, std::move(operations), Options());
  }

 private:
  // Sends what `wanted` indexes, and fills in its results.
  void RunRound(const Credentials& who, const std::vector<proto::BatchOperation>& operations,
                const std::vector<size_t>& wanted, const Options& options,
                std::vector<proto::BatchResult>& results);

  MetaClient& meta_;
  const std::chrono::milliseconds timeout_;
};

// The error of an operation's result, or Ok.
Status StatusOf(const proto::BatchResult& result);

}  // namespace sheaf::client
