#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "meta/check/check_pass.h"
#include "meta/check/findings.h"
#include "meta/check/link_check.h"

namespace sheaf::meta {

// The rules that hold between the rows of the store (docs/FORMAT.md), checked over one fixed state
// in bounded steps, so that whatever goes on meanwhile cannot look like damage. Memory does not
// grow with the store. Not thread-safe.
class NamespaceCheck {
 public:
  // `view` stays the same as long as this lives. `share`: see LinkCheck.
  explicit NamespaceCheck(std::shared_ptr<const ReadView> view, size_t share = LinkCheck::kShare);
  ~NamespaceCheck();

  // Looks at about `rows` rows more, fewer when many findings came.
  Status Step(size_t rows);
  bool done() const { return current_ == passes_.size(); }
  std::vector<proto::Finding> TakeFindings() { return findings_.Take(); }

  uint64_t rows() const { return rows_; }
  uint64_t inodes() const { return links_->inodes(); }
  const char* phase() const { return done() ? "done" : passes_[current_]->name(); }

 private:
  // A step ends when there are so many; one page adds a few thousand at most.
  static constexpr size_t kMaxFindings = 1024;

  const std::shared_ptr<const ReadView> view_;
  Findings findings_;
  std::vector<std::unique_ptr<CheckPass>> passes_;
  LinkCheck* links_ = nullptr;  // one of passes_
  size_t current_ = 0;
  uint64_t rows_ = 0;
};

}  // namespace sheaf::meta
