#include <stdio.h>

#include "tests/meta/ops/ops_test.h"

namespace sheaf::meta {
namespace {

class RenameTest : public OpsTest {
 protected:
  uint64_t a_ = MakePublic("a");
  uint64_t b_ = MakePublic("b");
};

TEST_F(RenameTest, MovesAFileAndStampsAll) {
  const uint64_t file = MakeFile(a_, "f");
  Tick();
  const auto moved = meta_.Rename(a_, "f", b_, "g");
  ASSERT_TRUE(moved.ok()) << moved.status().ToString();
  EXPECT_EQ(moved->inode(), file);
  EXPECT_EQ(moved->replaced_inode(), 0u);
  EXPECT_EQ(CodeOf(meta_.Lookup(a_, "f")), Code::kNotFound);
  EXPECT_EQ(meta_.Lookup(b_, "g")->inode(), file);
  for (const uint64_t inode : {a_, b_}) EXPECT_EQ(Attr(inode).mtime_ns(), clock_.WallNanos());
  EXPECT_EQ(Attr(file).ctime_ns(), clock_.WallNanos());
  EXPECT_LT(Attr(file).mtime_ns(), clock_.WallNanos());
}

TEST_F(RenameTest, WithinADirectoryKeepsItsCount) {
  MakeFile(a_, "f");
  ASSERT_TRUE(meta_.Rename(a_, "f", a_, "g").ok());
  const auto entries = *meta_.List(a_);
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].name(), "g");
  EXPECT_EQ(Attr(a_).size(), 1u);
}

TEST_F(RenameTest, MovesADirectoryWithItsParentLink) {
  const uint64_t dir = MakeDir(a_, "d");
  ASSERT_TRUE(meta_.Rename(a_, "d", b_, "e").ok());
  EXPECT_EQ(Attr(a_).nlink(), 2u);
  EXPECT_EQ(Attr(b_).nlink(), 3u);
  EXPECT_EQ(meta_.Lookup(dir, "..")->inode(), b_);
}

TEST_F(RenameTest, ReplacesAFileAndQueuesIt) {
  const uint64_t file = MakeFile(a_, "f");
  const uint64_t victim = MakeFile(b_, "g");
  const auto moved = meta_.Rename(a_, "f", b_, "g");
  ASSERT_TRUE(moved.ok());
  EXPECT_EQ(moved->replaced_inode(), victim);
  EXPECT_EQ(meta_.Lookup(b_, "g")->inode(), file);
  EXPECT_EQ(Attr(victim).nlink(), 0u);
  ASSERT_EQ(meta_.Removals()->size(), 1u);
  EXPECT_EQ(meta_.List(b_)->size(), 1u);
}

TEST_F(RenameTest, ReplacesAnEmptyDirectoryOnly) {
  MakeDir(a_, "d");
  const uint64_t victim = MakeDir(b_, "e");
  MakeFile(victim, "f");
  EXPECT_EQ(CodeOf(meta_.Rename(a_, "d", b_, "e")), Code::kNotEmpty);
  ASSERT_TRUE(meta_.Unlink(victim, "f").ok());
  ASSERT_TRUE(meta_.Rename(a_, "d", b_, "e").ok());
  EXPECT_EQ(Attr(b_).nlink(), 3u);
  EXPECT_EQ(Attr(a_).nlink(), 2u);
  EXPECT_EQ(Attr(victim).nlink(), 0u);
}

TEST_F(RenameTest, TypesMustMatch) {
  MakeDir(a_, "d");
  MakeFile(a_, "f");
  EXPECT_EQ(CodeOf(meta_.Rename(a_, "d", a_, "f")), Code::kNotDirectory);
  EXPECT_EQ(CodeOf(meta_.Rename(a_, "f", a_, "d")), Code::kIsDirectory);
}

TEST_F(RenameTest, TwoNamesOfOneFileAreLeftAlone) {
  const uint64_t file = MakeFile(a_, "f");
  ASSERT_TRUE(meta_.Link(file, b_, "g").ok());
  ASSERT_TRUE(meta_.Rename(a_, "f", b_, "g").ok());
  EXPECT_TRUE(meta_.Lookup(a_, "f").ok());
  EXPECT_TRUE(meta_.Rename(a_, "f", a_, "f").ok());
  EXPECT_EQ(Attr(file).nlink(), 2u);
}

TEST_F(RenameTest, NoReplaceRefusesAnExistingName) {
  MakeFile(a_, "f");
  MakeFile(a_, "g");
  EXPECT_EQ(CodeOf(meta_.Rename(a_, "f", a_, "g", RENAME_NOREPLACE)), Code::kExists);
  EXPECT_TRUE(meta_.Rename(a_, "f", a_, "h", RENAME_NOREPLACE).ok());
}

