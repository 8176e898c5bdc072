#include "meta/cluster/fenced_ranges.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>

#include "meta/kv/kv_store.h"
#include "meta/schema/keys.h"
#include "meta/schema/values.h"

namespace sheaf::meta {

FencedRanges::FencedRanges(const Message& ranges) {
  for (const proto::IncarnationRange& range : ranges) {
    ranges_.push_back({range.first(), range.last()});
  }
}

FencedRanges::FencedRanges(const std::vector<Incarnation>& live, uint64_t next) {
  uint64_t first = 1;
  const auto end_before = [&](uint64_t number) {
    if (first < number) ranges_.push_back({first, number - 1});
    first = number + 1;
  };
  for (Incarnation session : live) end_before(session.value());
  end_before(next);
}

Result<FencedRanges> FencedRanges::Load(const ReadView& view) {
  ASSIGN_OR_RETURN(const std::optional<std::string> row,
                   view.Get(AllocatorKey(Sequence::kIncarnation)));
  if (!row.has_value()) return FencedRanges();
  ASSIGN_OR_RETURN(const uint64_t next, DecodeCounter(*row));
  std::vector<Incarnation> live;
  Status status;
  const auto load = [&](std::string_view key, std::string_view value) -> Status {
    ASSIGN_OR_RETURN(const uint64_t id, KeyField(key, 0));
    ASSIGN_OR_RETURN(const Session session, DecodeSession(value));
    if (!session.fenced) live.emplace_back(id);
    return Status::Ok();
  };
  const KeyRange range = TableRange(Table::kSession);
  RETURN_IF_ERROR(view.Scan(range.begin, range.end, 0, [&](auto key, auto value) {
    status = load(key, value);
    return status.ok();
  }));
  RETURN_IF_ERROR(status);
  return FencedRanges(live, next);
}

bool FencedRanges::Contains(Incarnation session) const {
  const auto after =
      std::upper_bound(ranges_.begin(), ranges_.end(), session.value(),
                       [](uint64_t value, const Range& range) { return value < range.first; });
  return after != ranges_.begin() && session.value() <= std::prev(after)->last;
}

void FencedRanges::CopyTo(Message* ranges) const {
  ranges->Clear();
  for (const Range& range : ranges_) {
    proto::IncarnationRange* row = ranges->Add();
    row->set_first(range.first);
    row->set_last(range.last);
  }
}

}  // namespace sheaf::meta
