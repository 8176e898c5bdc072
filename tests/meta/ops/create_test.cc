#include <fcntl.h>

#include <set>

#include "common/layout.h"
#include "meta/schema/keys.h"
#include "tests/meta/ops/ops_test.h"

namespace sheaf::meta {
namespace {

class CreateTest : public OpsTest {};

TEST_F(CreateTest, GivesOwnerModeTimesAndLayout) {
  const uint64_t dir = MakePublic("d");
  meta_.ActAs(kAlice, 50);
  const auto made = meta_.Create(dir, "f", 04640);
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  const proto::Attr& attr = made->attr();
  EXPECT_TRUE(made->created());
  EXPECT_EQ(attr.mode(), uint32_t{S_IFREG | 04640});
  EXPECT_EQ(attr.uid(), kAlice);
  EXPECT_EQ(attr.gid(), 50u);
  EXPECT_EQ(attr.nlink(), 1u);
  EXPECT_EQ(attr.size(), 0u);
  EXPECT_EQ(attr.btime_ns(), clock_.WallNanos());
  EXPECT_EQ(attr.mtime_ns(), attr.btime_ns());
  EXPECT_EQ(attr.layout().chunk_size_log2(), kDefaultChunkSizeLog2);
  EXPECT_EQ(attr.layout().table_version(), TestMeta::kTable);
  EXPECT_EQ(attr.layout().seed(), MixBits(attr.data_id()));
  EXPECT_EQ(attr.size_epoch(), 1u);
}

TEST_F(CreateTest, StampsTheDirectory) {
  const uint64_t dir = MakeDir(kRoot, "d");
  Tick();
  MakeFile(dir, "f");
  EXPECT_EQ(Attr(dir).mtime_ns(), clock_.WallNanos());
  EXPECT_EQ(Attr(dir).ctime_ns(), clock_.WallNanos());
  EXPECT_LT(Attr(dir).btime_ns(), clock_.WallNanos());
}

TEST_F(CreateTest, OnAFullDiskNothingIsAddedAndRemovalWorks) {
  const uint64_t dir = MakeDir(kRoot, "d");
  const uint64_t file = MakeFile(dir, "f");
  const uint64_t other = MakeFile(dir, "g");
  kv_.SetSpaceShort(true);
  EXPECT_EQ(CodeOf(meta_.Create(dir, "new")), Code::kNoSpace);
  EXPECT_EQ(CodeOf(meta_.Mkdir(dir, "new")), Code::kNoSpace);
  EXPECT_EQ(CodeOf(meta_.Mknod(dir, "new", S_IFIFO | 0600)), Code::kNoSpace);
  EXPECT_EQ(CodeOf(meta_.Symlink(dir, "new", "f")), Code::kNoSpace);
  EXPECT_EQ(CodeOf(meta_.Link(file, dir, "new")), Code::kNoSpace);
  EXPECT_EQ(CodeOf(meta_.SetXattr(file, "user.x", "value")), Code::kNoSpace);
  EXPECT_EQ(CodeOf(meta_.Create(dir, "f")), Code::kExists) << "what would fail anyway says so";
  EXPECT_TRUE(meta_.Create(dir, "f", 0644, O_RDWR, /*exclusive=*/false).ok()) << "it is there";
  EXPECT_TRUE(meta_.Rename(dir, "g", kRoot, "h").ok());
  EXPECT_TRUE(meta_.Fsync(file, Attr(file).size_epoch(), 10).ok());
  EXPECT_TRUE(meta_.Truncate(file, 0).ok());
  EXPECT_TRUE(meta_.Close(file).ok());
  EXPECT_TRUE(meta_.Unlink(dir, "f").ok());
  EXPECT_TRUE(meta_.Unlink(kRoot, "h").ok());
  EXPECT_TRUE(meta_.Rmdir(kRoot, "d").ok());
  EXPECT_EQ(Attr(other).nlink(), 0u);
  kv_.SetSpaceShort(false);
  EXPECT_TRUE(meta_.Create(kRoot, "new").ok());
}

TEST_F(CreateTest, DataIdsAreDistinct) {
  std::set<uint64_t> seen;
  for (int i = 0; i < 10; ++i) {
    seen.insert(meta_.Create(kRoot, "f" + std::to_string(i))->attr().data_id());
  }
  EXPECT_EQ(seen.size(), 10u);
}

TEST_F(CreateTest, ChildrenOfOneDirectoryHaveNeighbouringInodes) {
  const uint64_t a = MakeDir(kRoot, "a");
  const uint64_t b = MakeDir(kRoot, "b");
  uint64_t last = MakeFile(a, "0");
  for (int i = 1; i < 10; ++i) {
    MakeFile(b, std::to_string(i));
    const uint64_t next = MakeFile(a, std::to_string(i));
    EXPECT_EQ(next, last + 1);
    last = next;
  }
}

TEST_F(CreateTest, ExclusiveRefusesAnExistingName) {
  MakeFile(kRoot, "f");
  EXPECT_EQ(CodeOf(meta_.Create(kRoot, "f")), Code::kExists);
}

TEST_F(CreateTest, OpensAnExistingFileByItsPermissions) {
  const uint64_t file = MakeFile(kRoot, "f", 0600);
  const auto again = meta_.Create(kRoot, "f", 0644, O_RDWR, false);
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(again->created());
  EXPECT_EQ(again->attr().inode(), file);
  meta_.ActAs(kAlice, kAlice);
  EXPECT_EQ(CodeOf(meta_.Create(kRoot, "f", 0644, O_RDONLY, false)), Code::kAccess);
}

TEST_F(CreateTest, TruncatesAnExistingFileWhenAsked) {
  const uint64_t file = MakeFile(kRoot, "f");
  ASSERT_TRUE(meta_.Fsync(file, 1, 1000).ok());
  const uint64_t old_data = Attr(file).data_id();
  const auto again = meta_.Create(kRoot, "f", 0644, O_WRONLY | O_TRUNC, false);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->attr().size(), 0u);
  EXPECT_NE(again->attr().data_id(), old_data);
}

TEST_F(CreateTest, RefusesExistingDirectoriesAndSymlinks) {
  MakeDir(kRoot, "d");
  ASSERT_TRUE(meta_.Symlink(kRoot, "l", "f").ok());
  EXPECT_EQ(CodeOf(meta_.Create(kRoot, "d", 0644, O_RDONLY, false)), Code::kIsDirectory);
  EXPECT_EQ(CodeOf(meta_.Create(kRoot, "l", 0644, O_RDONLY, false)), Code::kLoop);
}

TEST_F(CreateTest, NamesAreChecked) {
  EXPECT_EQ(CodeOf(meta_.Create(kRoot, "")), Code::kInvalid);
  EXPECT_EQ(CodeOf(meta_.Create(kRoot, "a/b")), Code::kInvalid);
  EXPECT_EQ(CodeOf(meta_.Create(kRoot, std::string("a\0b", 3))), Code::kInvalid);
  EXPECT_EQ(CodeOf(meta_.Create(kRoot, ".")), Code::kExists);
  EXPECT_EQ(CodeOf(meta_.Create(kRoot, std::string(256, 'x'))), Code::kNameTooLong);
  EXPECT_TRUE(meta_.Create(kRoot, std::string(255, 'x')).ok());
}

TEST_F(CreateTest, ParentMustBeADirectoryThatExists) {
  const uint64_t file = MakeFile(kRoot, "f");
  EXPECT_EQ(CodeOf(meta_.Create(file, "x")), Code::kNotDirectory);
  EXPECT_EQ(CodeOf(meta_.Create(777777, "x")), Code::kStale);
  const uint64_t dir = MakeDir(kRoot, "d");
  ASSERT_TRUE(meta_.Rmdir(kRoot, "d").ok());
  EXPECT_EQ(CodeOf(meta_.Create(dir, "x")), Code::kNotFound);
}

TEST_F(CreateTest, NeedsWriteAndExecuteOnTheDirectory) {
  const uint64_t dir = MakePublic("d", 0775);
  meta_.ActAs(kAlice, kAlice);
  EXPECT_EQ(CodeOf(meta_.Create(dir, "x")), Code::kAccess);
  meta_.ActAs(kAlice, kAlice, {0});
  EXPECT_TRUE(meta_.Create(dir, "x").ok()) << "a supplementary group counts";
}

TEST_F(CreateTest, InheritsTheGroupOfASetGroupIdDirectory) {
  const uint64_t dir = MakeDir(kRoot, "d");
  ASSERT_TRUE(meta_.Chown(dir, std::nullopt, 77).ok());
  ASSERT_TRUE(meta_.Chmod(dir, 02777).ok());
  meta_.ActAs(kAlice, kAlice);
  const auto file = meta_.Create(dir, "f", 02755);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->attr().gid(), 77u);
  EXPECT_EQ(file->attr().mode() & 07777, 0755u) << "set-group-id for a foreign group is dropped";
  const auto sub = meta_.Mkdir(dir, "s");
  EXPECT_EQ(sub->gid(), 77u);
  EXPECT_EQ(sub->mode() & 07777, 02755u);
}

