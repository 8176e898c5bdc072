#include "meta/check/namespace_check.h"

#include <utility>

#include "meta/check/name_check.h"
#include "meta/check/row_check.h"

namespace sheaf::meta {

NamespaceCheck::NamespaceCheck(std::shared_ptr<const ReadView> view, size_t share)
    : view_(std::move(view)) {
  passes_.push_back(std::make_unique<DentryCheck>(*view_, findings_));
  passes_.push_back(std::make_unique<DirectoryRowCheck>(*view_, findings_));
  for (Table table : {Table::kRemoval, Table::kTruncateIntent, Table::kWriteOpen, Table::kResult,
                      Table::kXattr}) {
    passes_.push_back(std::make_unique<OwnedRowCheck>(*view_, findings_, table));
  }
  auto links = std::make_unique<LinkCheck>(*view_, findings_, share);
  links_ = links.get();
  passes_.push_back(std::move(links));
}

NamespaceCheck::~NamespaceCheck() = default;

Status NamespaceCheck::Step(size_t rows) {
  const uint64_t until = rows_ + rows;
  while (!done() && rows_ < until && findings_.size() < kMaxFindings) {
    ASSIGN_OR_RETURN(const size_t looked_at, passes_[current_]->Step());
    rows_ += looked_at;
    if (passes_[current_]->done()) ++current_;
  }
  return Status::Ok();
}

}  // namespace sheaf::meta
