#include "meta/ops/ops.h"

#include "meta/ops/rows.h"
#include "meta/ops/xattr.h"
#include "meta/schema/keys.h"

namespace sheaf::meta {

Result<proto::ListXattrResponse> ListXattr(const ReadView& view,
                                           const proto::ListXattrRequest& request) {
  ASSIGN_OR_RETURN(const Inode inode, LoadInode(view, InodeId(request.inode())));
  proto::ListXattrResponse answer;
  const KeyRange range = IdRange(Table::kXattr, inode.id.value());
  RETURN_IF_ERROR(view.Scan(range.begin, range.end, 0, [&](std::string_view key, std::string_view) {
    const std::string_view name = key.substr(range.begin.size());
    if (IsXattrListed(request.ctx().caller(), name)) answer.add_names(name.data(), name.size());
    return true;
  }));
  return answer;
}

}  // namespace sheaf::meta
