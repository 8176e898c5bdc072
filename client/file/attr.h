#pragma once

#include "client/sheaf.h"
#include "common/layout.h"
#include "proto/meta.pb.h"

namespace sheaf::client {

FileAttr AttrFromProto(const proto::Attr& attr);
Layout LayoutFromProto(const proto::Layout& layout);
// What is to change but the size.
void FillIn(const AttrChange& change, proto::SetAttrRequest& request);

}  // namespace sheaf::client
