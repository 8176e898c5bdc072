#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "client/sheaf.h"
#include "common/clock.h"
#include "common/guarded.h"
#include "fuse/handle_table.h"

namespace sheaf::fuse {

// What the kernel may hold cached of an inode's bytes: if this is the same at two opens, pages read
// in between still show the file.
struct ContentVersion {
  uint64_t version = 0;
  DataId data_id;
  int64_t mtime_ns = 0;

  static ContentVersion Of(const FileAttr& attr) {
    return {attr.version, attr.data_id, attr.mtime_ns};
  }
  friend bool operator==(const ContentVersion&, const ContentVersion&) = default;
};

// The inodes that the kernel knows, with what must be remembered of each. The kernel's node id is
// the inode id itself, so that an inode forgotten here can still be served; only the memory of its
// caches is lost, and those went with the kernel's inode.
//
// Invariants:
// 1. An inode is present while its lookup count or its number of writers is above zero.
// 2. The memory is bounded by what the kernel caches, and shrinks as the kernel forgets.
//
// Thread-safe: sharded by inode.
class InodeTable {
 public:
  // Inode ids are never reused, so that one generation serves for all.
  static constexpr uint64_t kGeneration = 1;

  // Each entry sent to the kernel adds a lookup; each forget takes `count` away. More forgets than
  // lookups are answered by holding the count at zero.
  void AddLookup(InodeId inode);
  void Forget(InodeId inode, uint64_t count);
  // 0 for one that is not present.
  uint64_t LookupCount(InodeId inode) const;

  // At open: whether pages that the kernel has cached may be kept. Remembers `now` for the next.
  bool KeepsCache(InodeId inode, const ContentVersion& now);
  // The version of the attributes that the kernel was sent last, and whether it is this one.
  void SetSentVersion(InodeId inode, uint64_t version);
  bool HasSent(InodeId inode, uint64_t version) const;

  // Handles open for writing: their lengths and times are known here before anywhere else.
  void AddWriter(InodeId inode, std::weak_ptr<FileHandle> handle);
  // REQUIRES: AddWriter was called for the same handle
  void RemoveWriter(InodeId inode, const FileHandle* handle);
  bool HasWriters(InodeId inode) const;
  // Writers that have told the metadata service a file's length, which is at each close(2) and at
  // the end of a handle. Attributes asked for before that may have the length of before, and arrive
  // when the client does not know the file any more: who asks takes a mark first, and asks again if
  // a writer has told since.
  void NoteWriterTold(InodeId inode);
  uint64_t WriterMark() const { return writers_told_.load(std::memory_order_acquire); }
  bool WriterToldSince(InodeId inode, uint64_t mark) const;

  // The kernel asks for security.capability before each write(2). An inode known not to have one
  // need not be asked for until `until`.
  void SetNoCapabilities(InodeId inode, Clock::Instant until);
  bool HasNoCapabilities(InodeId inode, Clock::Instant now) const;

  size_t size() const;

 private:
  struct Entry {
    uint64_t lookups = 0;
    uint64_t sent_version = 0;
    std::optional<ContentVersion> content;
    std::vector<std::weak_ptr<FileHandle>> writers;
    uint64_t last_told = 0;  // a value of writers_told_
    Clock::Instant no_capabilities_until{};

    bool IsUnused() const { return lookups == 0 && writers.empty(); }
  };

  static constexpr size_t kShards = 64;
  using Entries = std::unordered_map<InodeId, Entry>;
  using Shard = Guarded<Entries>;

  void EraseIfUnused(Entries& shard, Entries::iterator found);
  Shard& ShardOf(InodeId inode) { return shards_[inode.value() % kShards]; }
  const Shard& ShardOf(InodeId inode) const { return shards_[inode.value() % kShards]; }

  std::atomic<uint64_t> writers_told_{0};
  std::atomic<uint64_t> forgotten_told_{0};  // the latest `last_told` of an entry that is gone
  std::array<Shard, kShards> shards_;
};

}  // namespace sheaf::fuse
