#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>

#include "client/sheaf.h"
#include "common/clock.h"
#include "common/guarded.h"

namespace sheaf::fuse {

// Attributes of directories as the answers to changes in them brought them. The kernel forgets a
// directory's attributes with each change that it asks for in it, and asks for them before the
// next: that question is answered from here.
//
// Invariants:
// 1. What is known is the directory as it was after the last change through this mount: a change
//    that does not tell attributes (Forget), one that began before it (Before), and a newer version
//    seen elsewhere (Seen) each do away with what they make old.
// 2. It is known for `trust` from before the change was asked for, and so no longer than the kernel
//    may trust any answer.
// 3. At most kMaxDirectories are remembered.
//
// Thread-safe.
class DirectoryAttrs {
 public:
  static constexpr size_t kMaxDirectories = 1024;

  explicit DirectoryAttrs(Clock::Instant trust) : trust_(trust) {}

  // Taken before a change is asked for.
  struct Before {
    uint64_t forgotten = 0;
    Clock::Instant when{};
  };
  Before Begin(Clock::Instant now) const {
    return {forgotten_.load(std::memory_order_acquire), now};
  }

  // After a change and before its reply, which is one or the other. `attr`: of its directory.
  void Tell(const FileAttr& attr, const Before& before);
  void Forget();
  // Sent to the kernel from elsewhere.
  void Seen(const FileAttr& attr);

  struct Known {
    FileAttr attr;
    Clock::Instant trusted_for{};
  };
  std::optional<Known> Find(InodeId inode, Clock::Instant now) const;

 private:
  struct Entry {
    FileAttr attr;
    Clock::Instant until{};
  };
  const Clock::Instant trust_;
  std::atomic<uint64_t> forgotten_{0};
  Guarded<std::unordered_map<InodeId, Entry>> known_;
};

}  // namespace sheaf::fuse
