#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

// The ordered key-value store under the metadata service. Keys are compared as unsigned bytes.
// One implementation stores (rocksdb_kv.h); an operation's context (meta/ops/op_context.h) reads
// through its own uncommitted changes by the same interface.

namespace sheaf::meta {

// Something keys can be read from: one fixed state, as long as nothing is written through it.
class ReadView {
 public:
  // Answers whether to go on.
  using Visitor = std::function<bool(std::string_view key, std::string_view value)>;

  virtual ~ReadView() = default;

  // Nothing when the key is absent. Errors are kIo or kCorrupt of the store itself.
  virtual Result<std::optional<std::string>> Get(std::string_view key) const = 0;
  // Answers in the order of `keys`.
  virtual Result<std::vector<std::optional<std::string>>> MultiGet(
      std::span<const std::string> keys) const = 0;
  // Visits keys in [begin, end) in rising order, at most `limit` of them (0: no limit), until the
  // visitor answers false. The views it is given end with the visit.
  virtual Status Scan(std::string_view begin, std::string_view end, size_t limit,
                      const Visitor& visitor) const = 0;
};

// One change of a batch; no value deletes the key. The bytes stay the caller's.
struct KvChange {
  std::string_view key;
  std::optional<std::string_view> value;
};

// What a store holds where.
struct KvStats {
  uint64_t cache_bytes = 0;     // of what was read
  uint64_t memtable_bytes = 0;  // written and not yet in files
  uint64_t file_bytes = 0;
};

// Thread safety: all calls, from any thread. As a ReadView it answers the latest written state,
// which may change between two calls: take a Snapshot where two reads must agree.
class KvStore : public ReadView {
 public:
  // The state as of now. Must be gone before the store is.
  virtual std::unique_ptr<ReadView> Snapshot() const = 0;

  // All of the changes or none; visible to readers only when done. With `sync` they survive a
  // crash once Ok is returned, and so does every earlier batch. After an error the batch is not
  // visible, but a restart may find it applied.
  virtual Status Write(std::span<const KvChange> changes, bool sync) = 0;

  // After a Write has failed no other is done until this answers Ok: the store is as it would be
  // after a restart. Everything acknowledged is there; the failed batch is, or is not. Snapshots
  // taken before answer kUnavailable from then on. kNoSpace while there is still no room, and it
  // may be tried again; other errors last until the process is restarted. The writer's call.
  virtual Status Recover() = 0;

  // Whether so little space is left that only what frees some should be written. Cheap. The
  // writer's call.
  virtual bool SpaceIsShort() = 0;

  // For metrics; a store without files or caches has none.
  virtual KvStats Stats() const { return {}; }
};

}  // namespace sheaf::meta
