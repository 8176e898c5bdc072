#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "meta/kv/kv_store.h"

namespace sheaf::meta {

// The changes of the open group, latest value a key, in key order; a key written many times in one
// group reaches the store once. The changes since Begin can be taken back, all or those since a
// mark. Not thread-safe.
class Overlay {
 public:
  // No value: the key is deleted.
  using Changes = std::map<std::string, std::optional<std::string>, std::less<>>;

  // From here on Rollback takes back.
  void Begin() { undo_.clear(); }
  void Rollback() { RollbackTo(0); }
  // A point since Begin that RollbackTo goes back to.
  size_t Mark() const { return undo_.size(); }
  void RollbackTo(size_t mark);

  void Set(std::string key, std::optional<std::string> value);
  // Null when the group has not touched the key; else its value, or none when it is deleted.
  const std::optional<std::string>* Find(std::string_view key) const;

  const Changes& changes() const { return changes_; }
  // The views live until the next change.
  std::vector<KvChange> AsBatch() const;
  // Of keys and values set so far; an upper bound of what AsBatch holds.
  size_t bytes() const { return bytes_; }
  bool empty() const { return changes_.empty(); }
  void Clear();

 private:
  struct Undo {
    Changes::iterator at;
    bool existed = false;
    std::optional<std::string> value;
  };

  Changes changes_;
  std::vector<Undo> undo_;
  size_t bytes_ = 0;
};

}  // namespace sheaf::meta
