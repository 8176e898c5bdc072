#include "fuse/inode_table.h"

#include <algorithm>

namespace sheaf::fuse {

void InodeTable::AddLookup(InodeId inode) { ++(*ShardOf(inode).Lock())[inode].lookups; }

void InodeTable::Forget(InodeId inode, uint64_t count) {
  auto shard = ShardOf(inode).Lock();
  auto found = shard->find(inode);
  if (found == shard->end()) return;
  found->second.lookups -= std::min(found->second.lookups, count);
  EraseIfUnused(*shard, found);
}

uint64_t InodeTable::LookupCount(InodeId inode) const {
  auto shard = ShardOf(inode).Lock();
  auto found = shard->find(inode);
  return found == shard->end() ? 0 : found->second.lookups;
}

bool InodeTable::KeepsCache(InodeId inode, const ContentVersion& now) {
  auto shard = ShardOf(inode).Lock();
  auto found = shard->find(inode);
  if (found == shard->end()) return false;
  const bool same = found->second.content == now;
  found->second.content = now;
  return same;
}

void InodeTable::SetSentVersion(InodeId inode, uint64_t version) {
  auto shard = ShardOf(inode).Lock();
  auto found = shard->find(inode);
  if (found != shard->end()) found->second.sent_version = version;
}

bool InodeTable::HasSent(InodeId inode, uint64_t version) const {
  auto shard = ShardOf(inode).Lock();
  auto found = shard->find(inode);
  return found != shard->end() && found->second.sent_version == version;
}

void InodeTable::AddWriter(InodeId inode, std::weak_ptr<FileHandle> handle) {
  (*ShardOf(inode).Lock())[inode].writers.push_back(std::move(handle));
}

void InodeTable::RemoveWriter(InodeId inode, const FileHandle* handle) {
  auto shard = ShardOf(inode).Lock();
  auto found = shard->find(inode);
  if (found == shard->end()) return;
  std::erase_if(found->second.writers, [handle](const std::weak_ptr<FileHandle>& writer) {
    const auto open = writer.lock();
    return open == nullptr || open.get() == handle;
  });
  found->second.last_told = writers_told_.fetch_add(1, std::memory_order_acq_rel) + 1;
  EraseIfUnused(*shard, found);
}

bool InodeTable::HasWriters(InodeId inode) const {
  auto shard = ShardOf(inode).Lock();
  auto found = shard->find(inode);
  return found != shard->end() && !found->second.writers.empty();
}

void InodeTable::NoteWriterTold(InodeId inode) {
  auto shard = ShardOf(inode).Lock();
  auto found = shard->find(inode);
  if (found == shard->end()) return;
  found->second.last_told = writers_told_.fetch_add(1, std::memory_order_acq_rel) + 1;
}

bool InodeTable::WriterToldSince(InodeId inode, uint64_t mark) const {
  auto shard = ShardOf(inode).Lock();
  auto found = shard->find(inode);
  // Of what is forgotten nobody knows which it was.
  if (found == shard->end()) return forgotten_told_.load(std::memory_order_acquire) > mark;
  return found->second.last_told > mark;
}

void InodeTable::EraseIfUnused(Entries& shard, Entries::iterator found) {
  if (!found->second.IsUnused()) return;
  const uint64_t told = found->second.last_told;
  uint64_t latest = forgotten_told_.load(std::memory_order_relaxed);
  while (latest < told && !forgotten_told_.compare_exchange_weak(latest, told)) {
  }
  shard.erase(found);
}

void InodeTable::SetNoCapabilities(InodeId inode, Clock::Instant until) {
  auto shard = ShardOf(inode).Lock();
  auto found = shard->find(inode);
  if (found != shard->end()) found->second.no_capabilities_until = until;
}

bool InodeTable::HasNoCapabilities(InodeId inode, Clock::Instant now) const {
  auto shard = ShardOf(inode).Lock();
  auto found = shard->find(inode);
  return found != shard->end() && found->second.no_capabilities_until > now;
}

size_t InodeTable::size() const {
  size_t total = 0;
  for (const auto& shard : shards_) total += shard.Lock()->size();
  return total;
}

}  // namespace sheaf::fuse
