#include "fuse/attributes.h"

namespace sheaf::fuse {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;
// What stdio and copying tools take as the size of their buffers.
constexpr blksize_t kPreferredIoSize = 64 << 10;
constexpr uint64_t kStatBlockSize = 512;

timespec ToTimespec(int64_t nanos) {
  int64_t seconds = nanos / kNanosPerSecond;
  int64_t rest = nanos % kNanosPerSecond;
  if (rest < 0) {  // before 1970: tv_nsec is never negative
    rest += kNanosPerSecond;
    --seconds;
  }
  timespec time{};
  time.tv_sec = seconds;
  time.tv_nsec = rest;
  return time;
}

int64_t ToNanos(const timespec& time) {
  // Seconds that do not fit are held at the ends: about the years 1677 and 2262.
  constexpr int64_t kSecondsMax = INT64_MAX / kNanosPerSecond - 1;
  if (time.tv_sec > kSecondsMax) return INT64_MAX;
  if (time.tv_sec < -kSecondsMax) return INT64_MIN;
  return time.tv_sec * kNanosPerSecond + time.tv_nsec;
}

}  // namespace

struct stat ToStat(const FileAttr& attr) {
  struct stat out {};
  out.st_ino = attr.inode.value();
  out.st_mode = attr.mode;
  out.st_nlink = attr.nlink;
  out.st_uid = attr.uid;
  out.st_gid = attr.gid;
  out.st_rdev = attr.rdev;
  out.st_size = static_cast<off_t>(attr.size);
  out.st_blksize = kPreferredIoSize;
  out.st_blocks = static_cast<blkcnt_t>(
      attr.IsRegular() ? attr.size / kStatBlockSize + (attr.size % kStatBlockSize != 0) : 0);
  out.st_atim = ToTimespec(attr.atime_ns);
  out.st_mtim = ToTimespec(attr.mtime_ns);
  out.st_ctim = ToTimespec(attr.ctime_ns);
  return out;
}

AttrChange ToAttrChange(const struct stat& attr, int to_set) {
  AttrChange change;
  if (to_set & FUSE_SET_ATTR_MODE) change.mode = attr.st_mode & 07777;
  if (to_set & FUSE_SET_ATTR_UID) change.uid = attr.st_uid;
  if (to_set & FUSE_SET_ATTR_GID) change.gid = attr.st_gid;
  if (to_set & FUSE_SET_ATTR_SIZE) change.size = static_cast<uint64_t>(attr.st_size);
  // "Now" comes with the plain bit beside it; the service's clock decides, not the kernel's.
  if (to_set & FUSE_SET_ATTR_ATIME_NOW) {
    change.atime_now = true;
  } else if (to_set & FUSE_SET_ATTR_ATIME) {
    change.atime_ns = ToNanos(attr.st_atim);
  }
  if (to_set & FUSE_SET_ATTR_MTIME_NOW) {
    change.mtime_now = true;
  } else if (to_set & FUSE_SET_ATTR_MTIME) {
    change.mtime_ns = ToNanos(attr.st_mtim);
  }
  return change;
}

}  // namespace sheaf::fuse
