#include "meta/ops/xattr.h"

#include "meta/ops/access.h"

namespace sheaf::meta {
namespace {

enum class Namespace { kUser, kTrusted, kSecurity };

Result<Namespace> NamespaceOf(const std::string& name) {
  const auto is = [&](std::string_view prefix) { return name.starts_with(prefix); };
  const size_t dot = name.find('.');
  const bool known = is("user.") || is("trusted.") || is("security.");
  if (!known) return Status(Code::kUnsupported, "xattr " + name + ": no such namespace");
  if (dot + 1 == name.size()) return Status(Code::kInvalid, "xattr " + name + ": no name");
  return is("user.")      ? Namespace::kUser
         : is("trusted.") ? Namespace::kTrusted
                          : Namespace::kSecurity;
}

// Users' attributes are bound by the file's permission bits, which symbolic links and devices have
// for another purpose or not at all.
bool MayHaveUserXattrs(const Inode& inode) { return inode.IsRegular() || inode.IsDirectory(); }

}  // namespace

Status CheckXattrName(const std::string& name) {
  if (name.empty() || name.size() > kMaxNameBytes) {
    return {Code::kRange, "xattr: a name of " + std::to_string(name.size()) + " bytes (1 to " +
                              std::to_string(kMaxNameBytes) + ")"};
  }
  if (name.find('\0') != std::string::npos) return {Code::kInvalid, "xattr: the name contains NUL"};
  return NamespaceOf(name).status();
}

Status NoSuchXattr(const Inode& inode, const std::string& name) {
  return {Code::kNoData, "xattr " + name + " of inode " + ToString(inode.id) + ": not set"};
}

Status CheckXattrRead(const proto::Caller& caller, const Inode& inode, const std::string& name) {
  ASSIGN_OR_RETURN(const Namespace space, NamespaceOf(name));
  switch (space) {
    case Namespace::kTrusted:
      return IsSuperuser(caller) ? Status::Ok() : NoSuchXattr(inode, name);
    case Namespace::kSecurity:
      return Status::Ok();
    case Namespace::kUser:
      break;
  }
  if (!MayHaveUserXattrs(inode)) return NoSuchXattr(inode, name);
  return CheckAccess(caller, inode, kMayRead);
}

Status CheckXattrWrite(const proto::Caller& caller, const Inode& inode, const std::string& name) {
  ASSIGN_OR_RETURN(const Namespace space, NamespaceOf(name));
  const std::string what = "set xattr " + name + " of inode " + ToString(inode.id) + ": ";
  if (space != Namespace::kUser) {
    if (IsSuperuser(caller)) return Status::Ok();
    return {Code::kNotPermitted, what + "only the superuser may"};
  }
  if (!MayHaveUserXattrs(inode)) {
    return {Code::kNotPermitted, what + "neither a regular file nor a directory"};
  }
  if (inode.IsDirectory() && (inode.mode & S_ISVTX) != 0 && !IsOwner(caller, inode)) {
    return {Code::kNotPermitted, what + "a sticky directory of another owner"};
  }
  return CheckAccess(caller, inode, kMayWrite);
}

bool IsXattrListed(const proto::Caller& caller, std::string_view name) {
  return IsSuperuser(caller) || !name.starts_with("trusted.");
}

}  // namespace sheaf::meta
