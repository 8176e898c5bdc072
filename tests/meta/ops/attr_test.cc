// SetAttr, xattrs, ReadDir, StatFs.

#include <sys/xattr.h>

#include <set>

#include "common/layout.h"
#include "tests/meta/ops/ops_test.h"

namespace sheaf::meta {
namespace {

class AttrTest : public OpsTest {
 protected:
  // Alice's file in a public directory.
  uint64_t MakeAlices(uint32_t mode = 0644) {
    const uint64_t dir = MakePublic("alices");
    meta_.ActAs(kAlice, kAlice, {500});
    const uint64_t file = MakeFile(dir, "f", mode);
    return file;
  }
};

TEST_F(AttrTest, ChmodIsTheOwners) {
  const uint64_t file = MakeAlices();
  Tick();
  const auto changed = meta_.Chmod(file, 0600);
  ASSERT_TRUE(changed.ok());
  EXPECT_EQ(changed->mode(), uint32_t{S_IFREG | 0600});
  EXPECT_EQ(changed->ctime_ns(), clock_.WallNanos());
  EXPECT_LT(changed->mtime_ns(), clock_.WallNanos());
  meta_.ActAs(kBob, kBob);
  EXPECT_EQ(CodeOf(meta_.Chmod(file, 0666)), Code::kNotPermitted);
}

TEST_F(AttrTest, ChmodDropsSetGroupIdForAForeignGroup) {
  const uint64_t file = MakeAlices();
  EXPECT_EQ(meta_.Chmod(file, 02755)->mode() & 07777, 02755u);
  meta_.ActAs(0, 0);
  ASSERT_TRUE(meta_.Chown(file, std::nullopt, 900).ok());
  meta_.ActAs(kAlice, kAlice);
  EXPECT_EQ(meta_.Chmod(file, 02755)->mode() & 07777, 0755u);
}

TEST_F(AttrTest, ChownRules) {
  const uint64_t file = MakeAlices();
  EXPECT_EQ(CodeOf(meta_.Chown(file, kBob, std::nullopt)), Code::kNotPermitted);
  EXPECT_TRUE(meta_.Chown(file, kAlice, std::nullopt).ok()) << "no change";
  EXPECT_TRUE(meta_.Chown(file, std::nullopt, 500).ok()) << "a group she is in";
  EXPECT_EQ(CodeOf(meta_.Chown(file, std::nullopt, 501)), Code::kNotPermitted);
  meta_.ActAs(kBob, 500);
  EXPECT_EQ(CodeOf(meta_.Chown(file, std::nullopt, 500)), Code::kNotPermitted);
  meta_.ActAs(0, 0);
  EXPECT_EQ(meta_.Chown(file, kBob, 501)->uid(), kBob);
}

TEST_F(AttrTest, ChownDropsSetUserId) {
  const uint64_t file = MakeFile(kRoot, "f");
  ASSERT_TRUE(meta_.Chmod(file, 06755).ok());
  EXPECT_EQ(meta_.Chown(file, kBob, std::nullopt)->mode() & 07777, 0755u);
  const uint64_t dir = MakeDir(kRoot, "d");
  ASSERT_TRUE(meta_.Chmod(dir, 02755).ok());
  EXPECT_EQ(meta_.Chown(dir, kBob, std::nullopt)->mode() & 07777, 02755u);
}

TEST_F(AttrTest, ChosenTimesAreTheOwnersAndNowAnyWriters) {
  const uint64_t file = MakeAlices(0666);
  proto::SetAttrRequest chosen;
  chosen.set_atime_ns(-5);
  chosen.set_mtime_ns(123456789);
  Tick();
  const auto set = meta_.SetAttr(file, chosen);
  ASSERT_TRUE(set.ok());
  EXPECT_EQ(set->atime_ns(), -5);
  EXPECT_EQ(set->mtime_ns(), 123456789);
  EXPECT_EQ(set->ctime_ns(), clock_.WallNanos());
  proto::SetAttrRequest now;
  now.set_atime_now(true);
  now.set_mtime_now(true);
  meta_.ActAs(kBob, kBob);
  EXPECT_EQ(CodeOf(meta_.SetAttr(file, chosen)), Code::kNotPermitted);
  EXPECT_EQ(meta_.SetAttr(file, now)->mtime_ns(), clock_.WallNanos());
  meta_.ActAs(0, 0);
  ASSERT_TRUE(meta_.Chmod(file, 0644).ok());
  meta_.ActAs(kBob, kBob);
  EXPECT_EQ(CodeOf(meta_.SetAttr(file, now)), Code::kAccess);
}

TEST_F(AttrTest, SymbolicLinksHaveNoModeToSet) {
  const uint64_t link = meta_.Symlink(kRoot, "l", "x")->inode();
  EXPECT_EQ(CodeOf(meta_.Chmod(link, 0600)), Code::kUnsupported);
  EXPECT_TRUE(meta_.Chown(link, kBob, std::nullopt).ok());
}

TEST_F(AttrTest, ProjectsMoveTheirUsage) {
  const uint64_t file = MakeFile(kRoot, "f");
  ASSERT_TRUE(meta_.Fsync(file, 1, 300).ok());
  proto::SetAttrRequest request;
  request.set_project_id(4);
  meta_.ActAs(kAlice, kAlice);
  EXPECT_EQ(CodeOf(meta_.SetAttr(file, request)), Code::kNotPermitted);
  meta_.ActAs(0, 0);
  const Usage before = meta_.TotalUsage();
  EXPECT_EQ(meta_.SetAttr(file, request)->project_id(), 4u);
  EXPECT_EQ(meta_.TotalUsage(), before);
}

TEST_F(AttrTest, EveryChangeRaisesTheVersion) {
  const uint64_t file = MakeFile(kRoot, "f");
  const uint64_t first = Attr(file).version();
  EXPECT_GT(meta_.Chmod(file, 0600)->version(), first);
}

TEST_F(AttrTest, XattrsSetGetListRemove) {
  const uint64_t file = MakeFile(kRoot, "f");
  const std::string binary("a\0b", 3);
  ASSERT_TRUE(meta_.SetXattr(file, "user.b", binary).ok());
  ASSERT_TRUE(meta_.SetXattr(file, "user.a", "").ok());
  EXPECT_EQ(*meta_.GetXattr(file, "user.b"), binary);
  EXPECT_EQ(*meta_.GetXattr(file, "user.a"), "");
  EXPECT_EQ(*meta_.ListXattr(file), (std::vector<std::string>{"user.a", "user.b"}));
  ASSERT_TRUE(meta_.RemoveXattr(file, "user.a").ok());
  EXPECT_EQ(CodeOf(meta_.GetXattr(file, "user.a")), Code::kNoData);
  EXPECT_EQ(CodeOf(meta_.RemoveXattr(file, "user.a")), Code::kNoData);
}

TEST_F(AttrTest, XattrFlags) {
  const uint64_t file = MakeFile(kRoot, "f");
  EXPECT_EQ(CodeOf(meta_.SetXattr(file, "user.a", "1", XATTR_REPLACE)), Code::kNoData);
  EXPECT_TRUE(meta_.SetXattr(file, "user.a", "1", XATTR_CREATE).ok());
  EXPECT_EQ(CodeOf(meta_.SetXattr(file, "user.a", "2", XATTR_CREATE)), Code::kExists);
  EXPECT_TRUE(meta_.SetXattr(file, "user.a", "2", XATTR_REPLACE).ok());
  EXPECT_EQ(CodeOf(meta_.SetXattr(file, "user.a", "2", 3)), Code::kInvalid);
  EXPECT_EQ(CodeOf(meta_.SetXattr(file, "user.a", "2", 4)), Code::kInvalid);
}

TEST_F(AttrTest, XattrLimits) {
  const uint64_t file = MakeFile(kRoot, "f");
  EXPECT_TRUE(meta_.SetXattr(file, "user.a", std::string(65536, 'x')).ok());
  EXPECT_EQ(CodeOf(meta_.SetXattr(file, "user.a", std::string(65537, 'x'))), Code::kTooBig);
  EXPECT_EQ(CodeOf(meta_.SetXattr(file, "", "v")), Code::kRange);
  EXPECT_EQ(CodeOf(meta_.SetXattr(file, "user." + std::string(251, 'x'), "v")), Code::kRange);
  EXPECT_TRUE(meta_.SetXattr(file, "user." + std::string(250, 'x'), "v").ok());
  EXPECT_EQ(CodeOf(meta_.SetXattr(file, "user.", "v")), Code::kInvalid);
  EXPECT_EQ(CodeOf(meta_.SetXattr(file, "nowhere.x", "v")), Code::kUnsupported);
  EXPECT_EQ(CodeOf(meta_.SetXattr(file, "system.posix_acl_access", "v")), Code::kUnsupported);
}

TEST_F(AttrTest, XattrNamesOfOneInodeAreLimited) {
  const uint64_t file = MakeFile(kRoot, "f");
  Status last;
  int set = 0;
  for (; last.ok() && set < 300; ++set) {
    std::string name = "user." + std::to_string(set);
    name.resize(255, 'x');
    last = meta_.SetXattr(file, name, "v");
  }
  EXPECT_EQ(CodeOf(last), Code::kNoSpace);
  EXPECT_EQ(set, 257);
}

TEST_F(AttrTest, XattrNamespacesHaveTheirRules) {
  const uint64_t file = MakeAlices(0644);
  EXPECT_TRUE(meta_.SetXattr(file, "user.a", "v").ok());
  EXPECT_EQ(CodeOf(meta_.SetXattr(file, "trusted.a", "v")), Code::kNotPermitted);
  EXPECT_EQ(CodeOf(meta_.SetXattr(file, "security.a", "v")), Code::kNotPermitted);
  meta_.ActAs(0, 0);
  EXPECT_TRUE(meta_.SetXattr(file, "trusted.a", "v").ok());
  EXPECT_TRUE(meta_.SetXattr(file, "security.a", "v").ok());
  meta_.ActAs(kBob, kBob);
  EXPECT_EQ(CodeOf(meta_.SetXattr(file, "user.a", "w")), Code::kAccess);
  EXPECT_EQ(*meta_.GetXattr(file, "user.a"), "v");
  EXPECT_EQ(*meta_.GetXattr(file, "security.a"), "v");
  EXPECT_EQ(CodeOf(meta_.GetXattr(file, "trusted.a")), Code::kNoData);
  EXPECT_EQ(*meta_.ListXattr(file), (std::vector<std::string>{"security.a", "user.a"}));
}

TEST_F(AttrTest, UserXattrsAreForFilesAndDirectories) {
  const uint64_t link = meta_.Symlink(kRoot, "l", "x")->inode();
  EXPECT_EQ(CodeOf(meta_.SetXattr(link, "user.a", "v")), Code::kNotPermitted);
  EXPECT_EQ(CodeOf(meta_.GetXattr(link, "user.a")), Code::kNoData);
  EXPECT_TRUE(meta_.SetXattr(link, "trusted.a", "v").ok());
  const uint64_t sticky = MakePublic("tmp", 01777);
  meta_.ActAs(kAlice, kAlice);
  EXPECT_EQ(CodeOf(meta_.SetXattr(sticky, "user.a", "v")), Code::kNotPermitted);
}

TEST_F(AttrTest, ReadDirBeginsWithDotsAndKeepsOrder) {
  const uint64_t dir = MakeDir(kRoot, "d");
  for (const char* name : {"z", "a", "m"}) MakeFile(dir, name);
  proto::ReadDirRequest request;
  request.set_inode(dir);
  const auto page = meta_.Read(ReadDir, request);
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->entries_size(), 5);
  EXPECT_TRUE(page->end());
  EXPECT_EQ(page->entries(0).name(), ".");
  EXPECT_EQ(page->entries(0).cookie(), kDotCookie);
  EXPECT_EQ(page->entries(1).name(), "..");
  EXPECT_EQ(page->entries(1).inode(), kRoot);
  EXPECT_EQ(page->entries(2).name(), "z");
  EXPECT_EQ(page->entries(2).cookie(), kFirstCookie);
  EXPECT_FALSE(page->entries(2).has_attr());
}

TEST_F(AttrTest, ReadDirPagesAtEverySize) {
  const uint64_t dir = MakeDir(kRoot, "d");
  for (int i = 0; i < 7; ++i) MakeFile(dir, std::to_string(i));
  for (uint32_t page = 1; page <= 10; ++page) {
    const auto entries = meta_.List(dir, page);
    ASSERT_EQ(entries->size(), 7u) << "page of " << page;
    for (int i = 0; i < 7; ++i) EXPECT_EQ((*entries)[i].name(), std::to_string(i));
  }
}

TEST_F(AttrTest, ReadDirGoesOnWhereEntriesVanish) {
  const uint64_t dir = MakeDir(kRoot, "d");
  for (int i = 0; i < 20; ++i) MakeFile(dir, std::to_string(i));
  std::set<std::string> seen;
  proto::ReadDirRequest request;
  request.set_inode(dir);
  request.set_max_entries(3);
  for (bool end = false; !end;) {
    const auto page = meta_.Read(ReadDir, request);
    ASSERT_TRUE(page.ok());
    for (const auto& entry : page->entries()) {
      request.set_cookie(entry.cookie());
      if (entry.cookie() < kFirstCookie) continue;
      EXPECT_TRUE(seen.insert(entry.name()).second);
      ASSERT_TRUE(meta_.Unlink(dir, entry.name()).ok());
    }
    end = page->end();
  }
  EXPECT_EQ(seen.size(), 20u);
  EXPECT_TRUE(meta_.Rmdir(kRoot, "d").ok());
}

TEST_F(AttrTest, ReadDirPlusGivesAttributes) {
  const uint64_t dir = MakeDir(kRoot, "d");
  const uint64_t file = MakeFile(dir, "f");
  ASSERT_TRUE(meta_.Fsync(file, 1, 42).ok());
  const auto entries = meta_.List(dir, 0, /*plus=*/true);
  ASSERT_EQ(entries->size(), 1u);
  EXPECT_EQ(entries->front().attr().inode(), file);
  EXPECT_EQ(entries->front().attr().size(), 42u);
}

TEST_F(AttrTest, ReadDirChecksItsCaller) {
  EXPECT_EQ(CodeOf(meta_.List(MakeFile(kRoot, "f"))), Code::kNotDirectory);
  const uint64_t dir = MakePublic("d", 0711);
  meta_.ActAs(kAlice, kAlice);
  EXPECT_EQ(CodeOf(meta_.List(dir)), Code::kAccess);
}

TEST_F(AttrTest, StatFsShowsSpaceAndFiles) {
  MakeFile(kRoot, "f");
  const auto stats =
      StatFs(*meta_.executor().Committed(), {}, {.total_bytes = 10, .free_bytes = 4});
  ASSERT_TRUE(stats.ok());
  EXPECT_EQ(stats->total_bytes(), 10u);
  EXPECT_EQ(stats->free_bytes(), 4u);
  EXPECT_EQ(stats->files(), 1u);
  EXPECT_GT(stats->max_files(), 1u << 30);
}

}  // namespace
}  // namespace sheaf::meta
