#include "tests/support/memory_kv.h"

#include <iterator>
#include <utility>

namespace sheaf::meta {
namespace {

using Versions = std::map<uint64_t, std::optional<std::string>>;

std::optional<std::string> At(const Versions& versions, uint64_t version) {
  const auto after = versions.upper_bound(version);
  return after == versions.begin() ? std::nullopt : std::prev(after)->second;
}

}  // namespace

class MemorySnapshot final : public ReadView {
 public:
  MemorySnapshot(const MemoryKv& store, uint64_t version) : store_(store), version_(version) {}

  Result<std::optional<std::string>> Get(std::string_view key) const override {
    return store_.GetAt(version_, key);
  }
  Result<std::vector<std::optional<std::string>>> MultiGet(
      std::span<const std::string> keys) const override {
    std::vector<std::optional<std::string>> answer;
    for (const std::string& key : keys) {
      ASSIGN_OR_RETURN(answer.emplace_back(), store_.GetAt(version_, key));
    }
    return answer;
  }
  Status Scan(std::string_view begin, std::string_view end, size_t limit,
              const Visitor& visitor) const override {
    return store_.ScanAt(version_, begin, end, limit, visitor);
  }

 private:
  const MemoryKv& store_;
  uint64_t version_;
};

Result<std::optional<std::string>> MemoryKv::GetAt(uint64_t version, std::string_view key) const {
  auto state = state_.Lock();
  const auto found = state->rows.find(key);
  return found == state->rows.end() ? std::nullopt : At(found->second, version);
}

Status MemoryKv::ScanAt(uint64_t version, std::string_view begin, std::string_view end,
                        size_t limit, const Visitor& visitor) const {
  // Copied out first: the visitor may read the store.
  std::vector<std::pair<std::string, std::string>> found;
  {
    auto state = state_.Lock();
    for (auto row = state->rows.lower_bound(begin); row != state->rows.end() && row->first < end;
         ++row) {
      const auto value = At(row->second, version);
      if (value) found.emplace_back(row->first, *value);
      if (found.size() == limit && limit != 0) break;
    }
  }
  for (const auto& [key, value] : found) {
    if (!visitor(key, value)) break;
  }
  return Status::Ok();
}

Result<std::optional<std::string>> MemoryKv::Get(std::string_view key) const {
  return GetAt(UINT64_MAX, key);
}

Result<std::vector<std::optional<std::string>>> MemoryKv::MultiGet(
    std::span<const std::string> keys) const {
  return Snapshot()->MultiGet(keys);
}

Status MemoryKv::Scan(std::string_view begin, std::string_view end, size_t limit,
                      const Visitor& visitor) const {
  return ScanAt(UINT64_MAX, begin, end, limit, visitor);
}

std::unique_ptr<ReadView> MemoryKv::Snapshot() const {
  return std::make_unique<MemorySnapshot>(*this, state_.Lock()->version);
}

Status MemoryKv::Write(std::span<const KvChange> changes, bool sync) {
  auto state = state_.Lock();
  state->waiting = state->held;
  changed_.notify_all();
  state.Wait(changed_, [&] { return !state->held; });
  state->waiting = false;
  if (!state->failure.ok()) return std::exchange(state->failure, Status::Ok());
  if (std::exchange(state->late_failure, false)) {
    for (const KvChange& change : changes) {
      state->late.emplace_back(
          change.key, change.value ? std::optional<std::string>(*change.value) : std::nullopt);
    }
    return {Code::kNoSpace, "disk full"};
  }
  ++state->version;
  if (!sync) ++state->unsynced;
  for (const KvChange& change : changes) {
    state->rows[std::string(change.key)][state->version] =
        change.value ? std::optional<std::string>(*change.value) : std::nullopt;
  }
  return Status::Ok();
}

Status MemoryKv::Recover() {
  auto state = state_.Lock();
  if (!state->no_recovery.ok()) return state->no_recovery;
  ++state->version;
  for (auto& [key, value] : std::exchange(state->late, {}))
    state->rows[key][state->version] = value;
  return Status::Ok();
}

void MemoryKv::Release() {
  state_.Lock()->held = false;
  changed_.notify_all();
}

void MemoryKv::AwaitHeldWrite() {
  auto state = state_.Lock();
  state.Wait(changed_, [&] { return state->waiting; });
}

std::map<std::string, std::string> MemoryKv::Rows(std::string_view prefix) const {
  std::map<std::string, std::string> rows;
  auto state = state_.Lock();
  for (auto row = state->rows.lower_bound(prefix);
       row != state->rows.end() && std::string_view(row->first).starts_with(prefix); ++row) {
    const auto value = At(row->second, UINT64_MAX);
    if (value) rows[row->first] = *value;
  }
  return rows;
}

}  // namespace sheaf::meta
