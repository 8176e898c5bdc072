#include <algorithm>
#include <vector>

#include "fuse/attributes.h"
#include "fuse/operations.h"

// Requests about open directories. A handle keeps one page of entries, however long the directory.

namespace sheaf::fuse {
namespace {

constexpr uint32_t kPageEntries = 1024;  // asked for at a time: several replies' worth
constexpr size_t kReplySizeMax = 1 << 20;

bool IsDots(const std::string& name) { return name == "." || name == ".."; }

}  // namespace

Status Operations::OpenDirectory(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) {
  auto handle = std::make_shared<DirectoryHandle>();
  handle->inode = InodeId(inode);
  info->fh = directories_.Add(std::move(handle));
  if (fuse_reply_open(request, info) == -ENOENT) directories_.Remove(info->fh);
  return Status::Ok();
}

Result<size_t> Operations::LoadPage(const Credentials& who, DirectoryHandle& handle,
                                    uint64_t cookie, bool plus) {
  // Invariant 2 of the class: a page with attributes is only as good as nothing has changed since.
  const uint64_t mutations = mutations_.load(std::memory_order_acquire);
  const bool usable = handle.page_valid && cookie != 0 && handle.page_has_attributes == plus &&
                      (!plus || handle.page_mutations == mutations);
  if (usable) {
    if (handle.page_cookie == cookie && !handle.page.entries.empty()) return size_t{0};
    const auto& entries = handle.page.entries;
    auto last = std::find_if(entries.begin(), entries.end(), [cookie](const DirectoryEntry& entry) {
      return entry.cookie == cookie;
    });
    if (last != entries.end()) {
      const size_t next = static_cast<size_t>(last - entries.begin()) + 1;
      if (next < entries.size() || handle.page.end) return next;
    }
  }
  handle.page_valid = false;
  handle.page_writer_mark = inodes_.WriterMark();
  ASSIGN_OR_RETURN(handle.page,
                   client_->ReadDirectory(who, handle.inode, cookie, kPageEntries, plus));
  handle.page_cookie = cookie;
  handle.page_mutations = mutations;
  handle.page_has_attributes = plus;
  handle.page_valid = true;
  return size_t{0};
}

size_t Operations::AddPlain(fuse_req_t request, std::span<char> into, const DirectoryEntry& entry) {
  struct stat attr {};
  attr.st_ino = entry.inode.value();
  attr.st_mode = entry.type;
  return fuse_add_direntry(request, into.data(), into.size(), entry.name.c_str(), &attr,
                           static_cast<off_t>(entry.cookie));
}

size_t Operations::AddPlus(fuse_req_t request, std::span<char> into, const DirectoryEntry& entry,
                           uint64_t page_mark, std::vector<InodeId>* granted) {
  // Without an inode number the kernel takes only the name and asks when it needs more: for the
  // dots, and for a file whose length is known best by its writers here, or was when the page was
  // asked for.
  const bool grant = entry.attr.has_value() && !IsDots(entry.name) &&
                     !inodes_.HasWriters(entry.inode) &&
                     !inodes_.WriterToldSince(entry.inode, page_mark);
  fuse_entry_param param{};
  if (grant) {
    param = EntryOf(*entry.attr);
    directory_attrs_.Seen(*entry.attr);
  } else {
    param.attr.st_ino = entry.inode.value();
    param.attr.st_mode = entry.type;
  }
  const size_t size = fuse_add_direntry_plus(request, into.data(), into.size(), entry.name.c_str(),
                                             &param, static_cast<off_t>(entry.cookie));
  if (grant && size <= into.size()) {
    inodes_.AddLookup(entry.inode);
    inodes_.SetSentVersion(entry.inode, entry.attr->version);
    granted->push_back(entry.inode);
  }
  return size;
}

Status Operations::ReplyDirectory(fuse_req_t request, size_t size, off_t offset,
                                  fuse_file_info* info, bool plus) {
  auto handle = directories_.Find(info->fh);
  if (handle == nullptr) {
    return {Code::kBadHandle, "directory handle " + std::to_string(info->fh) + ": not open"};
  }
  const Credentials who = credentials_.Of(request);
  std::lock_guard lock(handle->mutex);
  ASSIGN_OR_RETURN(size_t next, LoadPage(who, *handle, static_cast<uint64_t>(offset), plus));

  std::vector<char> reply(std::min(size, kReplySizeMax));
  std::vector<InodeId> granted;
  size_t used = 0;
  for (; next < handle->page.entries.size(); ++next) {
    const std::span<char> rest = std::span(reply).subspan(used);
    const DirectoryEntry& entry = handle->page.entries[next];
    const size_t need = plus ? AddPlus(request, rest, entry, handle->page_writer_mark, &granted)
                             : AddPlain(request, rest, entry);
    if (need > rest.size()) break;
    used += need;
  }
  if (fuse_reply_buf(request, reply.data(), used) == -ENOENT) {
    for (const InodeId inode : granted) inodes_.Forget(inode, 1);
  }
  return Status::Ok();
}

Status Operations::ReadDirectory(fuse_req_t request, fuse_ino_t, size_t size, off_t offset,
                                 fuse_file_info* info) {
  return ReplyDirectory(request, size, offset, info, false);
}

Status Operations::ReadDirectoryPlus(fuse_req_t request, fuse_ino_t, size_t size, off_t offset,
                                     fuse_file_info* info) {
  return ReplyDirectory(request, size, offset, info, true);
}

Status Operations::ReleaseDirectory(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  directories_.Remove(info->fh);
  fuse_reply_err(request, 0);
  return Status::Ok();
}

Status Operations::FsyncDirectory(fuse_req_t request, fuse_ino_t, int, fuse_file_info*) {
  // Every change of a directory is durable before its call returns.
  fuse_reply_err(request, 0);
  return Status::Ok();
}

}  // namespace sheaf::fuse
