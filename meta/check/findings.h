#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/ids.h"
#include "proto/admin.pb.h"

namespace sheaf::meta {

// What a check has found and not handed on yet. Not thread-safe.
class Findings {
 public:
  // Answers it for what its repair needs; the reference is valid until the next Add.
  proto::Finding& Add(proto::FindingKind kind, std::string text, bool repairable = true) {
    proto::Finding& finding = list_.emplace_back();
    finding.set_kind(kind);
    finding.set_text(std::move(text));
    finding.set_repairable(repairable);
    return finding;
  }
  void AddBadRow(std::string_view key, const std::string& why);

  size_t size() const { return list_.size(); }
  std::vector<proto::Finding> Take() { return std::exchange(list_, {}); }

 private:
  std::vector<proto::Finding> list_;
};

// "dentry 12/name", with what is not printable as \xNN.
std::string DentryText(InodeId parent, std::string_view name);
std::string InodeText(InodeId inode);

}  // namespace sheaf::meta
