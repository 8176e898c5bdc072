#pragma once

#include "common/status.h"
#include "proto/data.pb.h"

namespace sheaf::storage {

// Bounds of data requests as they come off the wire; each error names field and value. Pure.
// kInvalid for what no layout allows, kTooBig for a payload over `max_payload`.

inline constexpr uint32_t kMaxRemovals = 1024;  // a call
inline constexpr uint32_t kMaxListed = 4096;    // a page
inline constexpr uint32_t kDefaultListed = 1024;

Status CheckRead(const proto::ReadChunkRequest& request, uint32_t max_payload);
Status CheckWrite(const proto::WriteChunkRequest& request, size_t payload_bytes,
                  uint32_t max_payload);
Status CheckTruncate(const proto::TruncateChunkRequest& request);
Status CheckRemove(const proto::RemoveChunksRequest& request);
Status CheckList(const proto::ListChunksRequest& request);

}  // namespace sheaf::storage
