#pragma once

#include <cstdint>
#include <optional>
#include <unordered_set>
#include <vector>

#include "common/ids.h"
#include "meta/check/check_pass.h"
#include "meta/check/findings.h"
#include "meta/schema/values.h"

namespace sheaf::meta {

// Every dentry: it lies in a directory, names an inode of its type, has its row in readdir order,
// and following parents from a directory leads to the root. Of every directory that has dentries:
// how many, how many of them are directories, and that none has a cookie still to be given out.
class DentryCheck final : public CheckPass {
 public:
  // Both outlive this.
  DentryCheck(const ReadView& view, Findings& findings);

  const char* name() const override { return "names"; }
  Result<size_t> Step() override;
  bool done() const override { return done_; }

 private:
  // Directories that are known to lead to the root; beyond it they are walked again.
  static constexpr size_t kMaxKnown = 1 << 18;
  // Steps after which a way up cannot end any more.
  static constexpr size_t kMaxWalk = 2 * kMaxDirectoryDepth;

  struct Named {
    InodeId parent;
    std::string name;
    Dentry dentry;
  };
  struct Directory {
    InodeId id;
    std::optional<Inode> inode;  // none: there is no such directory
    uint64_t entries = 0;
    uint64_t directories = 0;
    uint64_t last_cookie = 0;
  };

  std::vector<Named> Decode(const std::vector<CheckRow>& rows);
  Status Enter(InodeId parent);
  void Leave();
  Status CheckNamed(const Named& named, const std::optional<std::string>& inode_row,
                    const std::optional<std::string>& directory_row);
  void CheckDirectoryRow(const Named& named, const std::optional<std::string>& row);
  Status CheckWayUp(const Named& named, const Inode& directory);
  Result<std::optional<Inode>> LoadDirectoryIfAny(InodeId id) const;
  Result<bool> IsSmallestOfLoop(InodeId id) const;

  const ReadView& view_;
  Findings& findings_;
  RowCursor cursor_;
  std::optional<Directory> directory_;
  std::unordered_set<uint64_t> known_;
  bool done_ = false;
};

// Every row in readdir order has its dentry.
class DirectoryRowCheck final : public CheckPass {
 public:
  DirectoryRowCheck(const ReadView& view, Findings& findings)
      : view_(view), findings_(findings), cursor_(view, TableRange(Table::kDirectory)) {}

  const char* name() const override { return "directories"; }
  Result<size_t> Step() override;
  bool done() const override { return cursor_.done(); }

 private:
  const ReadView& view_;
  Findings& findings_;
  RowCursor cursor_;
};

}  // namespace sheaf::meta
