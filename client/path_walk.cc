#include "client/path_walk.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "common/status.h"

namespace sheaf::client {
namespace {

std::string Join(const std::vector<std::string>& names, size_t from) {
  std::string path;
  for (size_t i = from; i < names.size(); ++i) path += "/" + names[i];
  return path;
}

}  // namespace

std::vector<std::string> PathWalk::TakeNames() {
  std::vector<std::string> names;
  for (size_t begin = 0; (begin = rest_.find_first_not_of('/', begin)) != rest_.npos;) {
    const size_t end = std::min(rest_.find('/', begin), rest_.size());
    names.push_back(rest_.substr(begin, end - begin));
    begin = end;
  }
  rest_.clear();
  return names;
}

Status PathWalk::Error(Code code, const char* cause) const {
  return {code, "path " + path_ + ": " + cause};
}

Status PathWalk::CheckLength() const {
  if (path_.empty()) return Error(Code::kNotFound, "empty");
  if (path_.size() > kMaxPath) return Error(Code::kNameTooLong, "too long");
  return Status::Ok();
}

Status PathWalk::FollowLink(InodeId link, InodeId directory, const std::string& below) {
  if (++links_ > kMaxLinks) return Error(Code::kLoop, "too many symbolic links");
  ASSIGN_OR_RETURN(std::string target, calls_.Readlink(who_, link));
  if (target.empty()) return Error(Code::kNotFound, "an empty symbolic link");
  directory_ = target.front() == '/' ? kRootInode : directory;
  if (target.size() + below.size() > kMaxPath) return Error(Code::kNameTooLong, "too long");
  rest_ = std::move(target) + below;
  return Status::Ok();
}

Result<proto::Attr> PathWalk::Resolve(bool follow_last, std::optional<int> open_flags) {
  RETURN_IF_ERROR(CheckLength());
  for (;;) {
    const bool must_be_directory = rest_.ends_with('/');
    const std::vector<std::string> names = TakeNames();
    proto::LookupPathRequest request;
    request.set_start(directory_.value());
    for (const std::string& name : names) request.add_names(name);
    if (open_flags) request.set_open_flags(static_cast<uint32_t>(*open_flags));
    ASSIGN_OR_RETURN(proto::LookupPathResponse found, calls_.LookupPath(who_, std::move(request)));
    const bool is_link = S_ISLNK(found.attr().mode());
    const size_t resolved = found.resolved();
    if (resolved > names.size() || (resolved < names.size() && !is_link)) {
      return Error(Code::kProtocol, "the answer stops where there is no link");
    }
    if (is_link && (resolved < names.size() || follow_last || must_be_directory)) {
      const std::string below = Join(names, resolved) + (must_be_directory ? "/" : "");
      RETURN_IF_ERROR(FollowLink(InodeId(found.attr().inode()), InodeId(found.parent()), below));
      continue;
    }
    if (must_be_directory && !S_ISDIR(found.attr().mode())) {
      return Error(Code::kNotDirectory, "a component is not a directory");
    }
    return std::move(*found.mutable_attr());
  }
}

Result<Client::Location> PathWalk::Parent() {
  RETURN_IF_ERROR(CheckLength());
  std::vector<std::string> names = TakeNames();
  if (names.empty() || names.back() == "." || names.back() == "..") {
    return Error(Code::kInvalid, "has no last name");
  }
  Client::Location at{.parent = directory_, .name = std::move(names.back())};
  names.pop_back();
  if (names.empty()) return at;
  rest_ = Join(names, 0) + "/";
  ASSIGN_OR_RETURN(const proto::Attr directory, Resolve(true));
  at.parent = directory_ = InodeId(directory.inode());
  return at;
}

Result<Client::Location> PathWalk::ParentOfTarget(InodeId link) {
  RETURN_IF_ERROR(FollowLink(link, directory_, ""));
  return Parent();
}

}  // namespace sheaf::client
