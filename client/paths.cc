#include <fcntl.h>

#include "client/client_impl.h"
#include "client/path_walk.h"

// The calls by path: a walk to an inode, then the call by inode.

namespace sheaf::client {

Result<FileAttr> ClientImpl::StatPath(std::string_view path, bool follow) {
  return PathWalk(*this, Credentials::OfProcess(), path).Resolve(follow);
}

Result<Client::Location> ClientImpl::Locate(std::string_view path) {
  return PathWalk(*this, Credentials::OfProcess(), path).Parent();
}

namespace {

// open(2) with O_CREAT: a dangling link creates its target, O_EXCL and O_NOFOLLOW follow none.
Result<std::shared_ptr<File>> OpenOrCreate(Client& client, const Credentials& who,
                                           std::string_view path, int flags, uint32_t mode) {
  PathWalk walk(client, who, path);
  ASSIGN_OR_RETURN(Client::Location at, walk.Parent());
  while ((flags & O_EXCL) == 0) {
    const auto found = client.Lookup(who, at.parent, at.name);
    if (!found.ok() && found.status().code() == Code::kNotFound) break;
    if (!found.ok()) return found.status();
    if (!S_ISLNK(found->mode)) return client.Open(who, found->inode, flags & ~O_CREAT);
    if ((flags & O_NOFOLLOW) != 0) {
      return Status(Code::kLoop, "open " + std::string(path) + ": is a symbolic link");
    }
    ASSIGN_OR_RETURN(at, walk.ParentOfTarget(found->inode));
  }
  ASSIGN_OR_RETURN(Client::Created created,
                   client.Create(who, at.parent, at.name, mode, flags));
  return std::move(created.file);
}

}  // namespace

Result<std::shared_ptr<File>> ClientImpl::OpenPath(std::string_view path, int flags,
                                                   uint32_t mode) {
  const Credentials who = Credentials::OfProcess();
  if ((flags & O_CREAT) != 0) return OpenOrCreate(*this, who, path, flags, mode);
  const bool follow = (flags & O_NOFOLLOW) == 0;
  ASSIGN_OR_RETURN(const FileAttr found, PathWalk(*this, who, path).Resolve(follow));
  return Open(who, found.inode, flags);
}

Result<FileAttr> ClientImpl::MkdirPath(std::string_view path, uint32_t mode) {
  ASSIGN_OR_RETURN(const Location at, Locate(path));
  return Mkdir(Credentials::OfProcess(), at.parent, at.name, mode);
}

Status ClientImpl::UnlinkPath(std::string_view path) {
  ASSIGN_OR_RETURN(const Location at, Locate(path));
  return Unlink(Credentials::OfProcess(), at.parent, at.name);
}

Status ClientImpl::RmdirPath(std::string_view path) {
  ASSIGN_OR_RETURN(const Location at, Locate(path));
  return Rmdir(Credentials::OfProcess(), at.parent, at.name);
}

Status ClientImpl::RenamePath(std::string_view from, std::string_view to) {
  ASSIGN_OR_RETURN(const Location source, Locate(from));
  ASSIGN_OR_RETURN(const Location target, Locate(to));
  return Rename(Credentials::OfProcess(), source.parent, source.name, target.parent, target.name,
                0);
}

}  // namespace sheaf::client
