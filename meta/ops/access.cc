#include "meta/ops/access.h"

#include <fcntl.h>

#include <algorithm>
#include <string>

namespace sheaf::meta {
namespace {

// execve opens with this internal flag (FMODE_EXEC), which FUSE passes on: it asks for the right to
// execute and not to read.
constexpr uint32_t kOpenForExecute = 040;

Status Denied(const proto::Caller& caller, const Inode& inode, const char* cause) {
  return {Code::kAccess, "access inode " + ToString(inode.id) + ": " + cause + " (uid " +
                             std::to_string(caller.uid()) + ")"};
}

}  // namespace

bool IsSuperuser(const proto::Caller& caller) { return caller.uid() == 0; }

bool IsOwner(const proto::Caller& caller, const Inode& inode) {
  return IsSuperuser(caller) || caller.uid() == inode.uid;
}

bool InGroup(const proto::Caller& caller, uint32_t gid) {
  return caller.gid() == gid ||
         std::find(caller.groups().begin(), caller.groups().end(), gid) != caller.groups().end();
}

Status CheckAccess(const proto::Caller& caller, const Inode& inode, uint32_t mask) {
  if (IsSuperuser(caller)) {
    const bool executable = inode.IsDirectory() || (inode.mode & 0111) != 0;
    if ((mask & kMayExecute) == 0 || executable) return Status::Ok();
    return Denied(caller, inode, "nobody may execute it");
  }
  const uint32_t shift = caller.uid() == inode.uid ? 6 : InGroup(caller, inode.gid) ? 3 : 0;
  if ((inode.mode >> shift & mask) == mask) return Status::Ok();
  return Denied(caller, inode, "permission denied");
}

Status CheckMayChangeEntries(const proto::Caller& caller, const Inode& directory) {
  if (directory.nlink == 0) {
    return {Code::kNotFound, "directory " + ToString(directory.id) + ": removed"};
  }
  return CheckAccess(caller, directory, kMayWrite | kMayExecute);
}

Status CheckMayRemove(const proto::Caller& caller, const Inode& directory, const Inode& victim) {
  RETURN_IF_ERROR(CheckMayChangeEntries(caller, directory));
  const bool sticky = (directory.mode & S_ISVTX) != 0;
  if (!sticky || IsOwner(caller, victim) || IsOwner(caller, directory)) return Status::Ok();
  return {Code::kNotPermitted,
          "remove inode " + ToString(victim.id) + ": its directory is sticky " +
              "and neither is the caller's (uid " + std::to_string(caller.uid()) + ")"};
}

Result<uint32_t> OpenMask(uint32_t flags) {
  const uint32_t truncates = (flags & O_TRUNC) != 0 ? kMayWrite : 0;
  switch (flags & O_ACCMODE) {
    case O_RDONLY:
      return ((flags & kOpenForExecute) != 0 ? kMayExecute : kMayRead) | truncates;
    case O_WRONLY:
      return kMayWrite;
    case O_RDWR:
      return kMayRead | kMayWrite;
    default:
      return Status(Code::kInvalid, "open: access mode 3 in flags " + std::to_string(flags));
  }
}

void DropPrivilegeBits(Inode& inode) {
  if (inode.IsDirectory()) return;
  inode.mode &= ~uint32_t{S_ISUID};
  if ((inode.mode & S_IXGRP) != 0) inode.mode &= ~uint32_t{S_ISGID};
}

}  // namespace sheaf::meta
