#include "meta/ops/ops.h"

#include "meta/ops/rows.h"

namespace sheaf::meta {
namespace {

// Inode numbers have 64 bits; this is what statfs can show without overflowing anyone's arithmetic.
constexpr uint64_t kMaxFiles = uint64_t{1} << 48;

}  // namespace

Result<proto::StatFsResponse> StatFs(const ReadView& view, const proto::StatFsRequest& /*request*/,
                                     const SpaceTotals& space) {
  ASSIGN_OR_RETURN(const Usage usage, LoadUsage(view));
  proto::StatFsResponse answer;
  answer.set_total_bytes(space.total_bytes);
  answer.set_free_bytes(space.free_bytes);
  answer.set_files(usage.inodes);
  answer.set_max_files(kMaxFiles);
  return answer;
}

}  // namespace sheaf::meta