TEST_F(CreateTest, FailsBeforeThereIsAChainTable) {
  ASSERT_TRUE(meta_
                  .Run([](OpContext& ctx) {
                    ctx.Delete(ClusterKey(ClusterRow::kCurrentTable));
                    return Status::Ok();
                  })
                  .ok());
  const auto made = meta_.Create(kRoot, "f");
  EXPECT_EQ(CodeOf(made), Code::kNotServing);
  EXPECT_NE(made.status().message().find("no chain table yet"), std::string::npos);
  EXPECT_EQ(CodeOf(meta_.Lookup(kRoot, "f")), Code::kNotFound);
}

TEST_F(CreateTest, RefusesAChunkSizeOutOfRange) {
  proto::CreateRequest request;
  request.set_parent(kRoot);
  request.set_name("f");
  request.set_chunk_size_log2(40);
  EXPECT_EQ(CodeOf(meta_.Mutate(Create, request)), Code::kInvalid);
  request.set_chunk_size_log2(16);
  EXPECT_EQ(meta_.Mutate(Create, request)->attr().layout().chunk_size_log2(), 16u);
}

TEST_F(CreateTest, CountsInodes) {
  const uint64_t before = meta_.TotalUsage().inodes;
  MakeFile(kRoot, "f");
  MakeDir(kRoot, "d");
  EXPECT_EQ(meta_.TotalUsage().inodes, before + 2);
}

}  // namespace
}  // namespace sheaf::meta