TEST_F(RenameTest, ExchangesFileAndDirectory) {
  const uint64_t file = MakeFile(a_, "f");
  const uint64_t dir = MakeDir(b_, "d");
  MakeFile(dir, "kept");
  ASSERT_TRUE(meta_.Rename(a_, "f", b_, "d", RENAME_EXCHANGE).ok());
  EXPECT_EQ(meta_.Lookup(a_, "f")->inode(), dir);
  EXPECT_EQ(meta_.Lookup(b_, "d")->inode(), file);
  EXPECT_EQ(meta_.Lookup(dir, "..")->inode(), a_);
  EXPECT_EQ(Attr(a_).nlink(), 3u);
  EXPECT_EQ(Attr(b_).nlink(), 2u);
  EXPECT_TRUE(meta_.Removals()->empty());
  EXPECT_EQ(meta_.List(a_)->front().type(), uint32_t{S_IFDIR});
  EXPECT_EQ(CodeOf(meta_.Rename(a_, "f", b_, "none", RENAME_EXCHANGE)), Code::kNotFound);
}

TEST_F(RenameTest, ExchangesWithinADirectory) {
  const uint64_t f = MakeFile(a_, "f");
  const uint64_t g = MakeFile(a_, "g");
  ASSERT_TRUE(meta_.Rename(a_, "f", a_, "g", RENAME_EXCHANGE).ok());
  EXPECT_EQ(meta_.Lookup(a_, "f")->inode(), g);
  EXPECT_EQ(meta_.Lookup(a_, "g")->inode(), f);
  EXPECT_EQ(meta_.List(a_)->size(), 2u);
}

TEST_F(RenameTest, NoDirectoryGoesUnderItself) {
  const uint64_t sub = MakeDir(a_, "s");
  const uint64_t deep = MakeDir(sub, "t");
  EXPECT_EQ(CodeOf(meta_.Rename(kRoot, "a", sub, "x")), Code::kInvalid);
  EXPECT_EQ(CodeOf(meta_.Rename(kRoot, "a", a_, "x")), Code::kInvalid);
  EXPECT_EQ(CodeOf(meta_.Rename(kRoot, "a", deep, "x")), Code::kInvalid);
  EXPECT_EQ(CodeOf(meta_.Rename(sub, "t", kRoot, "a")), Code::kNotEmpty);
  EXPECT_EQ(CodeOf(meta_.Rename(a_, "s", kRoot, "a")), Code::kNotEmpty);
  EXPECT_EQ(CodeOf(meta_.Rename(sub, "t", kRoot, "a", RENAME_EXCHANGE)), Code::kInvalid);
  EXPECT_EQ(CodeOf(meta_.Rename(kRoot, "a", sub, "t", RENAME_EXCHANGE)), Code::kInvalid);
}

TEST_F(RenameTest, RequestsAreChecked) {
  MakeFile(a_, "f");
  EXPECT_EQ(CodeOf(meta_.Rename(a_, "f", a_, "g", 3)), Code::kInvalid);
  EXPECT_EQ(CodeOf(meta_.Rename(a_, "f", a_, "g", 4)), Code::kInvalid);
  EXPECT_EQ(CodeOf(meta_.Rename(a_, ".", a_, "g")), Code::kInvalid);
  EXPECT_EQ(CodeOf(meta_.Rename(a_, "f", a_, "..")), Code::kInvalid);
  EXPECT_EQ(CodeOf(meta_.Rename(a_, "none", a_, "g")), Code::kNotFound);
  EXPECT_EQ(CodeOf(meta_.Rename(a_, "f", a_, std::string(256, 'x'))), Code::kNameTooLong);
}

TEST_F(RenameTest, NeedsTheRightToWriteBothDirectories) {
  meta_.ActAs(kAlice, kAlice);
  MakeFile(a_, "f");
  meta_.ActAs(0, 0);
  ASSERT_TRUE(meta_.Chmod(b_, 0755).ok());
  meta_.ActAs(kAlice, kAlice);
  EXPECT_EQ(CodeOf(meta_.Rename(a_, "f", b_, "f")), Code::kAccess);
}

TEST_F(RenameTest, MovingADirectoryWritesItsDotDot) {
  MakeDir(a_, "d", 0755);  // the superuser's
  meta_.ActAs(kAlice, kAlice);
  EXPECT_TRUE(meta_.Rename(a_, "d", a_, "e").ok());
  EXPECT_EQ(CodeOf(meta_.Rename(a_, "e", b_, "e")), Code::kAccess);
}

TEST_F(RenameTest, ProjectsAreNotCrossed) {
  proto::SetAttrRequest request;
  request.set_project_id(9);
  ASSERT_TRUE(meta_.SetAttr(b_, request).ok());
  const uint64_t file = MakeFile(a_, "f");
  EXPECT_EQ(CodeOf(meta_.Rename(a_, "f", b_, "f")), Code::kCrossDevice);
  EXPECT_EQ(CodeOf(meta_.Link(file, b_, "f")), Code::kCrossDevice);
  EXPECT_EQ(meta_.Create(b_, "g")->attr().project_id(), 9u);
}

}  // namespace
}  // namespace sheaf::meta
