#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <set>
#include <thread>

#include "common/guarded.h"
#include "common/ids.h"

namespace sheaf::fuse {

// Drops the kernel's cached pages of inodes, from a thread of its own: a request must not do so
// itself, since the kernel may hold page locks until that request is answered.
//
// Thread-safe.
class Invalidator {
 public:
  // `drop` is called on the thread, one inode at a time; it may block.
  explicit Invalidator(std::function<void(InodeId)> drop);
  // Drops what is queued no more.
  ~Invalidator();

  Invalidator(const Invalidator&) = delete;
  Invalidator& operator=(const Invalidator&) = delete;

  // False when the queue is full or Finish was called.
  bool Add(InodeId inode);

  // Starts no further drop and gives one under way `patience` to end.
  void Finish(std::chrono::milliseconds patience);

 private:
  static constexpr size_t kQueueLimit = 4096;  // inodes

  struct Queue {
    std::set<InodeId> inodes;
    bool stopping = false;
    bool dropping = false;
  };

  void Run();

  std::function<void(InodeId)> drop_;
  std::condition_variable changed_;
  Guarded<Queue> queue_;
  std::thread thread_;
};

}  // namespace sheaf::fuse
