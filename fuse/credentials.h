#pragma once

#include <map>
#include <tuple>
#include <vector>

#include "client/sheaf.h"
#include "common/clock.h"
#include "common/guarded.h"
#include "fuse/libfuse.h"

namespace sheaf::fuse {

// Who asks, with supplementary groups. FUSE requests carry only uid, gid and pid; the groups come
// from /proc and are kept for a second, so that a burst of one process costs one look.
//
// Thread-safe.
class CredentialSource {
 public:
  explicit CredentialSource(const Clock* clock) : clock_(clock) {}

  Credentials Of(fuse_req_t request);
  // Processes in the cache.
  size_t size() const { return cache_.Lock()->size(); }

 private:
  static constexpr size_t kCacheLimit = 1024;  // processes; the cache is emptied when it is full
  static constexpr Clock::Instant kCacheTime = std::chrono::seconds(1);

  using Key = std::tuple<pid_t, uid_t, gid_t>;
  struct Groups {
    std::vector<uint32_t> ids;
    Clock::Instant expires{};
  };

  const Clock* clock_;
  Guarded<std::map<Key, Groups>> cache_;
};

}  // namespace sheaf::fuse
