#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "common/status.h"

namespace sheaf::storage {

// A slab file known to every I/O context of the process; its number is its slot in the rings'
// registered-file tables.
using FileSlot = uint32_t;

using IoDone = std::function<void(Status)>;

// A page-aligned buffer of a context's pool, given back when the last owner lets go.
// Bytes are not zeroed.
class PooledBuffer {
 public:
  virtual ~PooledBuffer() = default;
  virtual std::span<uint8_t> span() = 0;  // whole pages; at least what was asked for
};
using BufferRef = std::shared_ptr<PooledBuffer>;

// What the engine needs of the thread that drives it: asynchronous direct disk I/O, aligned
// buffers and a way back onto this thread. One real implementation over io_uring (the reactor),
// one fake with a fault model (tests/support/fake_disk.h).
//
// Thread safety: everything is called on the context's own thread, except Post.
class IoContext {
 public:
  virtual ~IoContext() = default;

  // Offset, memory and length are multiples of 4096. `buffer` is kept alive until `done`, which runs
  // on this context's thread and never before the call returns. Short transfers are resumed inside.
  // Errors: kIo, kNoSpace as the device says.
  virtual void Read(FileSlot file, uint64_t offset, BufferRef buffer, std::span<uint8_t> into,
                    IoDone done) = 0;
  virtual void Write(FileSlot file, uint64_t offset, BufferRef buffer,
                     std::span<const uint8_t> from, IoDone done) = 0;

  // Null when the pool is used up: answer busy, or wait for a release.
  virtual BufferRef Allocate(size_t bytes) = 0;

  // Runs `task` on this context's thread, soon. Thread-safe.
  virtual void Post(std::function<void()> task) = 0;
};

// The files of one target, shared by all contexts: opening, growing and syncing, which block and
// are called from the engine's own threads. Thread-safe.
class SlabFiles {
 public:
  virtual ~SlabFiles() = default;
  // Opens or creates slab `number` with `bytes` preallocated, and makes it known to the contexts.
  // kNoSpace when the disk cannot hold it.
  virtual Result<FileSlot> Open(uint32_t number, uint64_t bytes, bool create) = 0;
  // After it, every write to `file` that was done before the call is durable.
  virtual Status Sync(FileSlot file) = 0;
  // Bytes of the file system under the target: free for us, and total.
  virtual Result<uint64_t> FreeBytes() = 0;
  virtual Result<uint64_t> TotalBytes() = 0;
};

}  // namespace sheaf::storage
