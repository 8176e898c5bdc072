#include <sys/stat.h>

#include <map>
#include <set>
#include <string>

#include "tests/cluster/cluster_fixture.h"

// The calls of many entries over real servers: more entries than a batch holds, good ones and bad
// ones among one another.

namespace sheaf::testing {
namespace {

constexpr size_t kMany = 2600;  // two batches and a half

class ClusterManyTest : public ClusterFixture {
 protected:
  void SetUp() override {
    StartCluster();
    if (cluster_ != nullptr) client_ = Connect();
  }
  InodeId MakeDir(const std::string& path) { return client_->MkdirPath(path)->inode; }
  static std::string Name(size_t i) { return "f" + std::to_string(i); }

  std::unique_ptr<Client> client_;
  const Credentials who_ = Credentials::OfProcess();
};

TEST_F(ClusterManyTest, MakesLooksUpAndUnlinksThousands) {
  const InodeId dir = MakeDir("/many");
  std::vector<Client::NewEntry> entries;
  for (size_t i = 0; i < kMany; ++i) entries.push_back({dir, Name(i), 0640});
  entries[7].name = std::string(300, 'n');
  entries.push_back({dir, Name(3), 0640});  // twice
  const auto made = client_->CreateMany(who_, entries);
  ASSERT_EQ(made.size(), entries.size());
  std::set<InodeId> inodes;
  size_t exists = 0;
  for (size_t i = 0; i < made.size(); ++i) {
    if (made[i].ok()) inodes.insert(made[i]->inode);
    exists += made[i].status().code() == Code::kExists;
  }
  EXPECT_EQ(inodes.size(), kMany - 1);
  EXPECT_EQ(exists, 1u);
  EXPECT_EQ(made[7].status().code(), Code::kNameTooLong);

  std::vector<Client::Entry> names;
  for (size_t i = 0; i < kMany; ++i) names.push_back({dir, Name(i)});
  const auto found = client_->LookupMany(who_, names);
  for (size_t i = 0; i < kMany; ++i) {
    if (i == 7) {
      EXPECT_EQ(found[i].status().code(), Code::kNotFound);
    } else {
      ASSERT_TRUE(found[i].ok()) << found[i].status().ToString();
      EXPECT_EQ(found[i]->mode, uint32_t{S_IFREG | 0640});
    }
  }
  const auto gone = client_->UnlinkMany(who_, names);
  for (size_t i = 0; i < kMany; ++i) {
    EXPECT_EQ(gone[i].code(), i == 7 ? Code::kNotFound : Code::kOk) << gone[i].ToString();
  }
  EXPECT_EQ(client_->GetAttr(who_, dir)->size, 0u);
}

TEST_F(ClusterManyTest, OfNothingIsNothing) {
  EXPECT_TRUE(client_->LookupMany(who_, {}).empty());
  EXPECT_TRUE(client_->StatPaths({}).empty());
  EXPECT_TRUE(client_->WriteFiles(who_, {}).empty());
}

TEST_F(ClusterManyTest, StatsPathsInManyDirectoriesAndAlongLinks) {
  std::vector<std::string> paths;
  for (int d = 0; d < 10; ++d) {
    const std::string dir = "/d" + std::to_string(d);
    const InodeId inode = MakeDir(dir);
    std::vector<Client::NewEntry> entries;
    for (size_t i = 0; i < 150; ++i) {
      entries.push_back({inode, Name(i)});
      paths.push_back(dir + "/" + Name(i));
    }
    for (const auto& made : client_->CreateMany(who_, entries)) ASSERT_TRUE(made.ok());
  }
  const size_t plain = paths.size();
  ASSERT_TRUE(client_->Symlink(who_, kRootInode, "link", "d3").ok());
  ASSERT_TRUE(client_->Symlink(who_, kRootInode, "file", "d4/f9").ok());
  for (const char* path :
       {"/link/f5", "/file", "/d1/", "/d1/..", "/d1/f2/", "/none/f", "/d1/none"}) {
    paths.push_back(path);
  }
  const auto found = client_->StatPaths(paths);
  ASSERT_EQ(found.size(), paths.size());
  for (size_t i = 0; i < paths.size(); ++i) {
    const auto want = client_->StatPath(paths[i]);
    EXPECT_EQ(found[i].status().code(), want.status().code()) << paths[i];
    if (want.ok() && found[i].ok()) {
      EXPECT_EQ(found[i]->inode, want->inode) << paths[i];
    }
    EXPECT_TRUE(i >= plain || found[i].ok()) << paths[i];
  }
  EXPECT_TRUE(S_ISLNK(client_->StatPaths(std::vector<std::string>{"/file"}, false)[0]->mode));
}

TEST_F(ClusterManyTest, WritesWholeFilesThatOthersReadBack) {
  const InodeId dir = MakeDir("/whole");
  std::vector<std::vector<uint8_t>> contents;
  std::vector<Client::WholeFile> files;
  for (size_t i = 0; i < 700; ++i) contents.push_back(PatternAt(0, i * 37, i));
  contents.push_back(PatternAt(0, (size_t{5} << 20) + 3, 99));  // two chunks
  contents.push_back(std::vector<uint8_t>(100'000));            // zeros: a hole
  for (size_t i = 0; i < contents.size(); ++i) {
    AttrChange attr;
    attr.mode = 0444;
    attr.mtime_ns = 1'000'000'000 + static_cast<int64_t>(i);
    files.push_back({dir, Name(i), contents[i], attr});
  }
  for (const Status& written : client_->WriteFiles(who_, files)) {
    ASSERT_TRUE(written.ok()) << written.ToString();
  }
  const auto other = Connect();
  for (size_t i = 0; i < contents.size(); ++i) {
    const auto file = Open(*other, "/whole/" + Name(i), O_RDONLY);
    const auto attr = file->Stat();
    EXPECT_EQ(attr->size, contents[i].size());
    EXPECT_EQ(attr->mode, uint32_t{S_IFREG | 0444});
    EXPECT_EQ(attr->mtime_ns, 1'000'000'000 + static_cast<int64_t>(i));
    ASSERT_TRUE(ReadAll(*file, 0, contents[i].size() + 1) == contents[i]) << i;
  }
  files.resize(2);
  files[1].name = "new";
  const auto again = client_->WriteFiles(who_, files);
  EXPECT_EQ(again[0].code(), Code::kExists);
  EXPECT_TRUE(again[1].ok());
}

TEST_F(ClusterManyTest, OpensAndStatsADeepPath) {
  std::string path;
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(client_->MkdirPath(path += "/deep").ok());
  const auto bytes = PatternAt(0, 1000);
  {
    const auto file = Open(*client_, path + "/file", O_RDWR | O_CREAT | O_EXCL);
    ASSERT_TRUE(file->Write(0, bytes).ok());
    ASSERT_TRUE(file->Close().ok());
  }
  EXPECT_EQ(client_->StatPath(path + "/file")->size, 1000u);
  EXPECT_TRUE(ReadAll(*Open(*client_, path + "/file", O_RDONLY), 0, 1000) == bytes);
  EXPECT_EQ(client_->OpenPath(path, O_RDONLY).status().code(), Code::kIsDirectory);
  EXPECT_EQ(client_->OpenPath(path + "/none", O_RDONLY).status().code(), Code::kNotFound);
  EXPECT_EQ(client_->OpenPath(path + "/file/", O_RDONLY).status().code(), Code::kNotDirectory);
  ASSERT_TRUE(client_->Symlink(who_, kRootInode, "dangling", "new").ok());
  EXPECT_EQ(client_->OpenPath("/dangling", O_RDONLY).status().code(), Code::kNotFound);
  EXPECT_EQ(client_->OpenPath("/dangling", O_RDONLY | O_NOFOLLOW).status().code(), Code::kLoop);
  EXPECT_EQ(client_->OpenPath("/dangling", O_RDWR | O_CREAT | O_EXCL).status().code(),
            Code::kExists);
  EXPECT_TRUE(client_->OpenPath("/dangling", O_RDWR | O_CREAT).ok());
  EXPECT_TRUE(client_->StatPath("/new").ok());
}

}  // namespace
}  // namespace sheaf::testing
