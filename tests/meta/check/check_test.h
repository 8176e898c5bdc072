#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "meta/check/namespace_check.h"
#include "meta/check/repair.h"
#include "meta/schema/keys.h"
#include "meta/schema/values.h"
#include "tests/meta/ops/ops_test.h"

namespace sheaf::meta {

// A small tree of every kind of thing, and a check of it. Rows are damaged behind the operations'
// backs, in a batch of the executor.
class CheckTest : public OpsTest {
 protected:
  CheckTest() {
    Edit(
        [](OpContext& ctx) { ctx.Put(ClusterKey(ClusterRow::kTable, TestMeta::kTable), "table"); });
    dir_ = MakeDir(kRoot, "dir");
    sub_ = MakeDir(dir_, "sub");
    file_ = MakeFile(dir_, "file");
    EXPECT_TRUE(meta_.Fsync(file_, 1, 10'000).ok());
    EXPECT_TRUE(meta_.Link(file_, sub_, "other name").ok());
    EXPECT_TRUE(meta_.SetXattr(file_, "user.color", "red").ok());
    deep_ = MakeFile(sub_, "deep");
    EXPECT_TRUE(meta_.Symlink(sub_, "symlink", "deep").ok());
    writer_ = MakeFile(dir_, "written");
    EXPECT_TRUE(meta_.Open(writer_, O_WRONLY).ok());
    EXPECT_TRUE(meta_.Fsync(writer_, 1, 500).ok());
    EXPECT_TRUE(meta_.Truncate(writer_, 100).ok());  // leaves an intent
    removed_ = MakeFile(dir_, "removed");
    EXPECT_TRUE(meta_.Unlink(dir_, "removed").ok());
    EXPECT_TRUE(meta_.Fsync(deep_, 1, 77).ok());
    EXPECT_TRUE(meta_.Truncate(deep_, 0).ok());  // leaves a replaced data_id
  }

  void Edit(const std::function<void(OpContext&)>& edit) {
    const Status status = meta_.Run([&](OpContext& ctx) {
      edit(ctx);
      return Status::Ok();
    });
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  void EditInode(uint64_t id, const std::function<void(Inode&)>& edit) {
    Edit([&](OpContext& ctx) {
      Inode inode = DecodeInode(InodeId(id), **ctx.Get(InodeKey(InodeId(id)))).value();
      edit(inode);
      ctx.Put(InodeKey(inode.id), EncodeInode(inode));
    });
  }
  Dentry DentryOf(uint64_t parent, const std::string& name) {
    const auto row = kv_.Get(DentryKey(InodeId(parent), name)).value();
    return DecodeDentry(row.value()).value();
  }
  uint64_t EpochOf(uint64_t inode, Removal::Kind kind) {
    for (const auto& [key, value] : kv_.Rows("U")) {
      const Removal removal = DecodeRemoval(value).value();
      if (removal.inode.value() == inode && removal.kind == kind) return KeyField(key, 0).value();
    }
    ADD_FAILURE() << "no removal of inode " << inode;
    return 0;
  }

  // Shares of three inodes: several passes even here.
  std::vector<proto::Finding> Check(size_t share = 3, size_t rows = 1) {
    NamespaceCheck check(meta_.executor().Committed(), share);
    std::vector<proto::Finding> all;
    while (!check.done()) {
      const Status status = check.Step(rows);
      EXPECT_TRUE(status.ok()) << status.ToString();
      for (proto::Finding& finding : check.TakeFindings()) all.push_back(std::move(finding));
    }
    return all;
  }
  static std::vector<std::string> Kinds(const std::vector<proto::Finding>& findings) {
    std::vector<std::string> kinds;
    for (const proto::Finding& finding : findings) {
      kinds.push_back(proto::FindingKind_Name(finding.kind()));
    }
    return kinds;
  }
  static std::string Texts(const std::vector<proto::Finding>& findings) {
    std::string texts;
    for (const proto::Finding& finding : findings) texts += finding.text() + "\n";
    return texts;
  }
  Result<bool> Repair(const proto::Finding& finding) {
    bool repaired = false;
    const Status status = meta_.Run([&](OpContext& ctx) -> Status {
      ASSIGN_OR_RETURN(repaired, RepairFinding(ctx, finding));
      return Status::Ok();
    });
    if (!status.ok()) return status;
    return repaired;
  }
  // Rounds as `sheaf fsck --repair` makes them; what is left.
  std::vector<proto::Finding> RepairAll() {
    for (int round = 0; round < 6; ++round) {
      std::vector<proto::Finding> findings = Check();
      size_t repaired = 0;
      for (const proto::Finding& finding : findings) {
        if (!finding.repairable()) continue;
        const Result<bool> done = Repair(finding);
        EXPECT_TRUE(done.ok()) << finding.text() << ": " << done.status().ToString();
        repaired += done.ok() && *done ? 1 : 0;
      }
      if (repaired == 0) return findings;
    }
    return Check();
  }

  uint64_t dir_ = 0, sub_ = 0, file_ = 0, deep_ = 0, writer_ = 0, removed_ = 0;
};

}  // namespace sheaf::meta
