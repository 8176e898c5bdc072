#pragma once

#include <cstddef>
#include <string>
#include <unordered_set>
#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "meta/kv/kv_store.h"
#include "proto/admin.pb.h"

// What chunks there may be: the data_ids of files, of the removal queue, of truncate intents and of
// records. A data_id is allocated in the batch that stores its first row and never again, and its
// last row goes when its chunks are gone; so one that is below the allocator's next number and in
// none of these rows is dead for ever.

namespace sheaf::meta {

inline constexpr size_t kDataPage = 4096;  // rows that one page looks at

// The next page; `cursor` is empty at first and after the last.
Result<proto::ListDataResponse> ListData(const ReadView& view, const std::string& cursor,
                                         uint64_t min_data_id, uint64_t max_data_id);

// data_ids that no row of one state names; those at or above `next` were not given out then.
struct DeadData {
  std::vector<DataId> ids;
  uint64_t next = 0;
};
// Of `ids`. Reads every row that could name one: not for a thread that serves.
Result<DeadData> FindDead(const ReadView& view, std::unordered_set<uint64_t> ids);

Result<proto::GetDataResponse> GetData(const ReadView& view, InodeId inode);

}  // namespace sheaf::meta
