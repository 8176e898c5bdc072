#include <cstdlib>
#include <iostream>
#include <random>

#include "tests/cluster/cluster_fixture.h"
#include "tests/cluster/model_fs.h"

// Random operations against a real cluster and a plain model beside it: every answer must agree,
// and in the end every byte, also as another client sees it. SHEAF_SEED repeats a run;
// SHEAF_MODEL_OPS sets its length.

namespace sheaf::testing {
namespace {

using Node = ModelFs::Node;
using Type = ModelFs::Type;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

class ModelTest : public ClusterFixture {
 protected:
  static constexpr size_t kMaxHandles = 6;
  static constexpr uint64_t kChunk = 4 << 20;
  static constexpr size_t kMaxBytes = 300'000;  // of one write

  struct Handle {
    std::shared_ptr<File> file;
    Node node;
  };

  void SetUp() override {
    seed_ = FromEnvironment("SHEAF_SEED", std::random_device{}());
    std::cout << "SHEAF_SEED=" << seed_ << std::endl;
    random_.seed(seed_);
    StartCluster();
    if (cluster_ != nullptr) client_ = Connect();
    inodes_[ModelFs::kRoot] = kRootInode;
  }
  void TearDown() override { handles_.clear(); }

  size_t Pick(size_t count) { return std::uniform_int_distribution<size_t>(0, count - 1)(random_); }
  std::string Name() { return std::string(1, static_cast<char>('a' + Pick(6))); }
  Node Directory() {
    const auto all = model_.Directories();
    return all[Pick(all.size())];
  }
  // Mostly near the start or a chunk border, where things go wrong.
  uint64_t Offset() {
    const uint64_t near[] = {0, 0, kChunk, 2 * kChunk};
    const uint64_t base = near[Pick(4)];
    const uint64_t back = Pick(kMaxBytes);
    return base > back && Pick(2) == 0 ? base - back : base + Pick(kMaxBytes);
  }
  std::string Data() {
    std::string data(1 + (Pick(3) == 0 ? Pick(kMaxBytes) : Pick(5000)), '\0');
    for (char& byte : data) byte = static_cast<char>(random_());
    return data;
  }
  static std::span<const uint8_t> AsBytes(const std::string& data) {
    return {reinterpret_cast<const uint8_t*>(data.data()), data.size()};
  }

  void Agree(const char* what, const Status& real, const Status& model) {
    ASSERT_EQ(CodeName(real.code()), CodeName(model.code()))
        << what << ": " << real.ToString() << " (seed " << seed_ << ", operation " << step_ << ")";
  }
  void Remember(const Result<FileAttr>& real, const Result<Node>& model) {
    if (real.ok() && model.ok()) inodes_[*model] = real->inode;
  }

  void Step();
  void CreateOrOpen();
  void MakeDirectory();
  void MakeLink();
  void MakeSymlink();
  void Remove();
  void Rename();
  void OnHandle();
  void ReadSome(const Handle& handle);
  void CheckAttributes();
  void CompareDirectory(Client& client, Node node);
  void CompareAll(Client& client);

