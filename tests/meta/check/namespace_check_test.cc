#include "meta/check/namespace_check.h"

#include <gmock/gmock.h>

#include "tests/meta/check/check_test.h"

namespace sheaf::meta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

// Each test plants one thing, sees exactly that (and what must follow from it) named, repairs, and
// sees nothing left.
class NamespaceCheckTest : public CheckTest {
 protected:
  void ExpectCleanAfterRepair() {
    const auto left = RepairAll();
    EXPECT_THAT(Kinds(left), IsEmpty()) << Texts(left);
  }
};

TEST_F(NamespaceCheckTest, AHealthyTreeIsClean) {
  for (size_t share : {1, 2, 1000}) {
    const auto findings = Check(share, 100);
    EXPECT_THAT(Kinds(findings), IsEmpty()) << Texts(findings);
  }
}

TEST_F(NamespaceCheckTest, ADentryOfAnInodeThatIsGone) {
  const uint64_t lost = MakeFile(dir_, "lost");
  Edit([&](OpContext& ctx) { ctx.Delete(InodeKey(InodeId(lost))); });
  const auto findings = Check();
  EXPECT_THAT(Kinds(findings),
              UnorderedElementsAre("DANGLING_DENTRY", "WRONG_USAGE", "WRONG_USAGE"));
  EXPECT_THAT(findings[0].text(), HasSubstr(std::to_string(dir_) + "/lost"));
  ExpectCleanAfterRepair();
  EXPECT_EQ(CodeOf(meta_.Lookup(dir_, "lost")), Code::kNotFound);
  EXPECT_TRUE(meta_.Rmdir(dir_, "sub").status().code() == Code::kNotEmpty);
}

TEST_F(NamespaceCheckTest, DentriesOfADirectoryThatIsGone) {
  Edit([&](OpContext& ctx) { ctx.Delete(InodeKey(InodeId(sub_))); });
  const auto kinds = Kinds(Check());
  EXPECT_EQ(std::count(kinds.begin(), kinds.end(), "PARENTLESS_DENTRY"), 3);
  EXPECT_EQ(std::count(kinds.begin(), kinds.end(), "DANGLING_DENTRY"), 1);
  ExpectCleanAfterRepair();
  // What had no other name is kept.
  const auto home = meta_.Lookup(kRoot, "lost+found");
  ASSERT_TRUE(home.ok());
  EXPECT_TRUE(meta_.Lookup(home->inode(), "#" + std::to_string(deep_)).ok());
  EXPECT_EQ(Attr(file_).nlink(), 1u);
}

TEST_F(NamespaceCheckTest, ADentryOfAnotherType) {
  Edit([&](OpContext& ctx) {
    Dentry dentry = DentryOf(dir_, "file");
    dentry.type = S_IFLNK;
    ctx.Put(DentryKey(InodeId(dir_), "file"), EncodeDentry(dentry));
  });
  EXPECT_THAT(Kinds(Check()), UnorderedElementsAre("WRONG_TYPE", "MISSING_DIRECTORY_ROW"));
  ExpectCleanAfterRepair();
}

TEST_F(NamespaceCheckTest, ADentryWithoutItsRowInReaddirOrder) {
  const Dentry dentry = DentryOf(dir_, "file");
  Edit([&](OpContext& ctx) { ctx.Delete(DirectoryKey(InodeId(dir_), dentry.cookie)); });
  EXPECT_THAT(Kinds(Check()), ElementsAre("MISSING_DIRECTORY_ROW"));
  ExpectCleanAfterRepair();
  EXPECT_EQ(meta_.List(dir_)->size(), 3u);
}

TEST_F(NamespaceCheckTest, TwoDentriesWithOneCookie) {
  const Dentry first = DentryOf(dir_, "file");
  Edit([&](OpContext& ctx) {
    Dentry second = DentryOf(dir_, "sub");
    ctx.Delete(DirectoryKey(InodeId(dir_), second.cookie));
    second.cookie = first.cookie;
    ctx.Put(DentryKey(InodeId(dir_), "sub"), EncodeDentry(second));
  });
  EXPECT_THAT(Kinds(Check()), ElementsAre("MISSING_DIRECTORY_ROW"));
  ExpectCleanAfterRepair();
  EXPECT_EQ(meta_.List(dir_)->size(), 3u);
}

TEST_F(NamespaceCheckTest, ARowInReaddirOrderWithoutItsDentry) {
  Edit([&](OpContext& ctx) {
    ctx.Put(DirectoryKey(InodeId(dir_), 4000),
            EncodeDirectoryEntry({.inode = InodeId(file_), .type = S_IFREG, .name = "ghost"}));
  });
  EXPECT_THAT(Kinds(Check()), ElementsAre("STRAY_DIRECTORY_ROW"));
  ExpectCleanAfterRepair();
  EXPECT_EQ(meta_.List(dir_)->size(), 3u);
}

