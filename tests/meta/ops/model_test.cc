// Random operations against a plain in-memory file system: every answer and, at the end and now and
// then, the whole tree must agree. SHEAF_SEED chooses the sequence.

#include <gtest/gtest.h>
#include <stdio.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/support/memory_kv.h"
#include "tests/support/model_fs.h"
#include "tests/support/test_meta.h"

namespace sheaf::meta {
namespace {

using Node = ModelFs::NodePtr;

class ModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* given = std::getenv("SHEAF_SEED");
    seed_ = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
    std::cout << "SHEAF_SEED=" << seed_ << std::endl;
    random_.seed(seed_);
    known_ = {{model_.root(), 1}};
  }

  // A node that was made and its inode number; it may be unlinked by now.
  struct Known {
    Node node;
    uint64_t inode;
  };

  uint64_t Random(uint64_t below) { return random_() % below; }
  const Known& Any() { return known_[Random(known_.size())]; }
  // Mostly directories, so that most operations do something.
  const Known& AnyDirectory() {
    for (int tries = 0; tries < 8; ++tries) {
      const Known& known = Any();
      if (known.node->type == ModelFs::Type::kDirectory) return known;
    }
    return Any();
  }
  std::string Name() { return std::string(1, static_cast<char>('a' + Random(6))); }

  void ExpectSame(const Status& real, const Status& model, const std::string& what) {
    EXPECT_EQ(CodeName(real.code()), CodeName(model.code()))
        << what << ": " << real.ToString() << ", seed " << seed_ << ", step " << step_;
  }

  void Make(ModelFs::Type type);
  void DoLink();
  void DoUnlink();
  void DoRmdir();
  void DoRename();
  void DoLength();
  void DoXattr();
  void DoChmod();
  void Step();
  void CompareTree();
  void CompareNode(const Node& node, const proto::Attr& attr, const std::string& path);

  uint64_t seed_ = 0;
  int step_ = 0;
  std::mt19937_64 random_;
  ModelFs model_;
  MemoryKv kv_;
  TestMeta meta_{kv_};
  std::vector<Known> known_;
  uint64_t files_ = 0;
  uint64_t bytes_ = 0;
  std::set<ModelFs::Node*> counted_;
};

void ModelTest::Make(ModelFs::Type type) {
  const Known parent = AnyDirectory();
  const std::string name = Name();
  const auto mode = static_cast<uint32_t>(Random(01000));
  const auto model = model_.Make(parent.node, name, type,
                                 type == ModelFs::Type::kSymlink ? 0777 : mode, "to" + name);
  Result<proto::Attr> real = Status(Code::kIo, "none");
  if (type == ModelFs::Type::kFile) {
    const auto created = meta_.Create(parent.inode, name, mode);
    real = created.ok() ? Result<proto::Attr>(created->attr()) : created.status();
  } else if (type == ModelFs::Type::kDirectory) {
    real = meta_.Mkdir(parent.inode, name, mode);
  } else {
    real = meta_.Symlink(parent.inode, name, "to" + name);
  }
  ExpectSame(real.status(), model.status(), "make " + name);
  if (model.ok() && real.ok()) known_.push_back({*model, real->inode()});
}

void ModelTest::DoLink() {
  const Known what = Any(), parent = AnyDirectory();
  const std::string name = Name();
  ExpectSame(meta_.Link(what.inode, parent.inode, name).status(),
             model_.Link(what.node, parent.node, name), "link " + name);
}

void ModelTest::DoUnlink() {
  const Known parent = AnyDirectory();
  const std::string name = Name();
  ExpectSame(meta_.Unlink(parent.inode, name).status(), model_.Unlink(parent.node, name),
             "unlink " + name);
}

void ModelTest::DoRmdir() {
  const Known parent = AnyDirectory();
  const std::string name = Name();
  ExpectSame(meta_.Rmdir(parent.inode, name).status(), model_.Rmdir(parent.node, name),
             "rmdir " + name);
}

void ModelTest::DoRename() {
  const Known from = AnyDirectory(), to = AnyDirectory();
  const std::string name = Name(), new_name = Name();
  const uint64_t kind = Random(6);
  const uint32_t flags = kind == 0 ? RENAME_NOREPLACE : kind == 1 ? RENAME_EXCHANGE : 0;
  ExpectSame(meta_.Rename(from.inode, name, to.inode, new_name, flags).status(),
             model_.Rename(from.node, name, to.node, new_name, kind == 0, kind == 1),
             "rename " + name + " " + new_name);
}

