#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "client/chunk/chunk_client.h"
#include "client/chunk/writer_identity.h"
#include "client/file/inode_state.h"
#include "client/file/memory_budget.h"
#include "common/clock.h"
#include "common/guarded.h"
#include "common/status.h"

namespace sheaf::client {

// Keeps what was written in memory and sends it to the chains in the background. Thread-safe.
//
// 1. Memory over all files is bounded; who finds it full waits, at most `timeout`.
// 2. Bytes leave when their piece is full, when somebody flushes, when memory is short, and at the
//    latest `delay` after they were written.
// 3. A write that fails is not repeated here (the chunk client has done so until its deadline): its
//    bytes are dropped, the failure is kept with the file, and the file's length falls back to what
//    is on the chains.
// 4. What is dirty belongs to the session under which it was written, and is lost with it.
//
// Lock order: the io_gate of a file, FileWrites::state, then InodeState's own; the queue and the
// budget are taken alone. Nothing is sent under a lock: an answer may come at once.
class WriteBehind {
 public:
  struct Options {
    size_t bytes = size_t{64} << 20;  // 0: nothing is buffered
    std::chrono::milliseconds delay{1000};
    std::chrono::milliseconds timeout{30'000};
  };
  using File = std::shared_ptr<InodeState>;

  WriteBehind(const Options& options, ChunkClient& chunks, WriterIdentity& identity);
  // Waits for what is under way. REQUIRES: every file was flushed or discarded.
  ~WriteBehind();

  bool enabled() const { return options_.bytes > 0; }
  size_t memory() const { return budget_.used(); }

  // The largest write that Reserve and Write take at a time.
  size_t write_max() const;
  // Memory for one write, to be handed to Write or given back; kDeadline when there is no room.
  Result<size_t> Reserve(size_t size);
  void GiveBack(size_t reserved) { budget_.Release(reserved); }
  // Takes over `reserved`. REQUIRES: the file's gate is entered; from.size() <= write_max(), the
  // range is within the largest file.
  void Write(const File& file, uint64_t offset, std::span<const uint8_t> from, size_t reserved);

  // Copies what is held of the range into `into`; answers what must be read from the chains.
  static std::vector<WriteBuffer::Range> Read(const InodeState& file, uint64_t offset,
                                              std::span<uint8_t> into);

  // Sends what was written before.
  void Start(const File& file) { (void)SendAll(file); }
  // The same, and waits until all is answered. The length up to which all is
  // durable rises with it. Answers a failure that came meanwhile.
  Status Flush(const File& file);
  // A write that goes to the chains at once: flushes what it touches, keeps later writes of the
  // same bytes back until EndThrough. REQUIRES: the file's gate is entered.
  Status BeginThrough(const File& file, const WriteBuffer::Range& range);
  void EndThrough(const File& file, const WriteBuffer::Range& range);

  // Waits for what is under way and sends nothing more until Resume, which must follow whatever is
  // answered. REQUIRES: the file's gate is held exclusively.
  Status Pause(const File& file);
  void Resume(const File& file);

  // The failures of the file so far, and the last of them.
  static uint64_t failures(const InodeState& file) { return file.writes.state.Lock()->failures; }
  static Status last_failure(const InodeState& file) {
    return file.writes.state.Lock()->last_failure;
  }
  static bool IsEmpty(const InodeState& file) { return file.writes.state.Lock()->empty(); }
  // Drops what a flush could not get rid of. After the last close.
  void Discard(const File& file);

 private:
  struct Batch {
    InodeState::View view;
    Incarnation incarnation;
    std::vector<WriteBuffer::Outgoing> ranges;
  };
  struct Queued {
    Clock::Instant due;
    File file;
  };
  struct Queue {
    std::deque<Queued> files;  // every file with something dirty, by due
    bool stopping = false;
  };

  // All with the file's state locked; `session` was asked for before that: the session's lock comes
  // first, since it is held while open files are looked at.
  Batch Take(InodeState& file, FileWrites::State& state, Incarnation session);
  void Drop(InodeState& file, FileWrites::State& state, Status why);
  void CheckSession(InodeState& file, FileWrites::State& state, Incarnation session);
  // How much of the budget the file holds too much.
  static size_t Surplus(FileWrites::State& state);

  void Send(const File& file, Batch batch);
  void OnAnswer(const File& file, const InodeState::View& view, WriteBuffer::Outgoing range,
                const Result<size_t>& result);
  // Sends all that is dirty; answers the mark through which.
  uint64_t SendAll(const File& file);
  void Enqueue(const File& file);
  void SendQueued();
  void TimerLoop();
  std::chrono::milliseconds FlushTimeout() const { return 3 * options_.timeout; }

  const Options options_;
  ChunkClient& chunks_;
  WriterIdentity& identity_;
  MemoryBudget budget_;
  Guarded<Queue> queue_;
  std::condition_variable queue_changed_;
  Guarded<size_t> under_way_;
  std::condition_variable idle_;
  std::thread timer_;
};

}  // namespace sheaf::client
