#include <fcntl.h>

#include "tests/meta/ops/ops_test.h"

namespace sheaf::meta {
namespace {

// /a/b/file, and links to and fro.
class LookupPathTest : public OpsTest {
 protected:
  LookupPathTest() {
    a_ = MakeDir(kRoot, "a");
    b_ = MakeDir(a_, "b");
    file_ = MakeFile(b_, "file", 0640);
    link_ = meta_.Symlink(a_, "link", "b")->inode();
  }
  Result<proto::LookupPathResponse> Walk(uint64_t start, std::vector<std::string> names,
                                         std::optional<uint32_t> flags = std::nullopt) {
    proto::LookupPathRequest request;
    request.set_start(start);
    for (std::string& name : names) request.add_names(std::move(name));
    if (flags) request.set_open_flags(*flags);
    return meta_.Read(&LookupPath, request);
  }

  uint64_t a_, b_, file_, link_;
};

TEST_F(LookupPathTest, ResolvesEveryName) {
  const auto found = Walk(kRoot, {"a", "b", "file"});
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  EXPECT_EQ(found->resolved(), 3u);
  EXPECT_EQ(found->attr().inode(), file_);
  EXPECT_EQ(found->parent(), b_);
  EXPECT_EQ(found->attr().SerializeAsString(), Attr(file_).SerializeAsString());
  EXPECT_EQ(Walk(a_, {"b"})->attr().inode(), b_);
}

TEST_F(LookupPathTest, OfNoNamesAnswersTheStart) {
  const auto found = Walk(a_, {});
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->resolved(), 0u);
  EXPECT_EQ(found->attr().inode(), a_);
  EXPECT_EQ(found->parent(), kRoot);
}

TEST_F(LookupPathTest, TakesDots) {
  const auto found = Walk(kRoot, {"a", ".", "b", "..", "b", "..", ".."});
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->attr().inode(), kRoot);
  EXPECT_EQ(Walk(kRoot, {".."})->attr().inode(), kRoot);
  EXPECT_EQ(Walk(kRoot, {"a", "b", ".."})->parent(), kRoot);
}

TEST_F(LookupPathTest, StopsAtALinkWithNamesBelowAndAnswersTheLink) {
  const auto stopped = Walk(kRoot, {"a", "link", "file"});
  ASSERT_TRUE(stopped.ok());
  EXPECT_EQ(stopped->resolved(), 2u);
  EXPECT_EQ(stopped->attr().inode(), link_);
  EXPECT_EQ(stopped->parent(), a_);
  const auto last = Walk(kRoot, {"a", "link"}, O_RDONLY);
  ASSERT_TRUE(last.ok()) << "not opened but answered, to be followed";
  EXPECT_EQ(last->resolved(), 2u);
  EXPECT_EQ(last->attr().inode(), link_);
}

TEST_F(LookupPathTest, NamesWhatIsWrong) {
  EXPECT_EQ(CodeOf(Walk(kRoot, {"a", "x", "y"})), Code::kNotFound);
  EXPECT_EQ(CodeOf(Walk(kRoot, {"a", "b", "file", "x"})), Code::kNotDirectory);
  EXPECT_EQ(CodeOf(Walk(kRoot, {"a", "b", "file", "."})), Code::kNotDirectory);
  EXPECT_EQ(CodeOf(Walk(kRoot, {"a", ""})), Code::kInvalid);
  EXPECT_EQ(CodeOf(Walk(kRoot, {"a", std::string(256, 'n')})), Code::kNameTooLong);
  EXPECT_EQ(CodeOf(Walk(77777, {"a"})), Code::kStale);
  EXPECT_EQ(CodeOf(Walk(kRoot, std::vector<std::string>(2049, "."))), Code::kInvalid);
  EXPECT_TRUE(Walk(kRoot, std::vector<std::string>(2048, ".")).ok());
}

TEST_F(LookupPathTest, ChecksEachDirectoryAsAWalkOfLookupsWould) {
  meta_.ActAs(kAlice, 50);
  EXPECT_TRUE(Walk(kRoot, {"a", "b", "file"}).ok());
  meta_.ActAs(0, 0);
  ASSERT_TRUE(meta_.Chmod(a_, 0700).ok());
  meta_.ActAs(kAlice, 50);
  EXPECT_TRUE(Walk(kRoot, {"a"}).ok());
  EXPECT_EQ(CodeOf(Walk(kRoot, {"a", "b"})), Code::kAccess);
  EXPECT_EQ(CodeOf(Walk(kRoot, {"a", "missing"})), Code::kAccess);
  EXPECT_EQ(CodeOf(Walk(kRoot, {"a", ".."})), Code::kAccess);
  EXPECT_TRUE(Walk(b_, {"file"}).ok()) << "the start's own directory is not asked for";
}

TEST_F(LookupPathTest, ChecksTheRightToOpenTheLastName) {
  meta_.ActAs(kAlice, 50);
  EXPECT_EQ(CodeOf(Walk(kRoot, {"a", "b", "file"}, O_RDONLY)), Code::kAccess);
  EXPECT_TRUE(Walk(kRoot, {"a", "b", "file"}).ok()) << "a look-up asks for no right to read";
  meta_.ActAs(0, 0);
  ASSERT_TRUE(meta_.Chmod(file_, 0644).ok());
  meta_.ActAs(kAlice, 50);
  EXPECT_TRUE(Walk(kRoot, {"a", "b", "file"}, O_RDONLY).ok());
  EXPECT_EQ(CodeOf(Walk(kRoot, {"a", "b", "file"}, O_DIRECTORY)), Code::kNotDirectory);
  EXPECT_EQ(CodeOf(Walk(kRoot, {"a", "b", "file"}, O_NOATIME)), Code::kNotPermitted);
  EXPECT_EQ(CodeOf(Walk(kRoot, {"a", "b", "file"}, O_RDWR)), Code::kInvalid);
  EXPECT_EQ(CodeOf(Walk(kRoot, {"a", "b", "file"}, O_RDONLY | O_TRUNC)), Code::kInvalid);
}

}  // namespace
}  // namespace sheaf::meta
