#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "common/status.h"
#include "meta/kv/kv_store.h"
#include "meta/schema/keys.h"

namespace sheaf::meta {

// Rows that a pass reads at a time.
inline constexpr size_t kCheckPage = 1024;

struct CheckRow {
  std::string key;
  std::string value;
};

// Reads a range a page at a time. Not thread-safe.
class RowCursor {
 public:
  RowCursor(const ReadView& view, KeyRange range) : view_(&view), range_(std::move(range)) {}

  // The next rows, at most `limit`; none once done() is true.
  Result<std::vector<CheckRow>> Next(size_t limit) {
    std::vector<CheckRow> rows;
    RETURN_IF_ERROR(view_->Scan(range_.begin, range_.end, limit, [&](auto key, auto value) {
      rows.push_back({std::string(key), std::string(value)});
      return true;
    }));
    done_ = rows.size() < limit;
    if (!rows.empty()) range_.begin = rows.back().key + '\0';
    return rows;
  }
  // Goes on at `key`, which lies beyond what was read.
  void SkipTo(std::string key) {
    range_.begin = std::move(key);
    done_ = range_.begin >= range_.end;
  }
  bool done() const { return done_; }

 private:
  const ReadView* view_;
  KeyRange range_;
  bool done_ = false;
};

// One of a check's passes over the store, cut into steps so that it can run beside serving. Reads
// one fixed state: what it finds was so at that moment. Memory is bounded by the pass' own limits,
// not by the store. Not thread-safe.
class CheckPass {
 public:
  virtual ~CheckPass() = default;
  // For a progress line.
  virtual const char* name() const = 0;
  // One page of work; answers how many rows it looked at.
  virtual Result<size_t> Step() = 0;
  virtual bool done() const = 0;
};

}  // namespace sheaf::meta
