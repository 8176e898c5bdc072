#include "client/path_walk.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/support/fake_client.h"

#include "common/status.h"

namespace sheaf::client {
namespace {

// As the metadata service answers.
class ClientWithPaths : public FakeClient, public PathCalls {
 public:
  Result<FileAttr> Lookup(const Credentials& who, InodeId parent, std::string_view name) override {
    if (name == ".") return GetAttr(who, parent);
    if (name != "..") return FakeClient::Lookup(who, parent, name);
    return GetAttr(who, parents.at(parent));
  }
  Result<std::string> Readlink(const Credentials& who, InodeId link) override {
    return FakeClient::Readlink(who, link);
  }
  Result<proto::LookupPathResponse> LookupPath(const Credentials& who,
                                               proto::LookupPathRequest request) override {
    requests.push_back(request);
    ASSIGN_OR_RETURN(FileAttr at, GetAttr(who, InodeId(request.start())));
    InodeId parent;
    int resolved = 0;
    for (; resolved < request.names_size() && !S_ISLNK(at.mode); ++resolved) {
      if (!S_ISDIR(at.mode)) return Status(Code::kNotDirectory, "not a directory");
      parent = at.inode;
      ASSIGN_OR_RETURN(at, Lookup(who, parent, request.names(resolved)));
    }
    proto::LookupPathResponse answer;
    answer.set_resolved(static_cast<uint32_t>(resolved));
    answer.mutable_attr()->set_inode(at.inode.value());
    answer.mutable_attr()->set_mode(at.mode);
    answer.set_parent(parent.value());
    return answer;
  }
  std::map<InodeId, InodeId> parents;
  std::vector<proto::LookupPathRequest> requests;
};

// /dir/sub/file, and links to and fro.
class PathWalkTest : public ::testing::Test {
 protected:
  PathWalkTest() {
    dir_ = client_.Mkdir(who_, kRootInode, "dir", 0755)->inode;
    sub_ = client_.Mkdir(who_, dir_, "sub", 0755)->inode;
    file_ = client_.Create(who_, sub_, "file", 0644, O_RDWR)->attr.inode;
    client_.parents = {{dir_, kRootInode}, {sub_, dir_}};
    Link(dir_, "relative", "sub/file");
    Link(dir_, "absolute", "/dir/sub");
    Link(sub_, "up", "..");
    Link(dir_, "loop", "loop");
    Link(dir_, "dangling", "sub/missing");
  }
  void Link(InodeId parent, const char* name, const char* target) {
    ASSERT_TRUE(client_.Symlink(who_, parent, name, target).ok());
  }
  Result<proto::Attr> Resolve(std::string_view path, bool follow = true) {
    return PathWalk(client_, who_, path).Resolve(follow);
  }
  Code CodeOf(std::string_view path) { return Resolve(path).status().code(); }

  ClientWithPaths client_;
  const Credentials who_;
  InodeId dir_, sub_, file_;
};

TEST_F(PathWalkTest, WalksNamesDotsAndRepeatedSlashes) {
  EXPECT_EQ(Resolve("/")->inode(), kRootInode.value());
  EXPECT_EQ(Resolve("/dir/sub/file")->inode(), file_.value());
  EXPECT_EQ(Resolve("dir//./sub/")->inode(), sub_.value());
  EXPECT_EQ(Resolve("/dir/sub/../sub/file")->inode(), file_.value());
}

TEST_F(PathWalkTest, FollowsLinks) {
  EXPECT_EQ(Resolve("/dir/relative")->inode(), file_.value());
  EXPECT_EQ(Resolve("/dir/absolute/file")->inode(), file_.value());
  EXPECT_EQ(Resolve("/dir/absolute/up/sub")->inode(), sub_.value());
  EXPECT_TRUE(S_ISLNK(Resolve("/dir/relative", false)->mode()));
  EXPECT_EQ(Resolve("/dir/absolute/", false)->inode(),
            sub_.value());  // the slash asks for a directory
}

TEST_F(PathWalkTest, APathWithoutLinksCostsOneCall) {
  ASSERT_TRUE(PathWalk(client_, who_, "/dir/sub/file").Resolve(true, O_RDONLY).ok());
  ASSERT_EQ(client_.requests.size(), 1u);
  EXPECT_EQ(client_.requests[0].names_size(), 3);
  EXPECT_EQ(client_.requests[0].open_flags(), static_cast<uint32_t>(O_RDONLY));
  ASSERT_TRUE(PathWalk(client_, who_, "/dir/sub/file").Resolve(true).ok());
  EXPECT_FALSE(client_.requests[1].has_open_flags());
  ASSERT_TRUE(Resolve("/dir/absolute/up/sub/file").ok());
  EXPECT_EQ(client_.requests.size(), 2u + 3) << "two links";
}

TEST_F(PathWalkTest, NamesWhatIsWrong) {
  EXPECT_EQ(CodeOf(""), Code::kNotFound);
  EXPECT_EQ(CodeOf("/missing"), Code::kNotFound);
  EXPECT_EQ(CodeOf("/dir/sub/file/"), Code::kNotDirectory);
  EXPECT_EQ(CodeOf("/dir/sub/file/x"), Code::kNotDirectory);
  EXPECT_EQ(CodeOf("/dir/loop"), Code::kLoop);
  EXPECT_EQ(CodeOf("/dir/dangling"), Code::kNotFound);
  EXPECT_EQ(CodeOf(std::string(5000, 'x')), Code::kNameTooLong);
}

TEST_F(PathWalkTest, FindsTheParentOfANameThatNeedNotExist) {
  const auto at = PathWalk(client_, who_, "/dir/absolute/new").Parent();
  ASSERT_TRUE(at.ok());
  EXPECT_EQ(at->parent, sub_);
  EXPECT_EQ(at->name, "new");
  EXPECT_EQ(PathWalk(client_, who_, "/").Parent().status().code(), Code::kInvalid);
  EXPECT_EQ(PathWalk(client_, who_, "/dir/..").Parent().status().code(), Code::kInvalid);
  EXPECT_EQ(PathWalk(client_, who_, "/dir/sub/file/x").Parent().status().code(),
            Code::kNotDirectory);
}

TEST_F(PathWalkTest, GoesOnAlongALinkToWhereItsTargetWouldBe) {
  PathWalk walk(client_, who_, "/dir/dangling");
  ASSERT_TRUE(walk.Parent().ok());
  const auto link = client_.Lookup(who_, dir_, "dangling");
  ASSERT_TRUE(link.ok());
  const auto at = walk.ParentOfTarget(link->inode);
  ASSERT_TRUE(at.ok()) << at.status().ToString();
  EXPECT_EQ(at->parent, sub_);
  EXPECT_EQ(at->name, "missing");
}

}  // namespace
}  // namespace sheaf::client
