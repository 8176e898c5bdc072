#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "common/clock.h"
#include "common/guarded.h"
#include "common/ids.h"
#include "common/status.h"
#include "meta/cluster/session_table.h"
#include "proto/cluster.pb.h"

namespace sheaf::meta {

class Executor;

struct SessionOptions {
  std::chrono::milliseconds renew{5000};
  std::chrono::milliseconds lease{15000};
  std::chrono::milliseconds tick{200};  // between looks for expired sessions
  std::string cluster_uuid;
};

// Client sessions: rows are durable, leases and pins in memory.
//
// A session ends in steps, each bounded and repeatable: it is marked fenced (from then on the
// executor refuses its requests), its write-opens and stored results go, then its row. A restart
// takes up ends that were under way.
//
// Thread safety: all calls, from any thread. One thread of its own expires and cleans up.
class Sessions {
 public:
  using OpenDone = std::function<void(Result<proto::OpenSessionResponse>)>;
  using CloseDone = std::function<void(Status)>;

  static constexpr size_t kMaxDescription = 1024;  // bytes
  static constexpr size_t kRemovedPage = 4096;     // inodes told in one renewal
  static constexpr size_t kCleanupRows = 512;      // rows one step deletes

  // Loads the session rows. `executor` and `clock` outlive this.
  static Result<std::unique_ptr<Sessions>> Load(Executor& executor, const Clock& clock,
                                                const SessionOptions& options);
  ~Sessions();

  // The incarnation is durable, and never given out again, when `done` runs (on the executor's
  // thread, or this one).
  void OpenSession(const proto::OpenSessionRequest& request, OpenDone done);
  // Reads the removal queue: not for a thread that must not block.
  Result<proto::RenewSessionResponse> RenewSession(const proto::RenewSessionRequest& request);
  // Idempotent: closing what is not there is Ok. `done` runs when the session can do no more; its
  // rows go later.
  void CloseSession(Incarnation session, CloseDone done);

  // For the reclaimer: see SessionTable.
  bool MayReclaim(RemovalEpoch epoch, InodeId inode) const;
  RemovalEpoch AckedByAll() const;
  size_t Count() const;
  // Ended because nobody renewed them.
  uint64_t expired() const { return expired_.load(std::memory_order_relaxed); }

 private:
  struct Ending {
    Incarnation session;
    CloseDone done;  // may be empty
  };

  Sessions(Executor& executor, const Clock& clock, const SessionOptions& options);
  Status LoadRows();
  void Loop();
  Status End(const Ending& ending);
  Status Fence(Incarnation session);
  Status Cleanup(Incarnation session);

  Executor& executor_;
  const Clock& clock_;
  const SessionOptions options_;
  Guarded<SessionTable> table_;
  std::atomic<uint64_t> expired_{0};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Ending> endings_;  // bounded by kMaxSessions: one a session
  bool stopping_ = false;
  std::thread thread_;  // last: uses all of the above
};

}  // namespace sheaf::meta
