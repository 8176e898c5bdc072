#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/clock.h"
#include "common/metrics.h"
#include "common/status.h"
#include "meta/kv/kv_store.h"
#include "meta/ops/op_context.h"

// The one writer of the metadata service.
//
// One thread at a time has the turn: it takes queued operations in order. Each sees the database
// plus the changes of the open group before it. The group's changes go to the store as one synced
// batch, and only then are its operations answered. That thread is the executor's own, or, when
// that one rests, a caller of SubmitOrRun, which spares waking it.
//
// Invariants:
//  1. An operation that answers an error changes nothing (but its stored result, 4).
//  2. What was answered ok survives a crash; of a group that was not answered, all or nothing
//     survives. Every batch carries the next (term, index).
//  3. A reader sees whole groups only, and a group before any of its answers is given.
//  4. A request with a RequestId is executed at most once: its final result, error or not, is
//     stored in the batch of its changes and answers any retry. Results below the session's lowest
//     outstanding sequence are dropped, and requests below it are refused with kNoSession, as are
//     those of an unknown incarnation. Errors that invite a retry (retry class other than kNever)
//     are not final, nor is kNoSpace: nothing of them is stored.
//  5. After a failed commit nothing is executed before the store has recovered: a retry then finds
//     its stored result if the failed batch survived, and is executed if not. While space is short,
//     operations that add rows are refused with kNoSpace (OpContext::CheckSpace); what frees
//     space, and what keeps clients and servers going, is not.
//  6. A group holds at most one batch (an operation of several steps), after the single operations
//     that waited when the group began: so these wait for two at most, the one under way and their
//     own group's, however many are queued; and every group takes one.
//  7. The turn is one thread's at a time, and never a caller's while anything waits: a caller takes
//     it for one group that begins with its own operation, then it is the executor's thread's.
//
// Thread safety: all calls, from any thread.

namespace sheaf::meta {

// A mutation: reads and changes through the context, answers the serialized response. It must be
// bounded (no waiting, no I/O but the context's) and runs on the thread that has the turn.
using Operation = std::function<Result<std::string>(OpContext&)>;

struct ExecutorOptions {
  size_t max_queue = 8192;  // waiting operations; beyond it kBusy
  size_t max_queue_batches = 64;  // waiting batches; beyond it kBusy
  size_t max_group_operations = 1024;
  size_t max_group_bytes = 4 << 20;  // of keys and values
  // A group takes what is queued, and goes on taking what arrives meanwhile for this long at most.
  std::chrono::microseconds max_group_time{2000};
  uint64_t term = 1;  // who leads; fences another writer's batches
  const Clock* clock = &Clock::System();
  Metrics::Histogram* commit_seconds = nullptr;  // of synced writes; may be null
  // Of the root directory of a new store: the user who runs the service owns it.
  uint32_t root_uid = geteuid();
  uint32_t root_gid = getegid();
  uint32_t root_mode = 0755;
};

struct ExecutorStats {
  uint64_t operations = 0;  // executed, failed ones included; a batch counts its steps
  uint64_t groups = 0;      // committed
  uint64_t lent_turns = 0;  // of those that called SubmitOrRun
  uint64_t retries = 0;     // answered from a stored result
  uint64_t refused = 0;     // kBusy, the queue being full
  uint64_t commit_failures = 0;
  uint64_t recoveries = 0;  // of the store after a failed commit
  bool space_short = false;
  uint64_t queued = 0;  // waiting now, batches included
};

class Executor {
 public:
  using Done = std::function<void(Result<std::string>)>;

  // Most requests of one session between its lowest outstanding and its newest; beyond it kBusy.
  static constexpr uint64_t kMaxOutstanding = 65536;

  // Checks the store's format version (writing it on an empty store), makes the root directory if
  // there is none, and starts the thread. `store` outlives the executor; nobody else writes to it.
  // kInvalid for a store of a newer format.
  static Result<std::unique_ptr<Executor>> Open(KvStore& store, const ExecutorOptions& options);

  // Refuses new work, commits and answers the open group; what is still queued gets kUnavailable.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Queues `operation`. `done` is called exactly once: on this thread with kBusy or kUnavailable
  // when it is refused, else on the thread that has the turn, where it must not block. `steps`: how
  // many ordinary operations it is worth; a batch has more than one. What is queued at the same
  // time is executed in any order.
  void Submit(std::optional<RequestId> id, Operation operation, Done done, size_t steps = 1);

  // The same for one ordinary operation, but where nobody has the turn and nothing waits, this
  // thread takes it: the operation, others that arrive meanwhile, their commit and every `done` run
  // here. `may_run` is asked then, and once: false leaves it to the executor's thread.
  // REQUIRES: the caller holds nothing that a `done` takes.
  void SubmitOrRun(std::optional<RequestId> id, Operation operation, Done done,
                   const std::function<bool()>& may_run);

  // Submit and wait for the answer. kDeadline after `timeout`: the operation may still happen.
  // Not from an operation or a `done`.
  Result<std::string> Run(std::optional<RequestId> id, Operation operation,
                          std::chrono::milliseconds timeout = std::chrono::seconds(30));

  // The last committed state, for reads on any thread. Hold it for one request only: it keeps old
  // versions from being compacted away. Must be gone before the executor is.
  std::shared_ptr<const ReadView> Committed() const;

  ExecutorStats Stats() const;

 private:
  struct Impl;
  explicit Executor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sheaf::meta
