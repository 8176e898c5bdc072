#pragma once

#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "meta/check/data_list.h"
#include "meta/ops/op_context.h"
#include "proto/admin.pb.h"

// What mends a finding. Each runs on the executor and looks again first: what has changed since it
// was found is left alone. Where that look is too long for an operation (the links of an inode),
// the inode's version stands for it: every change of what was counted raises it.
//
// A name that leads nowhere is dropped: there is nothing left to keep. An inode without a name is
// kept: it is given one in /lost+found, "#" and its number, for a person to judge.

namespace sheaf::meta {

// True when it was mended; false when it is not so any more. kUnsupported for what is not mended
// by itself.
Result<bool> RepairFinding(OpContext& ctx, const proto::Finding& finding);

// Queues data that nothing names for removal on every chain there is; answers which. What was given
// out since the look is left alone, and what was not given out yet never will be: its number is
// passed over, so that no file comes to chunks that were there before it.
Result<std::vector<DataId>> QueueOrphans(OpContext& ctx, const DeadData& dead);

}  // namespace sheaf::meta
