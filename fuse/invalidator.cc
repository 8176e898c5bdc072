#include "fuse/invalidator.h"

#include <utility>

namespace sheaf::fuse {

Invalidator::Invalidator(std::function<void(InodeId)> drop)
    : drop_(std::move(drop)), thread_([this] { Run(); }) {}

Invalidator::~Invalidator() {
  Finish(std::chrono::milliseconds(0));
  thread_.join();
}

void Invalidator::Finish(std::chrono::milliseconds patience) {
  auto queue = queue_.Lock();
  queue->stopping = true;
  changed_.notify_all();
  queue.WaitUntil(changed_, std::chrono::steady_clock::now() + patience,
                  [&] { return !queue->dropping; });
}

bool Invalidator::Add(InodeId inode) {
  {
    auto queue = queue_.Lock();
    if (queue->stopping || queue->inodes.size() >= kQueueLimit) return false;
    queue->inodes.insert(inode);
  }
  changed_.notify_all();
  return true;
}

void Invalidator::Run() {
  for (;;) {
    InodeId inode;
    {
      auto queue = queue_.Lock();
      queue.Wait(changed_, [&] { return queue->stopping || !queue->inodes.empty(); });
      if (queue->stopping) return;
      inode = queue->inodes.extract(queue->inodes.begin()).value();
      queue->dropping = true;
    }
    drop_(inode);
    queue_.Lock()->dropping = false;
    changed_.notify_all();
  }
}

}  // namespace sheaf::fuse
