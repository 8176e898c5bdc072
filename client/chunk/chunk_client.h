#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>

#include "client/chunk/chunk_metrics.h"
#include "client/chunk/delay_queue.h"
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
// 2. Until then, what may pass is tried again: busy and unreachable servers after a back-off with
//    jitter, a refusal of the chain version after fetching the map. Repeating a write is safe: it
//    puts the same bytes at the same place, under the same (stream, sequence).
// 3. Every payload read is checked against its CRC32C; one that fails is read again, kCorruptTries
//    times in all.
// 4. At most kMaxOperations and kMaxBytesInFlight are under way; others wait, at most kMaxWaiting.
//    The bytes are the callers' own memory: the client holds no copy.
class ChunkClient {
 public:
  static constexpr size_t kMaxOperations = 1024;
  static constexpr size_t kMaxBytesInFlight = 256 << 20;
  static constexpr size_t kMaxWaiting = 65536;
  static constexpr int kCorruptTries = 3;
  static constexpr int kRetryThreads = 4;

  struct Options {
    std::chrono::milliseconds timeout{30'000};
    std::chrono::milliseconds backoff_min{5};
    std::chrono::milliseconds backoff_max{500};
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

 private:
  struct Operation;
  void AddCallbacks(Metrics& metrics);
  struct Admission {
    size_t operations = 0;
    size_t bytes = 0;
    std::deque<Operation*> waiting;
  };

  void Submit(Operation* operation, Blocking blocking);
  bool Admit(Admission& admission, const Operation& operation);
  void Attempt(Operation* operation, Blocking blocking);
  void SendRead(Operation* operation, const Route& route);
  void SendWrite(Operation* operation, const Route& route);
  void OnReply(Operation* operation, Result<transport::Reply> reply);
  // How many bytes the step moved.
  Result<size_t> CheckRead(Operation& operation, const transport::Reply& reply);
  void OnStep(Operation* operation, size_t moved);
  void OnError(Operation* operation, Status status);
  bool MayRetry(Operation& operation, const Status& status);
  Clock::Instant NextTry(Operation& operation);
  Status GaveUp(const Operation& operation);
  void Finish(Operation* operation, Result<size_t> result);

  const Options options_;
  Routes& routes_;
  WriterIdentity& identity_;
  std::unique_ptr<ChunkMetrics> metrics_;  // null: not counted
  StreamPool streams_;
  std::atomic<int64_t> last_logged_s_ = -1;
  Guarded<Admission> admission_;
  std::condition_variable idle_;
  DelayQueue delayed_;
};

}  // namespace sheaf::client
