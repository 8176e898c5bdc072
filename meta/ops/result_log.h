#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "common/ids.h"
#include "common/status.h"
#include "meta/ops/op_context.h"
#include "meta/schema/values.h"

namespace sheaf::meta {

// The stored answers of mutations: recognises a retry, refuses what was answered long ago.
//
// The rows are the truth; what is kept in memory is which rows a session has. Invariant: of a
// session's rows one carries its lowest outstanding sequence. (A request is never below the lowest
// it carries, so the row with the largest can be pruned only by a request that carries a larger
// one.)
//
// Not thread-safe: the executor's thread.
class ResultLog {
 public:
  // The stored answer of a retry; nothing when `id` is new and may be executed. kNoSession,
  // kInvalid and kBusy as in executor.h.
  Result<std::optional<Result<std::string>>> Find(const OpContext& ctx, const RequestId& id);

  // Stores a final answer and drops what `id` says will not be asked again.
  // REQUIRES: Find(id) answered nothing, in the same operation.
  void Store(OpContext& ctx, const RequestId& id, const Result<std::string>& answer);

  // What is in memory no longer is what is stored.
  void Forget() { sessions_.clear(); }

 private:
  // Sessions kept in memory; beyond it all are read again.
  static constexpr size_t kMaxSessions = 4096;
  // Rows dropped by one request, so that an operation stays short.
  static constexpr size_t kMaxDropped = 256;

  struct SessionRows {
    uint64_t lowest_outstanding = 0;
    std::set<uint64_t> sequences;
  };

  static Status CheckSession(const OpContext& ctx, Incarnation session);
  Result<SessionRows*> Load(const OpContext& ctx, Incarnation session);

  std::unordered_map<Incarnation, SessionRows> sessions_;
};

}  // namespace sheaf::meta
