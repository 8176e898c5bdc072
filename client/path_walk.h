#pragma once

#include <string>
#include <string_view>

#include "client/sheaf.h"

namespace sheaf::client {

// Resolves paths by one Lookup a component, as the kernel would: symbolic links are followed (at
// most kMaxLinks in all: kLoop), ".." is the parent of where the walk really is. For one path, by
// one thread.
class PathWalk {
 public:
  static constexpr int kMaxLinks = 40;
  static constexpr size_t kMaxPath = 4096;  // bytes still to walk, links' targets included

  PathWalk(Client& client, const Credentials& who, std::string_view path)
      : client_(client), who_(who), rest_(path), path_(path) {}

  // What the path names.
  Result<FileAttr> Resolve(bool follow_last);
  // The directory that holds the last component, which need not exist and is not followed.
  // kInvalid where there is none: "/", or a path that ends in "." or "..".
  Result<Client::Location> Parent();
  // After Parent found a symbolic link there: goes on along it, to the parent of its target.
  Result<Client::Location> ParentOfTarget(InodeId link);

 private:
  // Takes the next component off rest_; empty at the end.
  std::string NextComponent();
  // Whether components follow, or a slash that asks for a directory.
  bool AtLast() const;
  // Puts the link's target before what is left.
  Status FollowLink(InodeId link);
  Status Error(Code code, const char* cause) const;

  Client& client_;
  const Credentials who_;
  InodeId directory_ = kRootInode;
  std::string rest_;
  const std::string path_;
  int links_ = 0;
};

}  // namespace sheaf::client
