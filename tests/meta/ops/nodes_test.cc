// Mkdir, Mknod, Symlink, Readlink, Link, Unlink, Rmdir, Lookup.

#include "meta/schema/keys.h"
#include "tests/meta/ops/ops_test.h"

namespace sheaf::meta {
namespace {

class NodesTest : public OpsTest {
 protected:
  void SetLinks(uint64_t inode, uint32_t nlink) {
    ASSERT_TRUE(meta_
                    .Run([=](OpContext& ctx) -> Status {
                      ASSIGN_OR_RETURN(const auto row, ctx.Get(InodeKey(InodeId(inode))));
                      CHECK(row.has_value(), "no inode " + std::to_string(inode));
                      ASSIGN_OR_RETURN(Inode loaded, DecodeInode(InodeId(inode), *row));
                      loaded.nlink = nlink;
                      ctx.Put(InodeKey(loaded.id), EncodeInode(loaded));
                      return Status::Ok();
                    })
                    .ok());
  }
};

TEST_F(NodesTest, MkdirLinksParentAndChild) {
  const uint64_t before = Attr(kRoot).nlink();
  const auto made = meta_.Mkdir(kRoot, "d", 07777);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->mode(), uint32_t{S_IFDIR | 01777});
  EXPECT_EQ(made->nlink(), 2u);
  EXPECT_EQ(made->parent(), kRoot);
  EXPECT_EQ(Attr(kRoot).nlink(), before + 1);
}

TEST_F(NodesTest, MkdirRefusesTooManyLinksAndTooDeep) {
  const uint64_t full = MakeDir(kRoot, "full");
  SetLinks(full, kMaxLinks);
  EXPECT_EQ(CodeOf(meta_.Mkdir(full, "x")), Code::kTooManyLinks);

  uint64_t at = kRoot;
  for (uint32_t depth = 0; depth < kMaxDirectoryDepth; ++depth) at = MakeDir(at, "d");
  EXPECT_EQ(CodeOf(meta_.Mkdir(at, "d")), Code::kNameTooLong);
  EXPECT_TRUE(meta_.Create(at, "f").ok());
  MakeDir(kRoot, "other");
  EXPECT_EQ(CodeOf(meta_.Rename(kRoot, "other", at, "o")), Code::kNameTooLong);
}

TEST_F(NodesTest, MknodMakesEachType) {
  EXPECT_EQ(meta_.Mknod(kRoot, "r", 0600)->mode(), uint32_t{S_IFREG | 0600});
  EXPECT_NE(meta_.Mknod(kRoot, "r2", S_IFREG | 0600)->data_id(), 0u);
  EXPECT_EQ(meta_.Mknod(kRoot, "p", S_IFIFO | 0600)->mode(), uint32_t{S_IFIFO | 0600});
  EXPECT_EQ(meta_.Mknod(kRoot, "s", S_IFSOCK | 0600)->mode(), uint32_t{S_IFSOCK | 0600});
  EXPECT_EQ(meta_.Mknod(kRoot, "c", S_IFCHR | 0600, 0x103)->rdev(), 0x103u);
  EXPECT_EQ(CodeOf(meta_.Mknod(kRoot, "d", S_IFDIR | 0600)), Code::kNotPermitted);
  EXPECT_EQ(CodeOf(meta_.Mknod(kRoot, "l", S_IFLNK | 0600)), Code::kInvalid);
}

TEST_F(NodesTest, OnlyTheSuperuserMakesDevices) {
  const uint64_t dir = MakePublic("d");
  meta_.ActAs(kAlice, kAlice);
  EXPECT_EQ(CodeOf(meta_.Mknod(dir, "c", S_IFCHR | 0600, 1)), Code::kNotPermitted);
  EXPECT_EQ(CodeOf(meta_.Mknod(dir, "b", S_IFBLK | 0600, 1)), Code::kNotPermitted);
  EXPECT_TRUE(meta_.Mknod(dir, "p", S_IFIFO | 0600).ok());
}

TEST_F(NodesTest, SymlinkKeepsItsTarget) {
  const auto link = meta_.Symlink(kRoot, "l", "../x y");
  ASSERT_TRUE(link.ok());
  EXPECT_EQ(link->mode(), uint32_t{S_IFLNK | 0777});
  EXPECT_EQ(link->size(), 6u);
  EXPECT_EQ(*meta_.Readlink(link->inode()), "../x y");
  EXPECT_EQ(CodeOf(meta_.Symlink(kRoot, "e", "")), Code::kNotFound);
  EXPECT_EQ(CodeOf(meta_.Symlink(kRoot, "n", std::string("a\0b", 3))), Code::kInvalid);
  EXPECT_TRUE(meta_.Symlink(kRoot, "m", std::string(4095, 'x')).ok());
  EXPECT_EQ(CodeOf(meta_.Symlink(kRoot, "t", std::string(4096, 'x'))), Code::kNameTooLong);
  EXPECT_EQ(CodeOf(meta_.Readlink(MakeFile(kRoot, "f"))), Code::kInvalid);
}

TEST_F(NodesTest, LinkAddsANameAndUnlinkTakesOne) {
  const uint64_t file = MakeFile(kRoot, "f");
  Tick();
  const auto linked = meta_.Link(file, kRoot, "g");
  ASSERT_TRUE(linked.ok());
  EXPECT_EQ(linked->nlink(), 2u);
  EXPECT_EQ(linked->ctime_ns(), clock_.WallNanos());
  EXPECT_EQ(meta_.Lookup(kRoot, "g")->inode(), file);

  const auto unlinked = meta_.Unlink(kRoot, "f");
  ASSERT_TRUE(unlinked.ok());
  EXPECT_EQ(unlinked->nlink(), 1u);
  EXPECT_TRUE(meta_.Removals()->empty());
  EXPECT_EQ(CodeOf(meta_.Lookup(kRoot, "f")), Code::kNotFound);
  EXPECT_EQ(meta_.Lookup(kRoot, "g")->nlink(), 1u);
}

TEST_F(NodesTest, LinkRefusesDirectoriesFullAndUnlinkedInodes) {
  const uint64_t dir = MakeDir(kRoot, "d");
  EXPECT_EQ(CodeOf(meta_.Link(dir, kRoot, "e")), Code::kNotPermitted);
  const uint64_t file = MakeFile(kRoot, "f");
  EXPECT_EQ(CodeOf(meta_.Link(file, kRoot, "d")), Code::kExists);
  SetLinks(file, kMaxLinks);
  EXPECT_EQ(CodeOf(meta_.Link(file, kRoot, "g")), Code::kTooManyLinks);
  SetLinks(file, 1);
  ASSERT_TRUE(meta_.Unlink(kRoot, "f").ok());
  EXPECT_EQ(CodeOf(meta_.Link(file, kRoot, "g")), Code::kNotFound);
}

TEST_F(NodesTest, LastUnlinkQueuesTheInodeAndKeepsItsRow) {
  const uint64_t file = MakeFile(kRoot, "f");
  ASSERT_TRUE(meta_.Fsync(file, 1, 5000).ok());
  const Usage before = meta_.TotalUsage();
  ASSERT_EQ(meta_.Unlink(kRoot, "f")->nlink(), 0u);

  EXPECT_EQ(Attr(file).nlink(), 0u) << "an open handle still sees it";
  const auto removals = *meta_.Removals();
  ASSERT_EQ(removals.size(), 1u);
  EXPECT_EQ(removals[0].kind, Removal::Kind::kInode);
  EXPECT_EQ(removals[0].inode.value(), file);
  EXPECT_EQ(removals[0].size, 5000u);
  EXPECT_EQ(meta_.TotalUsage().inodes, before.inodes - 1);
  EXPECT_EQ(meta_.TotalUsage().bytes, before.bytes - 5000);
}

TEST_F(NodesTest, UnlinkAndRmdirKeepToTheirTypes) {
  MakeDir(kRoot, "d");
  MakeFile(kRoot, "f");
  EXPECT_EQ(CodeOf(meta_.Unlink(kRoot, "d")), Code::kIsDirectory);
  EXPECT_EQ(CodeOf(meta_.Rmdir(kRoot, "f")), Code::kNotDirectory);
  EXPECT_EQ(CodeOf(meta_.Unlink(kRoot, "none")), Code::kNotFound);
  EXPECT_EQ(CodeOf(meta_.Rmdir(kRoot, "none")), Code::kNotFound);
  EXPECT_EQ(CodeOf(meta_.Rmdir(kRoot, ".")), Code::kInvalid);
  EXPECT_EQ(CodeOf(meta_.Rmdir(kRoot, "..")), Code::kNotEmpty);
}

TEST_F(NodesTest, RmdirNeedsAnEmptyDirectory) {
  const uint64_t dir = MakeDir(kRoot, "d");
  const uint64_t links = Attr(kRoot).nlink();
  MakeFile(dir, "f");
  EXPECT_EQ(CodeOf(meta_.Rmdir(kRoot, "d")), Code::kNotEmpty);
  ASSERT_TRUE(meta_.Unlink(dir, "f").ok());
  ASSERT_TRUE(meta_.Rmdir(kRoot, "d").ok());
  EXPECT_EQ(Attr(kRoot).nlink(), links - 1);
  EXPECT_EQ(Attr(dir).nlink(), 0u);
}

TEST_F(NodesTest, StickyDirectoriesProtectOthersFiles) {
  const uint64_t dir = MakePublic("tmp", 01777);
  meta_.ActAs(kAlice, kAlice);
  MakeFile(dir, "a");
  MakeDir(dir, "d");
  meta_.ActAs(kBob, kBob);
  EXPECT_EQ(CodeOf(meta_.Unlink(dir, "a")), Code::kNotPermitted);
  EXPECT_EQ(CodeOf(meta_.Rmdir(dir, "d")), Code::kNotPermitted);
  EXPECT_EQ(CodeOf(meta_.Rename(dir, "a", dir, "b")), Code::kNotPermitted);
  MakeFile(dir, "mine");
  EXPECT_EQ(CodeOf(meta_.Rename(dir, "mine", dir, "a")), Code::kNotPermitted);
  meta_.ActAs(kAlice, kAlice);
  EXPECT_TRUE(meta_.Unlink(dir, "a").ok());
}

TEST_F(NodesTest, LookupKnowsDotsAndNeedsExecute) {
  const uint64_t dir = MakeDir(kRoot, "d");
  const uint64_t sub = MakeDir(dir, "s");
  EXPECT_EQ(meta_.Lookup(sub, ".")->inode(), sub);
  EXPECT_EQ(meta_.Lookup(sub, "..")->inode(), dir);
  EXPECT_EQ(meta_.Lookup(kRoot, "..")->inode(), kRoot);
  EXPECT_EQ(CodeOf(meta_.Lookup(kRoot, std::string(256, 'x'))), Code::kNameTooLong);
  ASSERT_TRUE(meta_.Chmod(dir, 0700).ok());
  meta_.ActAs(kAlice, kAlice);
  EXPECT_EQ(CodeOf(meta_.Lookup(dir, "s")), Code::kAccess);
}

TEST_F(NodesTest, TooManyGroupsAreRefused) {
  meta_.ActAs(kAlice, kAlice, std::vector<uint32_t>(1025, 5));
  EXPECT_EQ(CodeOf(meta_.Lookup(kRoot, "x")), Code::kInvalid);
}

}  // namespace
}  // namespace sheaf::meta
