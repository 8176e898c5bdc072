#include "storage/engine/held_versions.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "common/status.h"

namespace sheaf::storage {

namespace {

void Append(std::vector<BlockNumber>& to, const std::vector<BlockNumber>& blocks) {
  to.insert(to.end(), blocks.begin(), blocks.end());
}

}  // namespace

// Pages that did not change are shared with the newest version, which the slot counts.
size_t HeldVersions::BytesOf(const Version& version) {
  const size_t pages = version.before != nullptr ? version.before->pages.size() : 0;
  const size_t blocks = version.added.size() + version.dropped.size();
  return sizeof(Version) + sizeof(ChunkRecord) + 64 + pages * sizeof(std::shared_ptr<ChunkPage>) +
         blocks * sizeof(BlockNumber) + std::min(pages, blocks) * sizeof(ChunkPage);
}

void HeldVersions::Add(Version version) {
  if (version.ticket == 0) {
    CHECK(!empty(), "a version without a ticket is held alone");
    Version& last = versions_.back();
    bytes_ -= BytesOf(last);
    last.after = std::move(version.after);
    Append(last.added, version.added);
    Append(last.dropped, version.dropped);
  } else {
    CHECK(empty() || versions_.back().ticket < version.ticket, "tickets of a chunk do not rise");
    versions_.push_back(std::move(version));
  }
  bytes_ += BytesOf(versions_.back());
}

const RecordRef& HeldVersions::At(uint64_t upto) const {
  CHECK(!empty(), "no version is held");
  for (auto at = versions_.rbegin(); at != versions_.rend(); ++at) {
    if (at->ticket <= upto) return at->after;
  }
  return versions_.front().before;
}

std::vector<BlockNumber> HeldVersions::Release(uint64_t ticket) {
  std::vector<BlockNumber> blocks;
  while (!empty() && versions_.front().ticket <= ticket) {
    Append(blocks, versions_.front().dropped);
    bytes_ -= BytesOf(versions_.front());
    versions_.pop_front();
  }
  return blocks;
}

HeldVersions::Undo HeldVersions::PlanUndo(uint64_t ticket) const {
  CHECK(HasFrom(ticket), "nothing to take back");
  Undo undo;
  std::vector<BlockNumber> added;
  std::vector<BlockNumber> dropped;
  for (auto at = versions_.rbegin(); at != versions_.rend() && at->ticket >= ticket; ++at) {
    undo.target = at->before;
    Append(added, at->added);
    Append(dropped, at->dropped);
  }
  std::sort(added.begin(), added.end());
  std::sort(dropped.begin(), dropped.end());
  // Invariant 2: what was dropped and not added here is the target's, and what was added and not
  // dropped is the newest version's.
  std::set_difference(added.begin(), added.end(), dropped.begin(), dropped.end(),
                      std::back_inserter(undo.unnamed));
  std::set_difference(dropped.begin(), dropped.end(), added.begin(), added.end(),
                      std::back_inserter(undo.named_again));
  std::set_intersection(added.begin(), added.end(), dropped.begin(), dropped.end(),
                        std::back_inserter(undo.unused));
  return undo;
}

void HeldVersions::Forget(uint64_t ticket) {
  while (HasFrom(ticket)) {
    bytes_ -= BytesOf(versions_.back());
    versions_.pop_back();
  }
}

}  // namespace sheaf::storage
