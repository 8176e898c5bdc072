#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "common/status.h"
#include "storage/disk/io_context.h"

struct io_uring;
struct io_uring_sqe;
struct msghdr;

namespace sheaf::storage {

class Uring;

// One asynchronous operation, used again and again by its owner; one flight at a time. A derived
// class holds what the kernel works on (buffer, message header, descriptor), so none of it can go
// before the completion has been reaped.
class Op {
 public:
  Op() = default;
  Op(const Op&) = delete;
  Op& operator=(const Op&) = delete;
  virtual ~Op();

  bool in_flight() const { return in_flight_; }

 protected:
  // On the ring's thread. `result` is the kernel's: bytes, a descriptor, or a negative errno.
  // With `more` the operation is still in flight and will complete again.
  virtual void Complete(int32_t result, bool more) = 0;

 private:
  friend class Uring;
  bool in_flight_ = false;
  std::shared_ptr<void> pin_;
};

// One io_uring.
//
// Thread safety: none. The thread that creates it owns it; every call checks that. Once closed it
// may be destroyed anywhere.
//
// Invariants:
// 1. An Op in flight is not destroyed: the `pin` given with it, if any, is held until its last
//    completion has run, and its destructor checks.
// 2. Every Op started completes exactly once with `more` false, also when the ring goes: the
//    destructor (or Close) cancels, drains, then exits the ring. Ops started meanwhile end in
//    -ECANCELED.
// 3. Completions run inside Reap (Run) or Close only, never inside the call that started the Op.
class Uring {
 public:
  struct Options {
    uint32_t entries = 1024;     // submission queue; a full one is submitted early
    uint32_t file_slots = 8192;  // of the sparse table of registered files
    bool plain = false;          // no setup flags: what an old kernel would give (tests)
  };

  // kUnavailable says what the kernel refused and how to allow it.
  static Result<std::unique_ptr<Uring>> Create(const Options& options);
  ~Uring();
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  // Registers as much of the front of `memory` as the memlock limit allows (halving each time) and
  // answers that length; 0 leaves every transfer unregistered. At most once.
  size_t RegisterMemory(std::span<uint8_t> memory);
  // Puts `fd` into the table. kTooBig beyond file_slots: use the descriptor itself then.
  Status RegisterFile(FileSlot slot, int fd);

  // Sockets. Accept completes once a connection, with `more`.
  void Accept(Op& op, std::shared_ptr<void> pin, int listen_fd);
  // With `all` completes when `into` is full, or at the stream's end or an error.
  void Receive(Op& op, std::shared_ptr<void> pin, int fd, std::span<uint8_t> into, bool all);
  // Into the parts of `message`, which the Op holds.
  void ReceiveMessage(Op& op, std::shared_ptr<void> pin, int fd, msghdr& message);
  void Send(Op& op, std::shared_ptr<void> pin, int fd, const msghdr& message);
  // Reads a descriptor that is not a file (an eventfd).
  void ReadStream(Op& op, std::shared_ptr<void> pin, int fd, std::span<uint8_t> into);
  // Cancels what is in flight on `fd`; the Ops complete with -ECANCELED or their result.
  void CancelAll(int fd);

  // Files: one transfer, possibly short. `fd` is used when the slot is not in the table.
  struct File {
    FileSlot slot = 0;
    bool registered = false;
    int fd = -1;
  };
  void ReadFile(Op& op, const File& file, uint64_t offset, std::span<uint8_t> into);
  void WriteFile(Op& op, const File& file, uint64_t offset, std::span<const uint8_t> from);

  // Submits what was prepared and waits up to `timeout` for a completion.
  void Wait(std::chrono::nanoseconds timeout);
  // Runs what has completed and answers how many.
  size_t Reap();
  // Both.
  size_t Run(std::chrono::nanoseconds timeout) {
    Wait(timeout);
    return Reap();
  }

  // Cancels what is in flight, runs its completions, exits the ring. Nothing may be started after.
  void Close();
  bool closed() const { return !exists_; }

  uint32_t in_flight() const { return in_flight_; }
  // "single issuer, deferred", "cooperative" or "plain".
  const char* mode() const { return mode_; }

 private:
  Uring();
  Status Setup(const Options& options);
  void CheckOwner() const;
  io_uring_sqe* Prepare();
  // Takes the Op into flight behind the entry just prepared.
  void Launch(io_uring_sqe* entry, Op& op, std::shared_ptr<void> pin);
  void Finish(Op& op, int32_t result, bool more);
  bool IsRegistered(const uint8_t* at, size_t length) const;
  void Drain();

  std::thread::id owner_ = std::this_thread::get_id();
  std::unique_ptr<io_uring> ring_;
  bool exists_ = false;
  bool stopping_ = false;
  const char* mode_ = "";
  uint32_t file_slots_ = 0;
  std::span<uint8_t> registered_memory_;
  uint32_t in_flight_ = 0;
  std::vector<Op*> refused_;  // started while stopping
};

}  // namespace sheaf::storage