void ModelTest::DoLength() {
  const Known file = Any();
  if (file.node->type != ModelFs::Type::kFile) return;
  const uint64_t length = Random(100'000);
  if (Random(2) == 0) {
    const uint64_t epoch = meta_.GetAttr(file.inode)->size_epoch();
    ASSERT_TRUE(meta_.Fsync(file.inode, epoch, length).ok());
    file.node->size = std::max(file.node->size, length);
    return;
  }
  ASSERT_TRUE(meta_.Truncate(file.inode, length).ok());
  file.node->size = length;
  const auto intent = ReadTruncateIntent(*meta_.executor().Committed(), InodeId(file.inode));
  if (!intent.ok()) return;
  ASSERT_TRUE(
      meta_.Run([&](OpContext& ctx) { return FinishTruncate(ctx, InodeId(file.inode), *intent); })
          .ok());
}

void ModelTest::DoXattr() {
  const Known what = Any();
  if (what.node->type == ModelFs::Type::kSymlink) return;
  const std::string name = "user." + Name();
  if (Random(3) == 0) {
    const bool had = what.node->xattrs.erase(name) > 0;
    EXPECT_EQ(meta_.RemoveXattr(what.inode, name).ok(), had);
    return;
  }
  what.node->xattrs[name] = std::to_string(step_);
  EXPECT_TRUE(meta_.SetXattr(what.inode, name, std::to_string(step_)).ok());
}

void ModelTest::DoChmod() {
  const Known what = Any();
  if (what.node->type == ModelFs::Type::kSymlink) return;
  what.node->mode = static_cast<uint32_t>(Random(010000));
  EXPECT_TRUE(meta_.Chmod(what.inode, what.node->mode).ok());
  // Children of set-group-id directories differ in ways the model leaves out.
  if ((what.node->mode & S_ISGID) == 0) return;
  what.node->mode &= ~uint32_t{S_ISGID};
  EXPECT_TRUE(meta_.Chmod(what.inode, what.node->mode).ok());
}

void ModelTest::Step() {
  switch (Random(14)) {
    case 0:
    case 1:
    case 2:
      return Make(ModelFs::Type::kFile);
    case 3:
    case 4:
      return Make(ModelFs::Type::kDirectory);
    case 5:
      return Make(ModelFs::Type::kSymlink);
    case 6:
      return DoLink();
    case 7:
      return DoUnlink();
    case 8:
      return DoRmdir();
    case 9:
    case 10:
      return DoRename();
    case 11:
      return DoLength();
    case 12:
      return DoXattr();
    default:
      return DoChmod();
  }
}

void ModelTest::CompareNode(const Node& node, const proto::Attr& attr, const std::string& path) {
  static const std::map<ModelFs::Type, uint32_t> kTypes = {{ModelFs::Type::kFile, S_IFREG},
                                                           {ModelFs::Type::kDirectory, S_IFDIR},
                                                           {ModelFs::Type::kSymlink, S_IFLNK}};
  EXPECT_EQ(attr.mode(), kTypes.at(node->type) | node->mode) << path << ", seed " << seed_;
  EXPECT_EQ(attr.nlink(), node->nlink) << path << ", seed " << seed_;
  if (node->type == ModelFs::Type::kSymlink) {
    EXPECT_EQ(*meta_.Readlink(attr.inode()), node->target) << path;
  }
  if (node->type == ModelFs::Type::kFile) {
    EXPECT_EQ(attr.size(), node->size) << path << ", seed " << seed_;
  }
  const auto names = *meta_.ListXattr(attr.inode());
  ASSERT_EQ(names.size(), node->xattrs.size()) << path << ", seed " << seed_;
  for (const auto& [name, value] : node->xattrs) {
    EXPECT_EQ(*meta_.GetXattr(attr.inode(), name), value) << path;
  }
  if (node != model_.root() && counted_.insert(node.get()).second) {
    ++files_;
    bytes_ += node->size;
  }
  if (node->type != ModelFs::Type::kDirectory) return;

  const auto entries = *meta_.List(attr.inode(), 3, /*plus=*/true);
  ASSERT_EQ(entries.size(), node->children.size()) << path << ", seed " << seed_;
  for (const proto::DirEntry& entry : entries) {
    const auto child = node->children.find(entry.name());
    ASSERT_NE(child, node->children.end()) << path << "/" << entry.name() << ", seed " << seed_;
    EXPECT_EQ(entry.type(), kTypes.at(child->second->type));
    CompareNode(child->second, entry.attr(), path + "/" + entry.name());
  }
}

void ModelTest::CompareTree() {
  files_ = bytes_ = 0;
  counted_.clear();
  CompareNode(model_.root(), *meta_.GetAttr(1), "");
  EXPECT_EQ(meta_.TotalUsage().inodes, files_) << "seed " << seed_;
  EXPECT_EQ(meta_.TotalUsage().bytes, bytes_) << "seed " << seed_;
}

TEST_F(ModelTest, AgreesWithAPlainFileSystem) {
  constexpr int kSteps = 12'000;
  for (step_ = 0; step_ < kSteps && !HasFailure(); ++step_) {
    Step();
    if (step_ % 1000 == 999) CompareTree();
  }
  CompareTree();
  EXPECT_GT(known_.size(), 500u) << "most operations did nothing, seed " << seed_;
}

}  // namespace
}  // namespace sheaf::meta