TEST_F(NamespaceCheckTest, CountersOfADirectory) {
  EditInode(dir_, [](Inode& inode) {
    inode.entries = 7;
    inode.nlink = 9;
    inode.next_cookie = 4;
  });
  EXPECT_THAT(Kinds(Check()),
              UnorderedElementsAre("WRONG_ENTRY_COUNT", "WRONG_LINKS", "WRONG_NEXT_COOKIE"));
  ExpectCleanAfterRepair();
  EXPECT_EQ(Attr(dir_).nlink(), 3u);
}

TEST_F(NamespaceCheckTest, CountersOfADirectoryWithNothingInIt) {
  const uint64_t empty = MakeDir(kRoot, "empty");
  EditInode(empty, [](Inode& inode) { inode.entries = 1; });
  EXPECT_THAT(Kinds(Check()), ElementsAre("WRONG_ENTRY_COUNT"));
  ExpectCleanAfterRepair();
  EXPECT_TRUE(meta_.Rmdir(kRoot, "empty").ok());
}

TEST_F(NamespaceCheckTest, LinksOfAFile) {
  EditInode(file_, [](Inode& inode) { inode.nlink = 5; });
  const auto findings = Check();
  EXPECT_THAT(Kinds(findings), ElementsAre("WRONG_LINKS"));
  EXPECT_THAT(findings[0].text(), HasSubstr("counts 5 links, should be 2"));
  ExpectCleanAfterRepair();
  EXPECT_EQ(Attr(file_).nlink(), 2u);
}

TEST_F(NamespaceCheckTest, ADirectoryThatNamesAnotherParent) {
  EditInode(sub_, [](Inode& inode) { inode.parent = kRootInode; });
  EXPECT_THAT(Kinds(Check()), ElementsAre("WRONG_PARENT"));
  ExpectCleanAfterRepair();
  EXPECT_EQ(Attr(sub_).parent(), dir_);
}

TEST_F(NamespaceCheckTest, ADirectoryWithASecondName) {
  Edit([&](OpContext& ctx) {
    ctx.Put(DentryKey(kRootInode, "twin"),
            EncodeDentry({.inode = InodeId(sub_), .type = S_IFDIR, .cookie = 900}));
    ctx.Put(DirectoryKey(kRootInode, 900),
            EncodeDirectoryEntry({.inode = InodeId(sub_), .type = S_IFDIR, .name = "twin"}));
  });
  EXPECT_THAT(Kinds(Check()), UnorderedElementsAre("WRONG_ENTRY_COUNT", "WRONG_LINKS",
                                                   "WRONG_NEXT_COOKIE", "EXTRA_LINK"));
  ExpectCleanAfterRepair();
  EXPECT_EQ(CodeOf(meta_.Lookup(kRoot, "twin")), Code::kNotFound);
  EXPECT_TRUE(meta_.Lookup(dir_, "sub").ok());
}

TEST_F(NamespaceCheckTest, DirectoriesThatLieInOneAnother) {
  const uint64_t low = MakeDir(sub_, "low");
  // dir/sub/low, and dir now lies in low.
  Edit([&](OpContext& ctx) {
    const Dentry dentry = DentryOf(kRoot, "dir");
    ctx.Delete(DentryKey(kRootInode, "dir"));
    ctx.Delete(DirectoryKey(kRootInode, dentry.cookie));
    ctx.Put(DentryKey(InodeId(low), "dir"),
            EncodeDentry({.inode = InodeId(dir_), .type = S_IFDIR, .cookie = 3}));
    ctx.Put(DirectoryKey(InodeId(low), 3),
            EncodeDirectoryEntry({.inode = InodeId(dir_), .type = S_IFDIR, .name = "dir"}));
  });
  EditInode(kRoot, [](Inode& inode) { --inode.entries, --inode.nlink; });
  EditInode(low, [](Inode& inode) { ++inode.entries, ++inode.nlink, ++inode.next_cookie; });
  EditInode(dir_, [&](Inode& inode) { inode.parent = InodeId(low); });
  EXPECT_THAT(Kinds(Check()), ElementsAre("DIRECTORY_LOOP"));
  ExpectCleanAfterRepair();
  const auto home = meta_.Lookup(kRoot, "lost+found");
  ASSERT_TRUE(home.ok());
  EXPECT_EQ(meta_.List(home->inode())->size(), 1u);
}

