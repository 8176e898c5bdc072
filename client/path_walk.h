#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/sheaf.h"
#include "proto/meta.pb.h"

namespace sheaf::client {

// What a walk asks of the metadata service; a fake in tests.
class PathCalls {
 public:
  virtual ~PathCalls() = default;
  virtual Result<proto::LookupPathResponse> LookupPath(const Credentials& who,
                                                       proto::LookupPathRequest request) = 0;
  virtual Result<std::string> Readlink(const Credentials& who, InodeId link) = 0;
};

// Resolves paths as the kernel would: symbolic links are followed (at most kMaxLinks in all:
// kLoop), ".." is the parent of where the walk really is. A path without links costs one call,
// each link two more. For one path, by one thread.
class PathWalk {
 public:
  static constexpr int kMaxLinks = 40;
  static constexpr size_t kMaxPath = 4096;  // bytes still to walk, links' targets included

  PathWalk(PathCalls& calls, const Credentials& who, std::string_view path)
      : calls_(calls), who_(who), rest_(path), path_(path) {}

  // What the path names. With `open_flags`, of an open for reading, the right to open it so is
  // checked in the same step (but of a symbolic link, where it is not followed).
  Result<proto::Attr> Resolve(bool follow_last, std::optional<int> open_flags = std::nullopt);
  // The directory that holds the last component, which need not exist and is not followed.
  // kInvalid where there is none: "/", or a path that ends in "." or "..".
  Result<Client::Location> Parent();
  // After Parent found a symbolic link there: goes on along it, to the parent of its target.
  Result<Client::Location> ParentOfTarget(InodeId link);

 private:
  Status CheckLength() const;
  // The names that are left to walk; takes them off rest_.
  std::vector<std::string> TakeNames();
  // Goes on at the link's target, then `below` it.
  Status FollowLink(InodeId link, InodeId directory, const std::string& below);
  Status Error(Code code, const char* cause) const;

  PathCalls& calls_;
  const Credentials who_;
  InodeId directory_ = kRootInode;  // where rest_ begins
  std::string rest_;
  const std::string path_;
  int links_ = 0;
};

}  // namespace sheaf::client