  uint64_t seed_ = 0;
  uint64_t step_ = 0;
  std::mt19937_64 random_;
  ModelFs model_;
  std::map<Node, InodeId> inodes_;
  std::vector<Handle> handles_;
  const Credentials me_ = Credentials::OfProcess();
  std::unique_ptr<Client> client_;
};

void ModelTest::Step() {
  switch (Pick(14)) {
    case 0:
    case 1:
      return CreateOrOpen();
    case 2:
      return MakeDirectory();
    case 3:
      return MakeLink();
    case 4:
      return MakeSymlink();
    case 5:
      return Remove();
    case 6:
      return Rename();
    case 7:
      return CheckAttributes();
    default:
      return OnHandle();
  }
}

void ModelTest::CreateOrOpen() {
  if (handles_.size() == kMaxHandles) {
    const size_t at = Pick(handles_.size());
    Agree("close", handles_[at].file->Close(), Status::Ok());
    handles_.erase(handles_.begin() + static_cast<ptrdiff_t>(at));
  }
  const Node parent = Directory();
  const std::string name = Name();
  const auto existing = model_.Lookup(parent, name);
  if (existing.ok()) {
    if (model_.type(*existing) != Type::kFile) return;
    const bool truncate = Pick(4) == 0;
    auto opened = client_->Open(me_, inodes_.at(*existing), O_RDWR | (truncate ? O_TRUNC : 0));
    Agree("open", opened.status(), Status::Ok());
    if (!opened.ok()) return;
    if (truncate) model_.Truncate(*existing, 0);
    handles_.push_back({*opened, *existing});
    return;
  }
  auto created = client_->Create(me_, inodes_.at(parent), name, 0644, O_RDWR | O_CREAT | O_EXCL);
  Agree("create", created.status(), Status::Ok());
  if (!created.ok()) return;
  const auto node = model_.Create(parent, name, Type::kFile);
  inodes_[*node] = created->attr.inode;
  handles_.push_back({created->file, *node});
}

void ModelTest::MakeDirectory() {
  const Node parent = Directory();
  const std::string name = Name();
  const auto real = client_->Mkdir(me_, inodes_.at(parent), name, 0755);
  const auto model = model_.Create(parent, name, Type::kDirectory);
  Agree("mkdir", real.status(), model.status());
  Remember(real, model);
}

void ModelTest::MakeSymlink() {
  const Node parent = Directory();
  const std::string name = Name();
  const std::string target = "../" + Name();
  const auto real = client_->Symlink(me_, inodes_.at(parent), name, target);
  const auto model = model_.Create(parent, name, Type::kLink, target);
  Agree("symlink", real.status(), model.status());
  Remember(real, model);
}

void ModelTest::MakeLink() {
  if (handles_.empty()) return;
  const Node node = handles_[Pick(handles_.size())].node;
  if (model_.nlink(node) == 0) return;  // gone from every directory: refused in its own way
  const Node parent = Directory();
  const std::string name = Name();
  const auto real = client_->Link(me_, inodes_.at(node), inodes_.at(parent), name);
  Agree("link", real.status(), model_.Link(node, parent, name));
}

void ModelTest::Remove() {
  const Node parent = Directory();
  const std::string name = Name();
  if (Pick(2) == 0) {
    Agree("unlink", client_->Unlink(me_, inodes_.at(parent), name), model_.Unlink(parent, name));
  } else {
    Agree("rmdir", client_->Rmdir(me_, inodes_.at(parent), name), model_.Rmdir(parent, name));
  }
}

void ModelTest::Rename() {
  const Node from = Directory();
  const Node to = Directory();
  const std::string name = Name();
  const std::string new_name = Name();
  Agree("rename", client_->Rename(me_, inodes_.at(from), name, inodes_.at(to), new_name, 0),
        model_.Rename(from, name, to, new_name));
}

void ModelTest::OnHandle() {
  if (handles_.empty()) return;
  const Handle& handle = handles_[Pick(handles_.size())];
  switch (Pick(8)) {
    case 0:
    case 1:
    case 2: {
      const uint64_t offset = Offset();
      const std::string data = Data();
      Agree("write", handle.file->Write(offset, AsBytes(data)).status(), Status::Ok());
      return model_.Write(handle.node, offset, data);
    }
    case 3: {
      const std::string data = Data();
      const auto at = handle.file->Append(AsBytes(data));
      Agree("append", at.status(), Status::Ok());
      const uint64_t end = model_.bytes(handle.node).size();
      ASSERT_EQ(at.ok() ? *at : 0, end) << "operation " << step_;
      return model_.Write(handle.node, end, data);
    }
    case 4: {
      const uint64_t size = Pick(3) == 0 ? 0 : Offset();
      Agree("truncate", handle.file->Truncate(size), Status::Ok());
      return model_.Truncate(handle.node, size);
    }
    case 5:
      return Agree("sync", handle.file->Sync(), Status::Ok());
    default:
      return ReadSome(handle);
  }
}

void ModelTest::ReadSome(const Handle& handle) {
  const std::string& want = model_.bytes(handle.node);
  const uint64_t offset = Offset();
  std::string got(1 + Pick(kMaxBytes), '\xee');
  const auto size =
      handle.file->Read(offset, {reinterpret_cast<uint8_t*>(got.data()), got.size()});
  Agree("read", size.status(), Status::Ok());
  if (!size.ok()) return;
  const std::string expected =
      offset < want.size() ? want.substr(offset, got.size()) : std::string();
  got.resize(*size);
  ASSERT_TRUE(got == expected) << "offset " << offset << ", operation " << step_ << ", seed "
                               << seed_;
  ASSERT_EQ(handle.file->Stat()->size, want.size()) << "operation " << step_;
}

void ModelTest::CheckAttributes() {
  const Node parent = Directory();
  const std::string name = Name();
  const auto real = client_->Lookup(me_, inodes_.at(parent), name);
  const auto model = model_.Lookup(parent, name);
  Agree("lookup", real.status(), model.status());
  if (!real.ok() || !model.ok()) return;
  ASSERT_EQ(real->inode, inodes_.at(*model));
  ASSERT_EQ(real->nlink, model_.nlink(*model)) << "operation " << step_;
  if (model_.type(*model) == Type::kFile) {
    ASSERT_EQ(real->size, model_.bytes(*model).size()) << "operation " << step_;
  }
}

void ModelTest::CompareDirectory(Client& client, Node node) {
  std::map<std::string, InodeId> found;
  uint64_t cookie = 0;
  for (;;) {
    const auto page = client.ReadDirectory(me_, inodes_.at(node), cookie, 3, true);
    ASSERT_TRUE(page.ok()) << page.status().ToString();
    for (const auto& entry : page->entries) {
      cookie = entry.cookie;
      if (entry.name != "." && entry.name != "..") found[entry.name] = entry.inode;
    }
    if (page->end) break;
  }
  std::map<std::string, InodeId> want;
  for (const auto& [name, child] : model_.children(node)) want[name] = inodes_.at(child);
  ASSERT_EQ(found, want) << "seed " << seed_;
}

void ModelTest::CompareAll(Client& client) {
  for (Node directory : model_.Directories()) {
    CompareDirectory(client, directory);
    for (const auto& [name, child] : model_.children(directory)) {
      if (model_.type(child) == Type::kLink) {
        ASSERT_EQ(*client.Readlink(me_, inodes_.at(child)), model_.bytes(child));
      }
      if (model_.type(child) != Type::kFile) continue;
      const std::string& want = model_.bytes(child);
      const auto file = client.Open(me_, inodes_.at(child), O_RDONLY);
      ASSERT_TRUE(file.ok()) << file.status().ToString();
      const auto got = ReadAll(**file, 0, want.size() + 1);
      ASSERT_TRUE(std::equal(got.begin(), got.end(), want.begin(), want.end(),
                             [](uint8_t a, char b) { return a == static_cast<uint8_t>(b); }))
          << name << ", seed " << seed_;
    }
  }
}

TEST_F(ModelTest, RandomOperationsAgreeWithThePlainModel) {
  const uint64_t steps = FromEnvironment("SHEAF_MODEL_OPS", 1500);
  for (step_ = 0; step_ < steps; ++step_) {
    Step();
    if (HasFatalFailure()) return;
  }
  CompareAll(*client_);
  for (Handle& handle : handles_) Agree("close", handle.file->Close(), Status::Ok());
  handles_.clear();
  const auto other = Connect();
  CompareAll(*other);
}

}  // namespace
}  // namespace sheaf::testing
