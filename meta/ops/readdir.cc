#include "meta/ops/ops.h"

#include <vector>

#include "meta/ops/access.h"
#include "meta/ops/directory.h"
#include "meta/ops/rows.h"
#include "meta/schema/keys.h"

namespace sheaf::meta {
namespace {

constexpr uint32_t kDefaultEntries = 1024;
constexpr uint32_t kMaxEntries = 4096;

size_t PageSize(uint32_t wanted) {
  return wanted == 0 || wanted > kMaxEntries ? kDefaultEntries : wanted;
}

bool IsFull(const proto::ReadDirResponse& page, size_t limit) {
  return static_cast<size_t>(page.entries_size()) >= limit;
}

void AddDots(const Inode& directory, uint64_t after, size_t limit, proto::ReadDirResponse& page) {
  const auto add = [&](const char* name, InodeId inode, uint64_t cookie) {
    if (after >= cookie || IsFull(page, limit)) return;
    proto::DirEntry* entry = page.add_entries();
    entry->set_name(name);
    entry->set_inode(inode.value());
    entry->set_type(S_IFDIR);
    entry->set_cookie(cookie);
  };
  add(".", directory.id, kDotCookie);
  add("..", directory.parent, kDotDotCookie);
}

Status AddRow(std::string_view key, std::string_view value, proto::ReadDirResponse& page) {
  ASSIGN_OR_RETURN(const uint64_t cookie, KeyField(key, 1));
  ASSIGN_OR_RETURN(DirectoryEntryRow row, DecodeDirectoryEntry(value));
  proto::DirEntry* entry = page.add_entries();
  entry->set_name(std::move(row.name));
  entry->set_inode(row.inode.value());
  entry->set_type(row.type);
  entry->set_cookie(cookie);
  return Status::Ok();
}

Status AddRows(const ReadView& view, InodeId directory, uint64_t after, size_t limit,
               proto::ReadDirResponse& page) {
  const std::string begin = DirectoryKey(directory, std::max(after + 1, kFirstCookie));
  const std::string end = DirectoryKey(directory, UINT64_MAX);
  Status bad;
  page.set_end(true);
  RETURN_IF_ERROR(view.Scan(begin, end, 0, [&](std::string_view key, std::string_view value) {
    if (IsFull(page, limit)) {
      page.set_end(false);
      return false;
    }
    bad = AddRow(key, value, page);
    return bad.ok();
  }));
  return bad;
}

// One MultiGet for the page. An entry whose inode is gone meanwhile keeps none.
Status AddAttributes(const ReadView& view, proto::ReadDirResponse& page) {
  std::vector<std::string> keys;
  keys.reserve(static_cast<size_t>(page.entries_size()));
  for (const proto::DirEntry& entry : page.entries())
    keys.push_back(InodeKey(InodeId(entry.inode())));
  ASSIGN_OR_RETURN(const auto rows, view.MultiGet(keys));
  for (int i = 0; i < page.entries_size(); ++i) {
    const auto& row = rows[static_cast<size_t>(i)];
    if (!row) continue;
    proto::DirEntry* entry = page.mutable_entries(i);
    ASSIGN_OR_RETURN(const Inode inode, DecodeInode(InodeId(entry->inode()), *row));
    FillAttr(inode, entry->mutable_attr());
  }
  return Status::Ok();
}

}  // namespace

Result<proto::ReadDirResponse> ReadDir(const ReadView& view, const proto::ReadDirRequest& request) {
  RETURN_IF_ERROR(CheckCaller(request.ctx()));
  ASSIGN_OR_RETURN(const Inode directory, LoadDirectory(view, InodeId(request.inode())));
  RETURN_IF_ERROR(CheckAccess(request.ctx().caller(), directory, kMayRead));
  proto::ReadDirResponse page;
  if (request.cookie() == UINT64_MAX) {
    page.set_end(true);
    return page;
  }
  const size_t limit = PageSize(request.max_entries());
  AddDots(directory, request.cookie(), limit, page);
  RETURN_IF_ERROR(AddRows(view, directory.id, request.cookie(), limit, page));
  if (request.plus()) RETURN_IF_ERROR(AddAttributes(view, page));
  return page;
}

}  // namespace sheaf::meta
