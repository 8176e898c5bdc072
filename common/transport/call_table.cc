#include "common/transport/call_table.h"

#include <algorithm>
#include <utility>

namespace sheaf::transport {

CallTable::CallTable(const ServerTerms& terms) : terms_(terms) { calls_.reserve(1024); }

PendingCall& CallTable::Insert(Call call, Done done) {
  CHECK(!IsFull());
  const uint64_t id = next_id_++;
  PendingCall& pending = calls_[id];
  pending.id = id;
  pending.cost = std::min<uint64_t>(call.payload.size() + call.into.size(), terms_.byte_credits);
  pending.call = std::move(call);
  pending.done = std::move(done);
  earliest_ = std::min(earliest_, pending.call.deadline);
  waiting_.push_back(id);
  return pending;
}

PendingCall* CallTable::AdmitNext() {
  if (waiting_.empty() || requests_held_ >= terms_.request_credits) return nullptr;
  PendingCall& next = calls_.at(waiting_.front());
  if (bytes_held_ + next.cost > terms_.byte_credits) return nullptr;
  waiting_.pop_front();
  ++requests_held_;
  bytes_held_ += next.cost;
  next.admitted = true;
  return &next;
}

PendingCall* CallTable::Find(uint64_t id) {
  auto found = calls_.find(id);
  return found == calls_.end() ? nullptr : &found->second;
}

const PendingCall* CallTable::Find(uint64_t id) const {
  const auto found = calls_.find(id);
  return found == calls_.end() ? nullptr : &found->second;
}

bool CallTable::Cancel(uint64_t tag) {
  if (tag == 0) return false;
  for (auto& [id, call] : calls_) {
    if (call.call.tag != tag) continue;
    call.cancelled = true;
    call.call.deadline = Clock::Instant::zero();
    earliest_ = Clock::Instant::zero();
    return true;
  }
  return false;
}

PendingCall CallTable::Take(PendingCall& call) {
  if (call.admitted) {
    --requests_held_;
    bytes_held_ -= call.cost;
  } else {
    std::erase(waiting_, call.id);
  }
  const uint64_t id = call.id;
  PendingCall taken = std::move(call);
  calls_.erase(id);
  return taken;
}

std::vector<PendingCall> CallTable::TakeAll() {
  std::vector<PendingCall> all;
  all.reserve(calls_.size());
  for (auto& [id, call] : calls_) all.push_back(std::move(call));
  calls_.clear();
  waiting_.clear();
  requests_held_ = 0;
  bytes_held_ = 0;
  return all;
}

std::vector<uint64_t> CallTable::Expired(Clock::Instant now) {
  std::vector<uint64_t> expired;
  earliest_ = Clock::Instant::max();
  for (const auto& [id, call] : calls_) {
    if (call.call.deadline <= now) {
      expired.push_back(id);
    } else {
      earliest_ = std::min(earliest_, call.call.deadline);
    }
  }
  return expired;
}

}  // namespace sheaf::transport
