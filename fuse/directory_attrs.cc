#include "fuse/directory_attrs.h"

namespace sheaf::fuse {

void DirectoryAttrs::Tell(const FileAttr& attr, const Before& before) {
  auto known = known_.Lock();
  if (forgotten_.load(std::memory_order_relaxed) != before.forgotten) return;
  if (known->size() >= kMaxDirectories && !known->contains(attr.inode)) known->clear();
  Entry& entry = (*known)[attr.inode];
  // Of changes beside one another the later may be answered first.
  if (entry.attr.version < attr.version) entry = {attr, before.when + trust_};
}

void DirectoryAttrs::Forget() {
  auto known = known_.Lock();
  forgotten_.fetch_add(1, std::memory_order_release);
  known->clear();
}

void DirectoryAttrs::Seen(const FileAttr& attr) {
  if (!attr.IsDirectory()) return;
  auto known = known_.Lock();
  const auto found = known->find(attr.inode);
  if (found != known->end() && found->second.attr.version < attr.version) known->erase(found);
}

std::optional<DirectoryAttrs::Known> DirectoryAttrs::Find(InodeId inode, Clock::Instant now) const {
  auto known = known_.Lock();
  const auto found = known->find(inode);
  if (found == known->end() || found->second.until <= now) return std::nullopt;
  return Known{found->second.attr, found->second.until - now};
}

}  // namespace sheaf::fuse
