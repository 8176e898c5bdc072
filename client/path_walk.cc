#include "client/path_walk.h"

#include "common/status.h"

namespace sheaf::client {

std::string PathWalk::NextComponent() {
  const size_t begin = rest_.find_first_not_of('/');
  if (begin == rest_.npos) {
    rest_.clear();
    return {};
  }
  const size_t end = std::min(rest_.find('/', begin), rest_.size());
  std::string component = rest_.substr(begin, end - begin);
  rest_.erase(0, end);
  return component;
}

bool PathWalk::AtLast() const { return rest_.find_first_not_of('/') == rest_.npos; }

Status PathWalk::Error(Code code, const char* cause) const {
  return {code, "path " + path_ + ": " + cause};
}

Status PathWalk::FollowLink(InodeId link) {
  if (++links_ > kMaxLinks) return Error(Code::kLoop, "too many symbolic links");
  ASSIGN_OR_RETURN(const std::string target, client_.Readlink(who_, link));
  if (target.empty()) return Error(Code::kNotFound, "an empty symbolic link");
  if (target.front() == '/') directory_ = kRootInode;
  if (target.size() + rest_.size() > kMaxPath) return Error(Code::kNameTooLong, "too long");
  rest_.insert(0, target);
  return Status::Ok();
}

Result<FileAttr> PathWalk::Resolve(bool follow_last) {
  if (path_.empty()) return Error(Code::kNotFound, "empty");
  if (path_.size() > kMaxPath) return Error(Code::kNameTooLong, "too long");
  ASSIGN_OR_RETURN(FileAttr found, client_.GetAttr(who_, directory_));
  for (;;) {
    const bool must_be_directory = !rest_.empty();
    const std::string name = NextComponent();
    if (must_be_directory && !S_ISDIR(found.mode)) {
      return Error(Code::kNotDirectory, "a component is not a directory");
    }
    if (name.empty()) return found;
    if (name == ".") continue;
    directory_ = found.inode;
    ASSIGN_OR_RETURN(FileAttr next, client_.Lookup(who_, directory_, name));
    if (S_ISLNK(next.mode) && (follow_last || !rest_.empty())) {
      RETURN_IF_ERROR(FollowLink(next.inode));
      ASSIGN_OR_RETURN(next, client_.GetAttr(who_, directory_));
    }
    found = std::move(next);
  }
}

Result<Client::Location> PathWalk::Parent() {
  if (path_.empty()) return Error(Code::kNotFound, "empty");
  if (path_.size() > kMaxPath) return Error(Code::kNameTooLong, "too long");
  for (;;) {
    const std::string name = NextComponent();
    if (AtLast()) {
      if (name.empty() || name == "." || name == "..") {
        return Error(Code::kInvalid, "has no last name");
      }
      return Client::Location{.parent = directory_, .name = name};
    }
    if (name == ".") continue;
    ASSIGN_OR_RETURN(const FileAttr next, client_.Lookup(who_, directory_, name));
    if (S_ISLNK(next.mode)) {
      RETURN_IF_ERROR(FollowLink(next.inode));
    } else if (S_ISDIR(next.mode)) {
      directory_ = next.inode;
    } else {
      return Error(Code::kNotDirectory, "a component is not a directory");
    }
  }
}

Result<Client::Location> PathWalk::ParentOfTarget(InodeId link) {
  RETURN_IF_ERROR(FollowLink(link));
  return Parent();
}

}  // namespace sheaf::client
