#include "meta/cluster/session_table.h"

#include <algorithm>
#include <limits>
#include <string>

namespace sheaf::meta {

void SessionTable::Add(Incarnation session, RemovalEpoch acked, Clock::Instant now) {
  sessions_[session] = {.expires = now + lease_, .acked = acked};
}

void SessionTable::Recover(Incarnation session, Clock::Instant now) {
  Add(session, RemovalEpoch(), now);
}

Status SessionTable::Renew(Incarnation session, RemovalEpoch acked, const Pins& pins,
                           Clock::Instant now) {
  auto found = sessions_.find(session);
  if (found == sessions_.end() || found->second.ending) {
    return {Code::kNoSession, "renew session " + ToString(session) + ": it is over or unknown"};
  }
  const size_t count = pins.inodes.size() + pins.data_ids.size();
  if (count > kMaxPinsPerSession) {
    return {Code::kTooBig, "renew session " + ToString(session) + ": " + std::to_string(count) +
                               " pins exceed the limit of " + std::to_string(kMaxPinsPerSession)};
  }
  Entry& entry = found->second;
  entry.expires = now + lease_;
  // A renewal that was overtaken by a later one says less than is known.
  if (acked < entry.acked) return Status::Ok();
  Unpin(entry);
  entry.acked = acked;
  entry.inodes = {pins.inodes.begin(), pins.inodes.end()};
  entry.data_ids = {pins.data_ids.begin(), pins.data_ids.end()};
  inodes_.Pin(entry.inodes);
  data_ids_.Pin(entry.data_ids);
  return Status::Ok();
}

void SessionTable::Unpin(const Entry& entry) {
  inodes_.Unpin(entry.inodes);
  data_ids_.Unpin(entry.data_ids);
}

bool SessionTable::End(Incarnation session) {
  auto found = sessions_.find(session);
  if (found == sessions_.end() || found->second.ending) return false;
  found->second.ending = true;
  return true;
}

void SessionTable::Remove(Incarnation session) {
  auto found = sessions_.find(session);
  if (found == sessions_.end()) return;
  Unpin(found->second);
  sessions_.erase(found);
}

std::vector<Incarnation> SessionTable::Expired(Clock::Instant now) const {
  std::vector<Incarnation> expired;
  for (const auto& [session, entry] : sessions_) {
    if (!entry.ending && now >= entry.expires) expired.push_back(session);
  }
  std::sort(expired.begin(), expired.end());
  return expired;
}

RemovalEpoch SessionTable::AckedByAll() const {
  RemovalEpoch acked(std::numeric_limits<uint64_t>::max());
  for (const auto& [session, entry] : sessions_) acked = std::min(acked, entry.acked);
  return acked;
}

}  // namespace sheaf::meta
