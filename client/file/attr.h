#pragma once

#include "client/sheaf.h"
#include "common/layout.h"
#include "proto/meta.pb.h"

namespace sheaf::client {

FileAttr AttrFromProto(const proto::Attr& attr);
Layout LayoutFromProto(const proto::Layout& layout);

}  // namespace sheaf::client
