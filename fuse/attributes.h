#pragma once

#include <sys/stat.h>

#include "client/sheaf.h"
#include "fuse/libfuse.h"

namespace sheaf::fuse {

// What stat(2) shows of an inode. Blocks are the length in units of 512 bytes: holes count as
// stored.
struct stat ToStat(const FileAttr& attr);

// What the kernel asks a setattr to change. `to_set` has FUSE_SET_ATTR_* bits.
AttrChange ToAttrChange(const struct stat& attr, int to_set);

}  // namespace sheaf::fuse
