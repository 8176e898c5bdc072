#pragma once

#include <cstdint>

#include "common/status.h"
#include "meta/schema/values.h"
#include "proto/common.pb.h"

// Who may do what, as the Linux kernel decides it for a local file system without ACLs. The
// superuser (uid 0) has every capability; nobody else has any.

namespace sheaf::meta {

inline constexpr uint32_t kMayExecute = 1;
inline constexpr uint32_t kMayWrite = 2;
inline constexpr uint32_t kMayRead = 4;

bool IsSuperuser(const proto::Caller& caller);
bool IsOwner(const proto::Caller& caller, const Inode& inode);  // or the superuser
// By the effective or a supplementary group; the superuser's uid does not count.
bool InGroup(const proto::Caller& caller, uint32_t gid);

// kAccess unless the permission bits of the one class the caller falls in allow all of `mask`. The
// superuser may all, but execute a file only if someone may.
Status CheckAccess(const proto::Caller& caller, const Inode& inode, uint32_t mask);
// What entering and changing a directory's entries takes. kNotFound for a directory that was
// removed.
Status CheckMayChangeEntries(const proto::Caller& caller, const Inode& directory);
// And, for taking `victim` out of it: in a sticky directory only the owner of either may.
Status CheckMayRemove(const proto::Caller& caller, const Inode& directory, const Inode& victim);

// The access mask that open(2) flags ask for. kInvalid for an access mode that is none.
Result<uint32_t> OpenMask(uint32_t flags);

// Writing, truncating and changing owners take away set-user-id, and set-group-id where the group
// may execute. (Without, it meant mandatory locking.)
void DropPrivilegeBits(Inode& inode);

}  // namespace sheaf::meta
