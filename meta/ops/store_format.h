#pragma once

#include "common/status.h"
#include "meta/kv/kv_store.h"
#include "meta/ops/executor.h"
#include "meta/schema/values.h"

namespace sheaf::meta {

// Makes an empty store ours (format version and root directory in one synced batch), or checks one
// that is there. Answers the last batch in it. kInvalid for a newer format or rows that are not
// ours, kFenced when a later term has written.
Result<ExecutorState> PrepareStore(KvStore& store, const ExecutorOptions& options);

}  // namespace sheaf::meta