TEST_F(NamespaceCheckTest, AnInodeWithoutAName) {
  const uint64_t lost = MakeFile(dir_, "lost");
  Edit([&](OpContext& ctx) {
    const Dentry dentry = DentryOf(dir_, "lost");
    ctx.Delete(DentryKey(InodeId(dir_), "lost"));
    ctx.Delete(DirectoryKey(InodeId(dir_), dentry.cookie));
  });
  EXPECT_THAT(Kinds(Check()), UnorderedElementsAre("WRONG_ENTRY_COUNT", "UNREACHABLE_INODE"));
  ExpectCleanAfterRepair();
  const auto home = meta_.Lookup(kRoot, "lost+found");
  ASSERT_TRUE(home.ok());
  EXPECT_EQ(meta_.Lookup(home->inode(), "#" + std::to_string(lost))->inode(), lost);
}

TEST_F(NamespaceCheckTest, ADirectoryWithoutAName) {
  Edit([&](OpContext& ctx) {
    const Dentry dentry = DentryOf(dir_, "sub");
    ctx.Delete(DentryKey(InodeId(dir_), "sub"));
    ctx.Delete(DirectoryKey(InodeId(dir_), dentry.cookie));
  });
  ExpectCleanAfterRepair();
  const auto home = meta_.Lookup(kRoot, "lost+found");
  ASSERT_TRUE(home.ok());
  EXPECT_EQ(Attr(sub_).parent(), home->inode());
  EXPECT_TRUE(meta_.Lookup(sub_, "deep").ok());
}

TEST_F(NamespaceCheckTest, ARemovedInodeThatIsNotInTheQueue) {
  const uint64_t epoch = EpochOf(removed_, Removal::Kind::kInode);
  Edit([&](OpContext& ctx) { ctx.Delete(RemovalKey(RemovalEpoch(epoch))); });
  EXPECT_THAT(Kinds(Check()), ElementsAre("LOST_REMOVAL"));
  ExpectCleanAfterRepair();
  EXPECT_NE(EpochOf(removed_, Removal::Kind::kInode), epoch);
}

TEST_F(NamespaceCheckTest, ALivingInodeInTheQueue) {
  Edit([&](OpContext& ctx) {
    ctx.Put(RemovalKey(RemovalEpoch(5000)),
            EncodeRemoval({.kind = Removal::Kind::kInode, .inode = InodeId(file_)}));
  });
  EXPECT_THAT(Kinds(Check()), ElementsAre("QUEUED_LIVE_INODE"));
  ExpectCleanAfterRepair();
}

TEST_F(NamespaceCheckTest, LivingDataInTheQueue) {
  const proto::Attr attr = Attr(file_);
  Edit([&](OpContext& ctx) {
    ctx.Put(RemovalKey(RemovalEpoch(5000)), EncodeRemoval({.kind = Removal::Kind::kData,
                                                           .inode = InodeId(file_),
                                                           .data_id = DataId(attr.data_id())}));
  });
  EXPECT_THAT(Kinds(Check()), ElementsAre("QUEUED_LIVE_DATA"));
  ExpectCleanAfterRepair();
}

TEST_F(NamespaceCheckTest, AnIntentOfBytesThatAreGone) {
  Edit([&](OpContext& ctx) {
    ctx.Put(TruncateIntentKey(InodeId(file_)),
            EncodeTruncateIntent({.data_id = DataId(4444), .keep_bytes = 1, .old_bytes = 2}));
    ctx.Put(TruncateIntentKey(InodeId(88888)),
            EncodeTruncateIntent({.data_id = DataId(4444), .keep_bytes = 1, .old_bytes = 2}));
  });
  EXPECT_THAT(Kinds(Check()), ElementsAre("STALE_INTENT", "STALE_INTENT"));
  ExpectCleanAfterRepair();
  EXPECT_EQ(kv_.Rows("T").size(), 1u);  // the one that is wanted
}

TEST_F(NamespaceCheckTest, WritersOfAFile) {
  EditInode(file_, [](Inode& inode) { inode.writers = 3; });
  EXPECT_THAT(Kinds(Check()), ElementsAre("WRONG_WRITERS"));
  ExpectCleanAfterRepair();
}

TEST_F(NamespaceCheckTest, RowsOfASessionThatIsGone) {
  Edit([&](OpContext& ctx) {
    ctx.Put(WriteOpenKey(Incarnation(700), InodeId(file_)), EncodeWriteOpen({.count = 1}));
    ctx.Put(ResultKey(Incarnation(700), 1), EncodeResult({.lowest_outstanding = 1}));
    ctx.Put(ResultKey(Incarnation(700), 2), EncodeResult({.lowest_outstanding = 1}));
  });
  EditInode(file_, [](Inode& inode) { inode.writers = 1; });
  EXPECT_THAT(Kinds(Check()), ElementsAre("DEAD_WRITE_OPEN", "DEAD_RESULTS", "WRONG_WRITERS"));
  ExpectCleanAfterRepair();
}

