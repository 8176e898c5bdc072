#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/ids.h"
#include "meta/check/check_pass.h"
#include "meta/check/findings.h"
#include "meta/check/row_check.h"
#include "meta/schema/values.h"

namespace sheaf::meta {

// Every inode: its links are the dentries that name it, one without links is in the removal queue
// and only such a one, its writers are the write-opens that name it, a directory lies where it
// says. And the totals over all inodes, and the numbers that are next to be given out.
//
// Dentries name inodes in no order, so they are counted for a share of the inodes at a time: as
// many passes over the dentries as there are shares, and memory for one share.
class LinkCheck final : public CheckPass {
 public:
  static constexpr size_t kShare = 1 << 20;  // inodes; 40 bytes each

  // Both outlive this.
  LinkCheck(const ReadView& view, Findings& findings, size_t share = kShare);

  const char* name() const override { return "links"; }
  Result<size_t> Step() override;
  bool done() const override { return stage_ == Stage::kDone; }

  uint64_t inodes() const { return inodes_; }

 private:
  // Dentries of a directory outside the parent it names; there are none but by damage.
  static constexpr size_t kMaxAway = 4096;
  static constexpr size_t kMaxProjects = 1 << 20;

  enum class Stage { kInodes, kDentries, kRemovals, kWriteOpens, kCompare, kTotals, kDone };

  struct Counted {
    uint64_t id = 0;
    uint64_t parent = 0;  // of a directory
    uint64_t epoch = 0;   // of its removal; 0: none
    uint32_t links = 0;
    uint32_t home_links = 0;  // of a directory: in the parent it names
    uint32_t writers = 0;
  };
  struct Away {
    uint64_t inode = 0;
    InodeId parent;
    std::string name;
  };

  Result<size_t> LoadInodes();
  void TakeIn(const Inode& inode);
  Status CheckTable(const Inode& inode);
  Result<size_t> CountDentries();
  Result<size_t> CountRemovals();
  Result<size_t> CountWriteOpens();
  Result<size_t> Compare();
  void CompareOne(const Counted& counted, const Inode& inode);
  void CompareDirectory(const Counted& counted, const Inode& inode);
  Status CheckEmpty(const Counted& counted, const Inode& inode);
  void CompareUnlinked(const Counted& counted, const Inode& inode);
  proto::Finding& AddOf(const Inode& inode, proto::FindingKind kind, const std::string& what);
  Result<size_t> CompareTotals();
  Status CompareUsage(const std::string& key, const Usage& expected, const std::string& of_what,
                      const uint32_t* project);
  Status CompareAllocator(Sequence which, const char* what, uint64_t largest);
  Counted* Find(uint64_t inode);
  void Next(Stage stage, Table table);

  const ReadView& view_;
  Findings& findings_;
  const size_t share_;
  Stage stage_ = Stage::kInodes;
  RowCursor inode_cursor_;
  RowCursor cursor_;  // of the stage
  Existence sessions_;

  std::vector<Counted> counted_;  // rising ids
  std::vector<Away> away_;
  size_t compared_ = 0;

  uint64_t inodes_ = 0;
  uint64_t largest_inode_ = 0;
  uint64_t largest_data_id_ = 0;
  Usage total_;
  std::map<uint32_t, Usage> projects_;
  std::map<uint32_t, bool> tables_;  // whether a chain table exists
};

}  // namespace sheaf::meta
