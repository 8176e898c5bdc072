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

void FillIn(const AttrChange& change, proto::SetAttrRequest& request) {
  if (change.mode) request.set_mode(*change.mode);
  if (change.uid) request.set_uid(*change.uid);
  if (change.gid) request.set_gid(*change.gid);
  if (change.atime_ns) request.set_atime_ns(*change.atime_ns);
  if (change.mtime_ns) request.set_mtime_ns(*change.mtime_ns);
  request.set_atime_now(change.atime_now);
  request.set_mtime_now(change.mtime_now);
}

}  // namespace sheaf::client
