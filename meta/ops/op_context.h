#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "meta/kv/kv_store.h"
#include "meta/schema/keys.h"

namespace sheaf::meta {

class Overlay;

// Names one mutation (proto::RequestId): see Executor.
struct RequestId {
  Incarnation incarnation;
  uint64_t sequence = 0;
  uint64_t lowest_outstanding = 0;
};

// What an operation sees and may do: the committed database with the changes of the open group
// over it, then its own. Valid only during the operation. Not thread-safe: the executor's thread.
class OpContext final : public ReadView {
 public:
  // `base` and `overlay` outlive the context. `request` is absent for the service's own work.
  OpContext(const ReadView& base, Overlay& overlay, int64_t now_ns,
            std::optional<RequestId> request, bool space_short = false)
      : base_(base),
        overlay_(overlay),
        now_ns_(now_ns),
        request_(request),
        space_short_(space_short) {}

  Result<std::optional<std::string>> Get(std::string_view key) const override;
  Result<std::vector<std::optional<std::string>>> MultiGet(
      std::span<const std::string> keys) const override;
  Status Scan(std::string_view begin, std::string_view end, size_t limit,
              const Visitor& visitor) const override;

  // Seen by later reads of this context at once, by everyone else when the group commits, and by
  // nobody when the operation answers an error. Do not call from inside a Scan's visitor.
  void Put(std::string key, std::string value);
  void Delete(std::string key);

  // For an operation of several parts that succeed or fail one by one: takes back what was changed
  // since the savepoint. Savepoints taken after it are void.
  size_t Savepoint() const;
  void RollbackTo(size_t savepoint);

  // Takes the next number of a sequence; `count` of them in a row answers the first. The first
  // number ever is 1, but for inodes 2: the root is 1.
  Result<uint64_t> Allocate(Sequence which, uint64_t count = 1);

  // kNoSpace while the store's disk is nearly full: for operations that add rows, before they do.
  Status CheckSpace(const char* operation) const;

  // The executor's wall clock, nanoseconds since 1970 UTC; never falls from one operation to the
  // next.
  int64_t now_ns() const { return now_ns_; }
  const std::optional<RequestId>& request() const { return request_; }

 private:
  const ReadView& base_;
  Overlay& overlay_;
  int64_t now_ns_;
  std::optional<RequestId> request_;
  bool space_short_;
};

}  // namespace sheaf::meta
