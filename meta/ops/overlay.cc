#include "meta/ops/overlay.h"

#include <utility>

namespace sheaf::meta {

void Overlay::Set(std::string key, std::optional<std::string> value) {
  bytes_ += key.size() + (value ? value->size() : 0);
  const auto [at, inserted] = changes_.try_emplace(std::move(key));
  undo_.push_back({at, !inserted, std::move(at->second)});
  at->second = std::move(value);
}

// Backwards, so that a key set twice ends with its first undo.
void Overlay::RollbackTo(size_t mark) {
  for (; undo_.size() > mark; undo_.pop_back()) {
    Undo& undo = undo_.back();
    if (undo.existed) {
      undo.at->second = std::move(undo.value);
    } else {
      changes_.erase(undo.at);
    }
  }
}

const std::optional<std::string>* Overlay::Find(std::string_view key) const {
  const auto found = changes_.find(key);
  return found == changes_.end() ? nullptr : &found->second;
}

std::vector<KvChange> Overlay::AsBatch() const {
  std::vector<KvChange> batch;
  batch.reserve(changes_.size());
  for (const auto& [key, value] : changes_) {
    batch.push_back({key, value ? std::optional<std::string_view>(*value) : std::nullopt});
  }
  return batch;
}

void Overlay::Clear() {
  undo_.clear();
  changes_.clear();
  bytes_ = 0;
}

}  // namespace sheaf::meta
