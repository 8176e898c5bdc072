#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "client/chunk/chunk_metrics.h"
#include "client/chunk/delay_queue.h"
#include "client/chunk/hedging.h"
#include "client/chunk/writer_identity.h"
#include "client/routing/router.h"
#include "common/clock.h"
#include "common/guarded.h"
#include "common/ids.h"
#include "common/layout.h"
#include "common/status.h"
#include "common/stream_pool.h"

namespace sheaf::client {

// Reads and writes byte ranges of chunks, asynchronously. Thread-safe.
//
// 1. An operation ends by its deadline: with what failed last, as kDeadline, logged.
// 2. A read that failed is sent to another replica at once, until each that serves was asked; where
//    one is left, it waits no longer than Hedging::Patience for an answer. Only after such a round,
//    and after each failure of a write, what may pass is tried again after a back-off with jitter.
//    Repeating a write is safe: it puts the same bytes at the same place, under the same (stream,
//    sequence).
// 3. A newer map ends every back-off, and every call whose chain has moved on: the call is given up
//    and sent by the new route at once, so that a server that hangs does not hold what it no longer
//    serves. While something is refused, unreachable or slow, a newer map is asked for.
// 4. Every payload read is checked against its CRC32C; one that fails is read again, in kCorruptTries
//    rounds in all: replicas that are damaged in different places repair one another meanwhile.
// 5. A read that takes long is hedged (see Hedging). The hedge has a buffer of its own, which is
//    copied should it win: two answers never share the caller's memory. Whoever wins, the other is
//    cancelled, and the step ends only once both calls have; a cancelled call ends at once,
//    whatever its server does.
// 6. So when an operation moves on, or is done, none of its calls is under way, and the transport
//    has let go of its memory.
// 7. At most kMaxOperations and kMaxBytesInFlight are under way; others wait, at most kMaxWaiting.
//    The bytes are the callers' own memory: the client holds no copy, but of hedges.
class ChunkClient {
 public:
  static constexpr size_t kMaxOperations = 1024;
  static constexpr size_t kMaxBytesInFlight = 256 << 20;
  static constexpr size_t kMaxWaiting = 65536;
  static constexpr int kCorruptTries = 12;  // two seconds or so
  static constexpr int kRetryThreads = 4;
  // A refusal is cheap to ask for again, and soon over.
  static constexpr std::chrono::milliseconds kRefusedBackoffMax{100};
  // A write that takes longer may be waiting for a head that is gone. (The manager needs longer to
  // see it.)
  static constexpr std::chrono::milliseconds kSlowWrite{500};
  static constexpr std::chrono::milliseconds kMapPoll{50};

  struct Options {
    std::chrono::milliseconds timeout{30'000};
    std::chrono::milliseconds backoff_min{5};
    std::chrono::milliseconds backoff_max{500};
    // How often a thread looks at the operations under way; 0: there is none, somebody calls Tick.
    std::chrono::milliseconds tick{5};
    Metrics* metrics = nullptr;  // may be null
  };

  struct Place {
    Layout layout;
    ChunkId chunk;
    uint32_t offset = 0;  // bytes within the chunk
  };

  // `done` runs exactly once, on a library thread or the caller's, and must not block.
  using Done = std::function<void(Result<size_t>)>;

  ChunkClient(const Options& options, Routes& routes, WriterIdentity& identity);
  // Waits for all operations.
  ~ChunkClient();

  // Fills all of `into`: what lies past the chunk's end reads as zeros. Answers how many bytes
  // the chunk had. REQUIRES: the range lies within one chunk; memory stays valid until done.
  void Read(const Place& place, std::span<uint8_t> into, Done done);
  struct WriteOptions {
    // The session that the bytes belong to: once it is over they are refused (kFenced), not sent
    // under the next one. Null: whichever is current.
    Incarnation under{};
    bool may_block = true;  // on making a connection, before this returns
  };
  // Durable when done. The same requirements.
  void Write(const Place& place, std::span<const uint8_t> from, const WriteOptions& options,
             Done done);
  void Write(const Place& place, std::span<const uint8_t> from, Done done) {
    Write(place, from, WriteOptions{}, std::move(done));
  }

  // What time and newer maps bring: hedges, calls to be given up, back-offs to be ended. One at a
  // time.
  void Tick(Clock::Instant now);

 private:
  struct Operation;
  using OperationRef = std::shared_ptr<Operation>;
  enum class Which { kFirst, kHedge };
  void AddCallbacks(Metrics& metrics);
  struct Admission {
    std::vector<OperationRef> under_way;
    size_t bytes = 0;
    std::deque<OperationRef> waiting;
    bool watcher_rests = false;
    bool stopping = false;
  };

  void Submit(const OperationRef& operation, Blocking blocking);
  bool Admit(Admission& admission, const OperationRef& operation);
  void Leave(Admission& admission, const Operation& operation);
  void Finish(const OperationRef& operation, Result<size_t> result);

  // One step: chunk_steps.cc.
  void Attempt(const OperationRef& operation, Blocking blocking);
  void SendRead(const OperationRef& operation, const Route& route);
  void SendWrite(const OperationRef& operation, const Route& route);
  void Start(const OperationRef& operation, const Route& route, transport::Call call);
  Clock::Instant CallDeadline(const Operation& operation, const Route& route) const;
  void Hedge(const OperationRef& operation);
  void OnReply(const OperationRef& operation, Which which, Result<transport::Reply> reply);
  void EndStep(const OperationRef& operation);
  void OnStep(const OperationRef& operation, size_t moved);

  // What failed: retries, or the end.
  void OnErrors(const OperationRef& operation, std::vector<Status> errors, bool others);
  bool MayRetry(Operation& operation, const Status& status);
  void RetryLater(const OperationRef& operation);
  Clock::Instant NextTry(Operation& operation);
  Status GaveUp(const Operation& operation);

  void Watch();
  // Answers whether a newer map would help.
  bool Look(const OperationRef& operation, Clock::Instant now, MapVersion map);

  const Options options_;
  Routes& routes_;
  WriterIdentity& identity_;
  std::unique_ptr<ChunkMetrics> metrics_;  // null: not counted
  StreamPool streams_;
  Hedging hedging_;
  std::atomic<uint64_t> last_tag_ = 0;
  Clock::Instant last_poll_{};  // Tick's
  std::atomic<int64_t> last_logged_s_ = -1;
  Guarded<Admission> admission_;
  std::condition_variable idle_;
  std::condition_variable begun_;
  DelayQueue delayed_;
  std::thread watcher_;
};

}  // namespace sheaf::client
