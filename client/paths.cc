#include <fcntl.h>
#include <sys/stat.h>

#include <optional>

#include "client/client_impl.h"
#include "client/path_walk.h"

// The calls by path: a walk to an inode, then the call by inode.

namespace sheaf::client {

Result<proto::LookupPathResponse> ClientImpl::LookupPath(const Credentials& who,
                                                         proto::LookupPathRequest request) {
  return meta_->LookupPath(who, std::move(request));
}

Result<FileAttr> ClientImpl::StatPath(std::string_view path, bool follow) {
  ASSIGN_OR_RETURN(const proto::Attr found,
                   PathWalk(*this, Credentials::OfProcess(), path).Resolve(follow));
  return files_->Present(found);
}

Result<Client::Location> ClientImpl::Locate(std::string_view path) {
  return PathWalk(*this, Credentials::OfProcess(), path).Parent();
}

// open(2) with O_CREAT: a dangling link creates its target, O_EXCL and O_NOFOLLOW follow none.
// Creating opens what is there, unless that is a link.
Result<std::shared_ptr<File>> ClientImpl::OpenOrCreate(const Credentials& who,
                                                       std::string_view path, int flags,
                                                       uint32_t mode) {
  PathWalk walk(*this, who, path);
  ASSIGN_OR_RETURN(Location at, walk.Parent());
  for (;;) {
    auto created = Create(who, at.parent, at.name, mode, flags);
    if (created.ok()) return std::move(created->file);
    if (created.status().code() != Code::kLoop || (flags & (O_EXCL | O_NOFOLLOW)) != 0) {
      return created.status();
    }
    const auto found = Lookup(who, at.parent, at.name);
    // Gone, or replaced, since: as if it had come first.
    if (!found.ok() || !S_ISLNK(found->mode)) return created.status();
    ASSIGN_OR_RETURN(at, walk.ParentOfTarget(found->inode));
  }
}

// Opening for reading takes what the walk found: the right to is checked with the last name. The
// open is announced before anything is asked, as InodeTable wants it.
Result<std::shared_ptr<File>> ClientImpl::OpenPath(std::string_view path, int flags,
                                                   uint32_t mode) {
  const Credentials who = Credentials::OfProcess();
  if ((flags & O_CREAT) != 0) return OpenOrCreate(who, path, flags, mode);
  const bool follow = (flags & O_NOFOLLOW) == 0;
  const bool reads = (flags & O_ACCMODE) == O_RDONLY && (flags & O_TRUNC) == 0;
  const InodeTable::Opening opening(inodes_);
  ASSIGN_OR_RETURN(
      const proto::Attr found,
      PathWalk(*this, who, path).Resolve(follow, reads ? std::optional(flags) : std::nullopt));
  if (reads) return files_->OpenFound(who, found, flags);
  return Open(who, InodeId(found.inode()), flags);
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
