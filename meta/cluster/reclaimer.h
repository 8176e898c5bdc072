#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "common/clock.h"
#include "common/ids.h"
#include "common/status.h"
#include "meta/cluster/chunk_trimmer.h"
#include "meta/schema/values.h"

namespace sheaf::meta {

class Executor;
class ReadView;

struct ReclaimerOptions {
  std::chrono::milliseconds interval{500};  // between walks of the queue
  size_t batch = 64;                        // files whose chunks are removed together
  uint64_t max_files_per_s = 4000;
  std::chrono::milliseconds call_timeout{5000};
  std::chrono::milliseconds first_retry{500};
  std::chrono::milliseconds longest_retry{30000};
  size_t max_failing = 65536;  // entries that wait for another try
};

// Walks the removal queue in epoch order and reclaims what nobody can reach any more: first the
// chunks on every chain of the file's stripe, durably, then the rows in one executor operation a
// step. At least once: a crash in between removes chunks again, which does nothing.
//
// An entry that fails waits, longer each time, and does not hold up those after it. The backlog is
// what is in the queue, pinned entries included.
//
// Thread safety: all calls, from any thread. One thread of its own.
class Reclaimer {
 public:
  // Whether every session has acknowledged `epoch` and none pins what is to go.
  using MayReclaim = std::function<bool(RemovalEpoch epoch, const Removal& removal)>;

  static constexpr size_t kPage = 1024;           // rows read at a time
  static constexpr size_t kRowsPerStep = 512;     // deleted by one executor operation
  static constexpr size_t kMaxCounted = 1 << 20;  // rows a count looks at

  // All outlive this.
  Reclaimer(Executor& executor, ChunkTrimmer& trimmer, const Clock& clock, MayReclaim may_reclaim,
            const ReclaimerOptions& options);
  ~Reclaimer();

  // Walks now rather than at the next interval.
  void Kick();

  // Entries in the queue as of the last walk.
  uint64_t backlog() const { return backlog_; }
  uint64_t reclaimed() const { return reclaimed_; }
  uint64_t failures() const { return failures_; }

  // Entries in the queue of `view`, at most kMaxCounted.
  static Result<uint64_t> CountBacklog(const ReadView& view);

 private:
  struct Entry {
    RemovalEpoch epoch;
    Removal removal;
  };
  struct Failing {
    Clock::Instant next_try{};
    std::chrono::milliseconds delay{};
  };

  void Loop();
  Status Walk();
  // Reads the page of entries after `after`; the last read one is `*last`.
  Result<std::vector<Entry>> ReadPage(RemovalEpoch after, RemovalEpoch* last) const;
  bool IsDue(const Entry& entry) const;
  void ReclaimBatch(std::vector<Entry> batch);
  void TrimBatch(const std::vector<Entry>& batch, std::vector<Status>* results);
  void ForgetRows(const std::vector<Entry>& batch, std::vector<Status>* results);
  void NoteFailure(const Entry& entry, const Status& status);
  // False: stopping.
  bool Pause(Clock::Instant duration);

  Executor& executor_;
  ChunkTrimmer& trimmer_;
  const Clock& clock_;
  const MayReclaim may_reclaim_;
  const ReclaimerOptions options_;

  std::unordered_map<RemovalEpoch, Failing> failing_;  // the thread's own
  std::atomic<uint64_t> backlog_{0};
  std::atomic<uint64_t> reclaimed_{0};
  std::atomic<uint64_t> failures_{0};

  std::mutex mutex_;
  std::condition_variable changed_;
  bool kicked_ = false;
  bool stopping_ = false;
  std::thread thread_;  // last: uses all of the above
};

}  // namespace sheaf::meta
