#pragma once

#include <cstdint>
#include <string>

#include "common/status.h"
#include "meta/schema/values.h"
#include "proto/common.pb.h"

// Extended attributes' rules, as Linux has them without a security module: "user." on regular files
// and directories by the permission bits; "trusted." by the superuser alone, and invisible to
// others; "security." readable by all, written by the superuser; other namespaces (ACLs included)
// kUnsupported.

namespace sheaf::meta {

Status CheckXattrName(const std::string& name);
Status CheckXattrRead(const proto::Caller& caller, const Inode& inode, const std::string& name);
Status CheckXattrWrite(const proto::Caller& caller, const Inode& inode, const std::string& name);
bool IsXattrListed(const proto::Caller& caller, std::string_view name);
Status NoSuchXattr(const Inode& inode, const std::string& name);

}  // namespace sheaf::meta
