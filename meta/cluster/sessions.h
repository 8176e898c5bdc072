#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/guarded.h"
#include "common/ids.h"
#include "common/status.h"
#include "meta/cluster/session_settler.h"
#include "meta/cluster/session_table.h"
#include "meta/cluster/storage_fence.h"
#include "meta/cluster/worker_pool.h"
#include "meta/schema/values.h"
#include "proto/cluster.pb.h"

namespace sheaf::meta {

class Executor;

struct SessionOptions {
  std::chrono::milliseconds renew{5000};
  std::chrono::milliseconds lease{15000};
  std::chrono::milliseconds tick{100};  // between looks for what is to be done
  std::chrono::milliseconds probe_timeout{5000};
  std::chrono::milliseconds first_retry{500};  // of settling; doubles
  std::chrono::milliseconds longest_retry{10000};
  size_t settlers = 4;  // sessions settled at a time
  std::string cluster_uuid;
};

// Client sessions: rows are durable, leases and pins in memory.
//
// A session ends in steps, each durable before the next, each repeatable:
//   1. its row says "fenced": from then on the executor refuses its requests
//   2. fenced at storage; then its pins go, since nothing it has open can be changed by it any more
//   3. the files it had open for writing are settled
//   4. its results go, then its row
// A restart finds the rows that say "fenced" and takes each from step 1.
//
// A session whose files' chains do not answer stays in step 3 and is tried again and again; no
// other waits for it.
//
// The metadata service has a session of its own, for what it sends to storage: a new one at each
// start, which ends the one before.
//
// Thread safety: all calls, from any thread. One thread of its own expires and ends; settling is
// done by a few more.
class Sessions {
 public:
  using OpenDone = std::function<void(Result<proto::OpenSessionResponse>)>;
  using CloseDone = std::function<void(Status)>;

  static constexpr size_t kMaxDescription = 1024;  // bytes
  static constexpr size_t kRemovedPage = 4096;     // removals told in one renewal
  static constexpr size_t kCleanupRows = 512;      // rows one step deletes

  // All outlive the sessions.
  struct Parts {
    Executor& executor;
    StorageFence& fence;
    LengthProber& prober;
    const Clock& clock;
  };
  // Loads the session rows and opens the service's own session.
  static Result<std::unique_ptr<Sessions>> Load(const Parts& parts, const SessionOptions& options);
  ~Sessions();

  // Ends the work in the background and answers who waits for it; what is under way goes on after the
  // next start. Before the calls' server ends, which waits for every answer. Idempotent.
  void Stop();

  // The incarnation is durable, and never given out again, when `done` runs (on the executor's
  // thread, or this one).
  void OpenSession(const proto::OpenSessionRequest& request, OpenDone done);
  // Reads the removal queue: not for a thread that must not block.
  Result<proto::RenewSessionResponse> RenewSession(const proto::RenewSessionRequest& request);
  // Idempotent: closing what is not there is Ok. `done` runs once the session can do no more and no
  // file is left that it has open for writing; kUnavailable when such a one could not be settled at
  // once, which then goes on without the caller.
  void CloseSession(Incarnation session, CloseDone done);

  // For the reclaimer: see SessionTable.
  bool MayReclaim(RemovalEpoch epoch, const Removal& removal) const;
  RemovalEpoch AckedByAll() const;
  size_t Count() const;
  // Ended because nobody renewed them.
  uint64_t expired() const { return expired_.load(std::memory_order_relaxed); }

  // The service's own session. kUnavailable while something of the one before may still take effect
  // on a storage server: until then nothing may be trimmed or reclaimed.
  Result<Incarnation> ServiceIdentity() const;

  // Sessions whose end is under way, and those of them whose files were tried and are not settled.
  size_t Ending() const;
  size_t Unsettled() const;

 private:
  enum class Step { kRefuse, kFence, kSettle };
  struct End {
    Step step = Step::kRefuse;
    CloseDone done;        // may be empty
    bool working = false;  // a settler has it
    bool failed = false;   // to settle, at least once
    Clock::Instant next_try{};
    std::chrono::milliseconds delay{};
  };

  Sessions(const Parts& parts, const SessionOptions& options);
  Status BeginService();
  Status LoadRows();
  void Loop();
  bool WaitForTick();
  void ExpireSessions();
  std::vector<Incarnation> InStep(Step step) const;
  CloseDone TakeDone(Incarnation session);
  void SetStep(Incarnation session, Step step);
  void RefuseEnded();
  void Refused(Incarnation session, const Status& status);
  bool HasWriteOpens(Incarnation session) const;
  void PassFenced();
  void StartSettling();
  void SettleOne(Incarnation session);
  Status Forget(Incarnation session);
  void NoteFailure(Incarnation session, const Status& status);

  const Parts parts_;
  const SessionOptions options_;
  SessionSettler settler_;
  Incarnation service_;
  Incarnation service_before_;
  mutable std::atomic<bool> service_ready_{false};
  Guarded<SessionTable> table_;
  std::atomic<uint64_t> expired_{0};

  mutable std::mutex mutex_;  // taken with no other held
  std::condition_variable changed_;
  std::map<Incarnation, End> ends_;  // bounded by kMaxSessions: see OpenSession
  bool woken_ = false;
  bool stopping_ = false;

  WorkerPool pool_;
  std::thread thread_;  // last: uses all of the above
};

}  // namespace sheaf::meta
