#include <cstring>

#include "fuse/operations.h"

// Requests about extended attributes.

namespace sheaf::fuse {
namespace {

constexpr std::string_view kSystemPrefix = "system.";
constexpr std::string_view kCapabilityName = "security.capability";

// Sends a value, or its size where the caller asked for that only.
Status ReplyBytes(fuse_req_t request, std::string_view value, size_t size) {
  if (size == 0) {
    fuse_reply_xattr(request, value.size());
    return Status::Ok();
  }
  if (value.size() > size) {
    return {Code::kRange, "extended attribute: buffer too small (have " + std::to_string(size) +
                              ", want " + std::to_string(value.size()) + ")"};
  }
  fuse_reply_buf(request, value.data(), value.size());
  return Status::Ok();
}

}  // namespace

Status Operations::SetXattr(fuse_req_t request, fuse_ino_t inode, const char* name,
                            const char* value, size_t size, int flags) {
  const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(value), size);
  Status status = client_->SetXattr(credentials_.Of(request), InodeId(inode), name, bytes, flags);
  // Counted before the memory of absence is cleared: a lookup under way keeps no stale answer.
  xattr_changes_.fetch_add(1);
  if (name == kCapabilityName) inodes_.SetNoCapabilities(InodeId(inode), {});
  NoteDirectoryChange();
  if (status.ok()) fuse_reply_err(request, 0);
  return status;
}

Status Operations::GetXattr(fuse_req_t request, fuse_ino_t inode, const char* name, size_t size) {
  // `ls -l` asks for the ACLs of each entry: there are none, and no call to say so.
  if (std::string_view(name).starts_with(kSystemPrefix)) {
    return {Code::kUnsupported, "extended attribute '" + std::string(name) + "': not supported"};
  }
  const bool capability = name == kCapabilityName;
  if (capability && inodes_.HasNoCapabilities(InodeId(inode), clock_->Now())) {
    return {Code::kNoData, "security.capability: known to be absent"};
  }
  const uint64_t changes = xattr_changes_.load();
  auto value = client_->GetXattr(credentials_.Of(request), InodeId(inode), name);
  if (!value.ok()) {
    if (capability && value.status().code() == Code::kNoData) {
      NoteNoCapabilities(InodeId(inode));
      if (xattr_changes_.load() != changes) inodes_.SetNoCapabilities(InodeId(inode), {});
    }
    return value.status();
  }
  return ReplyBytes(request, *value, size);
}

Status Operations::ListXattr(fuse_req_t request, fuse_ino_t inode, size_t size) {
  ASSIGN_OR_RETURN(const auto names, client_->ListXattr(credentials_.Of(request), InodeId(inode)));
  std::string list;
  for (const std::string& name : names) list.append(name).push_back('\0');
  return ReplyBytes(request, list, size);
}

Status Operations::RemoveXattr(fuse_req_t request, fuse_ino_t inode, const char* name) {
  Status status = client_->RemoveXattr(credentials_.Of(request), InodeId(inode), name);
  NoteDirectoryChange();
  if (status.ok()) fuse_reply_err(request, 0);
  return status;
}

}  // namespace sheaf::fuse
