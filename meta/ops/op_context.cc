#include "meta/ops/op_context.h"

#include <utility>

#include "meta/ops/overlay.h"
#include "meta/schema/values.h"

namespace sheaf::meta {
namespace {

// The root directory has number 1 and never comes from the allocator.
uint64_t FirstNumber(Sequence which) {
  return which == Sequence::kInode ? kRootInode.value() + 1 : 1;
}

}  // namespace

Result<std::optional<std::string>> OpContext::Get(std::string_view key) const {
  if (const std::optional<std::string>* changed = overlay_.Find(key)) return *changed;
  return base_.Get(key);
}

Result<std::vector<std::optional<std::string>>> OpContext::MultiGet(
    std::span<const std::string> keys) const {
  ASSIGN_OR_RETURN(auto values, base_.MultiGet(keys));
  for (size_t i = 0; i < keys.size(); ++i) {
    if (const std::optional<std::string>* changed = overlay_.Find(keys[i])) values[i] = *changed;
  }
  return values;
}

// Merges two sorted streams; where both have a key the overlay's counts.
Status OpContext::Scan(std::string_view begin, std::string_view end, size_t limit,
                       const Visitor& visitor) const {
  const Overlay::Changes& changes = overlay_.changes();
  auto next = changes.lower_bound(begin);
  size_t visited = 0;
  bool stopped = false;

  const auto visit = [&](std::string_view key, std::string_view value) {
    stopped = !visitor(key, value) || ++visited == limit;
    return !stopped;
  };
  // Overlay rows below `bound`, deletions left out.
  const auto visit_changes_below = [&](std::string_view bound) {
    for (; !stopped && next != changes.end() && next->first < bound; ++next) {
      if (next->second) visit(next->first, *next->second);
    }
    return !stopped;
  };

  RETURN_IF_ERROR(base_.Scan(begin, end, 0, [&](std::string_view key, std::string_view value) {
    if (!visit_changes_below(key)) return false;
    if (next == changes.end() || next->first != key) return visit(key, value);
    const std::optional<std::string>& changed = next->second;
    ++next;
    return changed ? visit(key, *changed) : true;
  }));
  if (!stopped) visit_changes_below(end);
  return Status::Ok();
}

void OpContext::Put(std::string key, std::string value) {
  overlay_.Set(std::move(key), std::move(value));
}

void OpContext::Delete(std::string key) { overlay_.Set(std::move(key), std::nullopt); }

size_t OpContext::Savepoint() const { return overlay_.Mark(); }

void OpContext::RollbackTo(size_t savepoint) { overlay_.RollbackTo(savepoint); }

Result<uint64_t> OpContext::Allocate(Sequence which, uint64_t count) {
  std::string key = AllocatorKey(which);
  ASSIGN_OR_RETURN(const auto stored, Get(key));
  uint64_t next = FirstNumber(which);
  if (stored) {
    ASSIGN_OR_RETURN(next, DecodeCounter(*stored));
  }
  CHECK(next + count > next, "a sequence of numbers is used up");
  Put(std::move(key), EncodeCounter(next + count));
  return next;
}

Status OpContext::CheckSpace(const char* operation) const {
  if (!space_short_) return Status::Ok();
  return {Code::kNoSpace, std::string(operation) +
                              ": the metadata service's disk is full; remove files or free space"};
}

}  // namespace sheaf::meta
