#include "fuse/credentials.h"

namespace sheaf::fuse {
namespace {

std::vector<uint32_t> ReadGroups(fuse_req_t request) {
  std::vector<gid_t> groups(32);
  int count = fuse_req_getgroups(request, static_cast<int>(groups.size()), groups.data());
  if (count > static_cast<int>(groups.size())) {
    groups.resize(static_cast<size_t>(count));
    count = fuse_req_getgroups(request, count, groups.data());
  }
  // A process that is gone, or one of another PID namespace, has no groups that we could see.
  if (count < 0) return {};
  groups.resize(std::min<size_t>(groups.size(), static_cast<size_t>(count)));
  return {groups.begin(), groups.end()};
}

}  // namespace

Credentials CredentialSource::Of(fuse_req_t request) {
  const fuse_ctx* context = fuse_req_ctx(request);
  Credentials who{.uid = context->uid, .gid = context->gid, .groups = {}};
  if (who.uid == 0) return who;  // root is not checked

  const Key key{context->pid, context->uid, context->gid};
  const Clock::Instant now = clock_->Now();
  {
    auto cache = cache_.Lock();
    auto found = cache->find(key);
    if (found != cache->end() && found->second.expires > now) {
      who.groups = found->second.ids;
      return who;
    }
  }
  who.groups = ReadGroups(request);
  auto cache = cache_.Lock();
  if (cache->size() >= kCacheLimit) cache->clear();
  (*cache)[key] = {who.groups, now + kCacheTime};
  return who;
}

}  // namespace sheaf::fuse
