#pragma once

#include <cstdint>
#include <list>
#include <vector>

#include "storage/engine/chunk_record.h"

namespace sheaf::storage {

// The versions of one chunk that are durable and not yet committed by its chain, oldest first, and
// what each of them took from the one before.
//
// Invariants:
//  1. Tickets rise. The `before` of each is the `after` of the one before it, and the last `after`
//     is what the index has.
//  2. Blocks in `dropped` are retired in the allocator, and nothing but this list knows them: they
//     are used again only once their entry is gone. So a block is added once at most and dropped
//     once at most, in that order.
//
// Not thread-safe: lives in a ChunkSlot.
class HeldVersions {
 public:
  struct Version {
    uint64_t ticket = 0;
    RecordRef before;  // null: the chunk did not exist
    RecordRef after;   // null: removed
    std::vector<BlockNumber> added;
    std::vector<BlockNumber> dropped;
  };

  // What taking the newest versions back means for the blocks; each is in one list.
  struct Undo {
    RecordRef target;
    std::vector<BlockNumber> unnamed;      // named until now, of versions that go
    std::vector<BlockNumber> named_again;  // retired until now, of the target
    std::vector<BlockNumber> unused;       // retired already, of versions that go
  };

  bool empty() const { return versions_.empty(); }
  // Bytes of memory, for the cache's limit.
  size_t bytes() const { return bytes_; }
  bool HasFrom(uint64_t ticket) const {
    return !versions_.empty() && versions_.back().ticket >= ticket;
  }

  // A version without a ticket joins the last one and shares its fate: what it dropped may be what
  // an uncommitted version still needs. REQUIRES: there is one, then.
  void Add(Version version);

  // The newest with a ticket <= `upto`, or what was before all. REQUIRES: not empty.
  const RecordRef& At(uint64_t upto) const;

  // Forgets those through `ticket`. Answers the blocks that nothing names any more.
  std::vector<BlockNumber> Release(uint64_t ticket);

  // What it takes to go back to before the first one from `ticket` on. REQUIRES: HasFrom(ticket).
  Undo PlanUndo(uint64_t ticket) const;
  // Forgets those from `ticket` on.
  void Forget(uint64_t ticket);

 private:
  static size_t BytesOf(const Version& version);

  std::list<Version> versions_;
  size_t bytes_ = 0;
};

}  // namespace sheaf::storage