TEST_F(NamespaceCheckTest, XattrsOfAnInodeThatIsGone) {
  Edit([&](OpContext& ctx) {
    ctx.Put(XattrKey(InodeId(88888), "user.a"), "1");
    ctx.Put(XattrKey(InodeId(88888), "user.b"), "2");
  });
  EXPECT_THAT(Kinds(Check()), ElementsAre("ORPHAN_XATTRS"));
  ExpectCleanAfterRepair();
}

TEST_F(NamespaceCheckTest, Totals) {
  Edit([&](OpContext& ctx) {
    ctx.Put(UsageKey(), EncodeUsage({.inodes = 1000, .bytes = 5}));
    ctx.Put(ProjectUsageKey(77), EncodeUsage({.inodes = 1, .bytes = 1}));
  });
  EXPECT_THAT(Kinds(Check()), ElementsAre("WRONG_USAGE", "WRONG_USAGE"));
  // What goes on between finding and repair is kept.
  const auto findings = Check();
  MakeFile(dir_, "meanwhile");
  for (const proto::Finding& finding : findings) EXPECT_TRUE(Repair(finding).value());
  EXPECT_THAT(Kinds(Check()), IsEmpty());
  EXPECT_EQ(meta_.TotalUsage().inodes, 7u);
}

TEST_F(NamespaceCheckTest, NumbersThatWouldBeGivenOutAgain) {
  Edit([&](OpContext& ctx) { ctx.Put(AllocatorKey(Sequence::kDataId), EncodeCounter(1)); });
  EXPECT_THAT(Kinds(Check()), ElementsAre("WRONG_ALLOCATOR"));
  ExpectCleanAfterRepair();
}

TEST_F(NamespaceCheckTest, ARowThatDoesNotDecodeIsNamedAndLeft) {
  Edit([&](OpContext& ctx) { ctx.Put(DentryKey(InodeId(dir_), "bad"), "\x01garbage\xff"); });
  const auto findings = Check();
  EXPECT_THAT(Kinds(findings), ElementsAre("BAD_ROW"));
  EXPECT_FALSE(findings[0].repairable());
  EXPECT_THAT(Kinds(RepairAll()), ElementsAre("BAD_ROW"));
}

TEST_F(NamespaceCheckTest, AFileOnAChainTableThatIsGone) {
  EditInode(file_, [](Inode& inode) { inode.layout.table_version = 99; });
  EXPECT_THAT(Kinds(Check()), ElementsAre("MISSING_TABLE"));
}

TEST_F(NamespaceCheckTest, ARepairLeavesAloneWhatHasChanged) {
  EditInode(file_, [](Inode& inode) { inode.nlink = 5; });
  const auto findings = Check();
  ASSERT_EQ(findings.size(), 1u);
  ASSERT_TRUE(meta_.Link(file_, dir_, "third name").ok());
  EXPECT_FALSE(Repair(findings[0]).value());
  EXPECT_EQ(Attr(file_).nlink(), 6u);
  ExpectCleanAfterRepair();
  EXPECT_EQ(Attr(file_).nlink(), 3u);
}

TEST_F(NamespaceCheckTest, ADanglingNameThatIsAnotherFilesByNowIsKept) {
  const uint64_t lost = MakeFile(dir_, "name");
  Edit([&](OpContext& ctx) { ctx.Delete(InodeKey(InodeId(lost))); });
  const auto findings = Check();
  Edit([&](OpContext& ctx) {
    Dentry dentry = DentryOf(dir_, "name");
    dentry.inode = InodeId(file_);
    ctx.Put(DentryKey(InodeId(dir_), "name"), EncodeDentry(dentry));
  });
  for (const proto::Finding& finding : findings) {
    if (finding.kind() == proto::DANGLING_DENTRY) {
      EXPECT_FALSE(Repair(finding).value());
    }
  }
  EXPECT_TRUE(meta_.Lookup(dir_, "name").ok());
}

TEST_F(NamespaceCheckTest, ReadsOneStateWhateverGoesOn) {
  NamespaceCheck check(meta_.executor().Committed(), 2);
  for (int i = 0; !check.done(); ++i) {
    ASSERT_TRUE(check.Step(1).ok());
    const std::string name = "n" + std::to_string(i);
    const uint64_t made = MakeFile(dir_, name);
    if (i % 3 == 0) {
      ASSERT_TRUE(meta_.Unlink(dir_, name).ok());
    } else if (i % 3 == 1) {
      ASSERT_TRUE(meta_.Rename(dir_, name, sub_, name).ok());
    } else {
      ASSERT_TRUE(meta_.Link(made, sub_, name).ok());
    }
  }
  EXPECT_THAT(check.TakeFindings(), IsEmpty());
  EXPECT_THAT(Kinds(Check()), IsEmpty());
}

}  // namespace
}  // namespace sheaf::meta
