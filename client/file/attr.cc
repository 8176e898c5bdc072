#include "client/file/attr.h"

namespace sheaf::client {

FileAttr AttrFromProto(const proto::Attr& attr) {
  FileAttr out;
  out.inode = InodeId(attr.inode());
  out.mode = attr.mode();
  out.nlink = attr.nlink();
  out.uid = attr.uid();
  out.gid = attr.gid();
  out.rdev = attr.rdev();
  out.size = attr.size();
  out.atime_ns = attr.atime_ns();
  out.mtime_ns = attr.mtime_ns();
  out.ctime_ns = attr.ctime_ns();
  out.btime_ns = attr.btime_ns();
  out.version = attr.version();
  out.data_id = DataId(attr.data_id());
  if (out.IsRegular() && attr.layout().chunk_size_log2() <= kMaxChunkSizeLog2) {
    out.chunk_size = uint32_t{1} << attr.layout().chunk_size_log2();
  }
  return out;
}

Layout LayoutFromProto(const proto::Layout& layout) {
  return {.chunk_size_log2 = layout.chunk_size_log2(),
          .stripe_width = layout.stripe_width(),
          .table_version = layout.table_version(),
          .seed = layout.seed()};
}

}  // namespace sheaf::client
