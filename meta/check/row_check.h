#pragma once

#include <optional>
#include <utility>

#include "common/ids.h"
#include "meta/check/check_pass.h"
#include "meta/check/findings.h"

namespace sheaf::meta {

// Whether sessions and inodes exist, the last one asked for remembered: rows of one come together.
class Existence {
 public:
  explicit Existence(const ReadView& view) : view_(view) {}
  Result<bool> Has(std::string key) {
    if (key == last_) return exists_;
    ASSIGN_OR_RETURN(const auto row, view_.Get(key));
    last_ = std::move(key);
    exists_ = row.has_value();
    return exists_;
  }

 private:
  const ReadView& view_;
  std::string last_;
  bool exists_ = false;
};

// What belongs to something else: removals to bytes that are not a file's own, truncate intents to
// a file and its bytes, write-opens and results to a session, xattrs to an inode.
class OwnedRowCheck final : public CheckPass {
 public:
  // Both outlive this. `table` is one of the five.
  OwnedRowCheck(const ReadView& view, Findings& findings, Table table)
      : view_(view),
        findings_(findings),
        table_(table),
        owners_(view),
        cursor_(view, TableRange(table)) {}

  const char* name() const override;
  Result<size_t> Step() override;
  bool done() const override { return cursor_.done(); }

 private:
  Status CheckRemoval(const CheckRow& row, uint64_t epoch);
  Status CheckIntent(const CheckRow& row, InodeId inode);
  // Answers true when the rest of this owner's rows need not be looked at.
  Result<bool> CheckSessionRow(const CheckRow& row, Incarnation session);
  Result<bool> CheckXattr(InodeId inode);

  const ReadView& view_;
  Findings& findings_;
  const Table table_;
  Existence owners_;
  RowCursor cursor_;
};

}  // namespace sheaf::meta
