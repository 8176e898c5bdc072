#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>

#include "common/clock.h"
#include "common/ids.h"
#include "common/status.h"
#include "meta/cluster/chunk_trimmer.h"
#include "meta/cluster/worker_pool.h"
#include "meta/ops/op_context.h"
#include "proto/meta.pb.h"

namespace sheaf::meta {

class Executor;

struct TruncationOptions {
  size_t threads = 8;
  size_t max_queue = 1024;
  std::chrono::milliseconds call_timeout{10000};
  std::chrono::milliseconds interval{1000};  // between looks for intents nobody works on
};

// Shortening a file: one operation sets the length and leaves an intent, the chains trim what lies
// beyond, another operation clears the intent, and only then is the caller answered. Intents that
// are left by a failure or a restart are finished in the background.
//
// Invariant: one thread at a time trims a file. Otherwise a slow trim could remove what was written
// after a fast one had let the file be extended again.
//
// Thread safety: all calls, from any thread.
class Truncations {
 public:
  using Done = std::function<void(Result<std::string>)>;  // a serialised proto::AttrResponse

  // Both outlive this.
  Truncations(Executor& executor, ChunkTrimmer& trimmer, const TruncationOptions& options);
  ~Truncations();

  // `done` runs exactly once, on a thread of this or of the executor. kUnavailable: the length is
  // set, the trim is not done yet; the same request again waits for it.
  void Truncate(const RequestId& id, proto::TruncateRequest request, Done done);

  // Intents that were pending at the last look.
  uint64_t pending() const { return pending_; }
  // Truncations that wait for a thread.
  size_t queued() const { return pool_.Queued(); }
  uint64_t refused() const { return pool_.refused(); }

 private:
  static constexpr size_t kPage = 1024;  // intents looked at a time
  static constexpr int kMaxRounds = 8;   // intents of one file finished in one go

  void Loop();
  Status FinishPending();
  Status Finish(InodeId inode, Clock::Instant deadline);
  Status FinishRounds(InodeId inode, Clock::Instant deadline);

  Executor& executor_;
  ChunkTrimmer& trimmer_;
  const TruncationOptions options_;
  std::atomic<uint64_t> pending_{0};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_set<InodeId> busy_;  // being trimmed
  bool stopping_ = false;

  WorkerPool pool_;
  std::thread thread_;  // last: uses all of the above
};

}  // namespace sheaf::meta
