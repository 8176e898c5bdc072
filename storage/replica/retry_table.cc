#include "storage/replica/retry_table.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "common/layout.h"

namespace sheaf::storage {

struct RetryTable::Attempt {
  Name name;
  std::vector<Done> joined;  // under the shard's mutex
};

namespace {

std::string Describe(const RetryTable::Name& name) {
  return "mutation " + std::to_string(name.sequence) + " of stream " + std::to_string(name.stream) +
         " of session " + ToString(name.incarnation);
}

Status Late(const RetryTable::Name& name, uint64_t last) {
  return {Code::kCancelled,
          Describe(name) + ": it comes late, the stream is at " + std::to_string(last)};
}

Status Reused(const RetryTable::Name& name) {
  return {Code::kInvalid, Describe(name) + ": the sequence was used for another mutation"};
}

Status Occupied(const RetryTable::Name& name, uint64_t last) {
  return {Code::kBusy,
          Describe(name) + ": mutation " + std::to_string(last) + " of it is still under way"};
}

Status Full(const RetryTable::Name& name) {
  return {Code::kBusy, Describe(name) + ": too many streams have mutations under way"};
}

}  // namespace

RetryTable::RetryTable(size_t max_streams)
    : max_streams_of_shard_(std::max<size_t>(max_streams / kShards, 1)) {}

size_t RetryTable::KeyHash::operator()(const Key& key) const {
  return MixBits(key.incarnation.value() ^ MixBits(key.stream));
}

RetryTable::LockedShard& RetryTable::ShardOf(const Key& key) {
  return shards_[KeyHash()(key) % kShards];
}

RetryTable::Begun RetryTable::Begin(const Name& name, uint64_t fingerprint, Done joined) {
  auto attempt = std::make_shared<Attempt>(Attempt{.name = name});
  if (!name.incarnation.IsSet()) return {.attempt = std::move(attempt)};
  LockedShard& locked = ShardOf(KeyOf(name));
  std::lock_guard lock(locked.mutex);
  Shard& shard = locked.shard;
  if (name.stream != 0) {
    if (auto judged = Judge(shard, name, fingerprint, &joined)) return *judged;
    Stream* stream = Take(shard, KeyOf(name));
    if (stream == nullptr) return {.answer = Full(name)};
    stream->sequence = name.sequence;
    stream->fingerprint = fingerprint;
    stream->done = false;
    stream->attempt = attempt;
  }
  ++shard.under_way[name.incarnation];
  return {.attempt = std::move(attempt)};
}

std::optional<RetryTable::Begun> RetryTable::Judge(Shard& shard, const Name& name,
                                                   uint64_t fingerprint, Done* joined) {
  auto found = shard.streams.find(KeyOf(name));
  if (found == shard.streams.end()) return std::nullopt;
  Stream& stream = found->second;
  if (name.sequence < stream.sequence) {
    ++shard.late;
    return Begun{.answer = Late(name, stream.sequence)};
  }
  if (name.sequence > stream.sequence) {
    if (stream.attempt == nullptr) return std::nullopt;
    return Begun{.answer = Occupied(name, stream.sequence)};
  }
  if (!stream.done && stream.attempt == nullptr) return std::nullopt;
  if (stream.fingerprint != fingerprint) return Begun{.answer = Reused(name)};
  ++shard.repeated;
  if (stream.done) return Begun{.answer = stream.result};
  stream.attempt->joined.push_back(std::move(*joined));
  return Begun{};
}

RetryTable::Stream* RetryTable::Take(Shard& shard, const Key& key) const {
  auto found = shard.streams.find(key);
  if (found == shard.streams.end()) {
    if (shard.streams.size() >= max_streams_of_shard_) {
      if (shard.idle.empty()) return nullptr;
      shard.streams.erase(shard.idle.front());
      shard.idle.pop_front();
    }
    return &shard.streams[key];
  }
  shard.idle.erase(found->second.idle);
  return &found->second;
}

void RetryTable::Finish(const AttemptPtr& attempt, const Answer& answer) {
  const Name& name = attempt->name;
  if (!name.incarnation.IsSet()) return;
  std::vector<Done> joined;
  {
    LockedShard& locked = ShardOf(KeyOf(name));
    std::lock_guard lock(locked.mutex);
    Shard& shard = locked.shard;
    joined = std::move(attempt->joined);
    auto count = shard.under_way.find(name.incarnation);
    if (--count->second == 0) shard.under_way.erase(count);
    if (name.stream != 0) {
      Stream& stream = shard.streams.at(KeyOf(name));
      stream.attempt = nullptr;
      stream.done = answer.ok();
      if (answer.ok()) stream.result = *answer;
      stream.idle = shard.idle.insert(shard.idle.end(), KeyOf(name));
    }
  }
  for (Done& done : joined) done(answer);
}

void RetryTable::Forget(const Predicate& over) {
  for (LockedShard& locked : shards_) {
    std::lock_guard lock(locked.mutex);
    Shard& shard = locked.shard;
    std::erase_if(shard.idle, [&](const Key& key) {
      if (!over(key.incarnation)) return false;
      shard.streams.erase(key);
      return true;
    });
  }
}

bool RetryTable::AnyUnderWay(const Predicate& over) const {
  return std::any_of(shards_.begin(), shards_.end(), [&](const LockedShard& locked) {
    std::lock_guard lock(locked.mutex);
    const auto& under_way = locked.shard.under_way;
    return std::any_of(under_way.begin(), under_way.end(),
                       [&](const auto& entry) { return over(entry.first); });
  });
}

RetryTable::Counts RetryTable::GetCounts() const {
  Counts counts;
  for (const LockedShard& locked : shards_) {
    std::lock_guard lock(locked.mutex);
    counts.streams += locked.shard.streams.size();
    counts.repeated += locked.shard.repeated;
    counts.late += locked.shard.late;
  }
  return counts;
}

}  // namespace sheaf::storage
