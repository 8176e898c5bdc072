#include <fcntl.h>

#include "meta/schema/keys.h"
#include "tests/meta/ops/ops_test.h"

namespace sheaf::meta {
namespace {

class BatchTest : public OpsTest {
 protected:
  proto::LookupRequest* AddLookup(uint64_t parent, const std::string& name) {
    auto* entry = batch_.add_operations()->mutable_lookup();
    entry->set_parent(parent);
    entry->set_name(name);
    return entry;
  }
  void AddMkdir(uint64_t parent, const std::string& name) {
    auto* entry = batch_.add_operations()->mutable_mkdir();
    entry->set_parent(parent);
    entry->set_name(name);
    entry->set_mode(0755);
  }
  proto::CreateRequest* AddCreate(uint64_t parent, const std::string& name, uint32_t flags = 0) {
    auto* entry = batch_.add_operations()->mutable_create();
    entry->set_parent(parent);
    entry->set_name(name);
    entry->set_mode(0644);
    entry->set_exclusive(true);
    entry->set_open_flags(flags);
    return entry;
  }
  void AddUnlink(uint64_t parent, const std::string& name) {
    auto* entry = batch_.add_operations()->mutable_unlink();
    entry->set_parent(parent);
    entry->set_name(name);
  }
  proto::BatchResponse Run() {
    auto answer = meta_.Mutate(&Batch, std::exchange(batch_, {}));
    EXPECT_TRUE(answer.ok()) << answer.status().ToString();
    return answer.ok() ? *answer : proto::BatchResponse();
  }
  static std::vector<Code> Codes(const proto::BatchResponse& answer) {
    std::vector<Code> codes;
    for (const auto& result : answer.results()) codes.push_back(CodeFromNumber(result.code()));
    return codes;
  }

  proto::BatchRequest batch_;
};

TEST_F(BatchTest, DoesEveryKindOfOperationInOrder) {
  const uint64_t file = MakeFile(kRoot, "old");
  MakeDir(kRoot, "olddir");
  AddMkdir(kRoot, "d");
  AddCreate(kRoot, "f", O_RDWR);
  AddUnlink(kRoot, "old");
  auto* link = batch_.add_operations()->mutable_symlink();
  link->set_parent(kRoot);
  link->set_name("s");
  link->set_target("target");
  auto* rmdir = batch_.add_operations()->mutable_rmdir();
  rmdir->set_parent(kRoot);
  rmdir->set_name("olddir");
  AddLookup(kRoot, "d");
  batch_.add_operations()->mutable_get_attr()->set_inode(kRoot);
  const proto::BatchResponse made = Run();
  ASSERT_EQ(Codes(made), std::vector<Code>(7, Code::kOk));
  EXPECT_TRUE(made.results(1).created());
  EXPECT_EQ(made.results(2).attr().inode(), file);
  EXPECT_EQ(made.results(2).attr().nlink(), 0u);
  EXPECT_EQ(made.results(5).attr().inode(), made.results(0).attr().inode())
      << "an entry sees what those before it made";

  auto* close = batch_.add_operations()->mutable_close();
  close->set_inode(made.results(1).attr().inode());
  close->mutable_report()->set_size_epoch(1);
  close->mutable_report()->set_length(4096);
  auto* attr = batch_.add_operations()->mutable_set_attr();
  attr->set_inode(made.results(1).attr().inode());
  attr->set_mode(0600);
  const proto::BatchResponse closed = Run();
  ASSERT_EQ(Codes(closed), std::vector<Code>(2, Code::kOk));
  EXPECT_EQ(closed.results(1).attr().size(), 4096u);
  EXPECT_EQ(closed.results(1).attr().mode() & 07777, 0600u);
  EXPECT_TRUE(kv_.Rows(TableRange(Table::kWriteOpen).begin).empty());
}

TEST_F(BatchTest, AnEntryThatFailsChangesNothingAndTheOthersGoThrough) {
  const uint64_t dir = MakeDir(kRoot, "d");
  AddCreate(dir, "a");
  // Has taken an inode number and a data_id by the time its layout is refused.
  AddCreate(dir, "bad")->set_chunk_size_log2(63);
  AddCreate(dir, "b");
  AddUnlink(dir, "missing");
  AddMkdir(dir, "a");
  AddCreate(dir, "c");
  const proto::BatchResponse answer = Run();
  EXPECT_EQ(Codes(answer), (std::vector<Code>{Code::kOk, Code::kInvalid, Code::kOk, Code::kNotFound,
                                              Code::kExists, Code::kOk}));
  EXPECT_NE(answer.results(3).message().find("missing"), std::string::npos);
  EXPECT_EQ(answer.results(2).attr().inode(), answer.results(0).attr().inode() + 1);
  EXPECT_EQ(answer.results(2).attr().data_id(), answer.results(0).attr().data_id() + 1);
  EXPECT_EQ(meta_.List(dir)->size(), 3u);
  EXPECT_EQ(Attr(dir).size(), 3u);
  EXPECT_EQ(meta_.TotalUsage().inodes, 4u);
}

TEST_F(BatchTest, IsTheSameAsOneCallAnEntry) {
  // The rows of one batch and of the same calls one by one, but for answers and times.
  const auto run = [](bool batched) {
    FakeClock clock;
    MemoryKv kv;
    TestMeta meta(kv, {.clock = &clock});
    proto::BatchRequest batch;
    for (int i = 0; i < 40; ++i) {
      const std::string name = "f" + std::to_string(i % 30);
      if (i % 7 == 3) {
        if (!batched) (void)meta.Unlink(kRoot, "f" + std::to_string(i - 2));
        auto* unlink = batch.add_operations()->mutable_unlink();
        unlink->set_parent(kRoot);
        unlink->set_name("f" + std::to_string(i - 2));
        continue;
      }
      if (!batched) (void)meta.Create(kRoot, name, 0640, O_RDWR);
      auto* create = batch.add_operations()->mutable_create();
      create->set_parent(kRoot);
      create->set_name(name);
      create->set_mode(0640);
      create->set_exclusive(true);
      create->set_open_flags(O_RDWR);
    }
    if (batched) {
      EXPECT_TRUE(meta.Mutate(&Batch, batch).ok());
    }
    std::string rows;
    for (const Table table : {Table::kAllocator, Table::kDentry, Table::kDirectory, Table::kInode,
                              Table::kUsage, Table::kRemoval, Table::kWriteOpen}) {
      for (const auto& [key, value] : kv.Rows(TableRange(table).begin)) rows += key + value + "\n";
    }
    return rows;
  };
  EXPECT_EQ(run(true), run(false));
}

TEST_F(BatchTest, ChecksPermissionsOfTheBatchsCallerAndNotOfAnEntrys) {
  const uint64_t mine = MakePublic("open");
  const uint64_t dir = MakeDir(kRoot, "closed");
  meta_.ActAs(kAlice, 50);
  auto* entry = AddCreate(dir, "f");
  entry->mutable_ctx()->mutable_caller()->set_uid(0);
  AddCreate(mine, "f");
  const proto::BatchResponse answer = Run();
  EXPECT_EQ(Codes(answer), (std::vector<Code>{Code::kAccess, Code::kOk}));
  EXPECT_EQ(answer.results(1).attr().uid(), kAlice);
}

TEST_F(BatchTest, IsOneRequestWithOneStoredAnswer) {
  AddMkdir(kRoot, "d");
  AddMkdir(kRoot, "d");
  *batch_.mutable_ctx() = meta_.NextContext();
  const RequestId id = RequestIdOf(batch_.ctx()).value();
  const auto first = meta_.executor().Run(id, Bind(&Batch, batch_));
  const auto again = meta_.executor().Run(id, Bind(&Batch, batch_));
  ASSERT_TRUE(first.ok() && again.ok());
  EXPECT_EQ(*first, *again);
  EXPECT_EQ(meta_.executor().Stats().retries, 1u);
  EXPECT_EQ(kv_.Rows(TableRange(Table::kResult).begin).size(), 1u);
  ASSERT_TRUE(meta_.Mkdir(kRoot, "e").ok());
  EXPECT_EQ(kv_.Rows(TableRange(Table::kResult).begin).size(), 1u) << "pruned like any other";
}

TEST_F(BatchTest, OfLookupsAloneReadsOneView) {
  const uint64_t dir = MakeDir(kRoot, "d");
  MakeFile(dir, "f");
  AddLookup(dir, "f");
  AddLookup(dir, "g");
  batch_.add_operations()->mutable_get_attr()->set_inode(dir);
  ASSERT_FALSE(BatchMutates(batch_));
  const auto answer = meta_.Read(&BatchLookups, batch_);
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(Codes(*answer), (std::vector<Code>{Code::kOk, Code::kNotFound, Code::kOk}));
  AddMkdir(dir, "x");
  EXPECT_TRUE(BatchMutates(batch_));
  EXPECT_EQ(CodeOf(meta_.Read(&BatchLookups, batch_)), Code::kInvalid);
}

TEST_F(BatchTest, RefusesWhatIsOverItsLimitsAndNamesTheOperation) {
  AddMkdir(kRoot, "d");
  batch_.add_operations();
  const Status unset = meta_.Mutate(&Batch, batch_).status();
  EXPECT_EQ(unset.code(), Code::kInvalid);
  EXPECT_NE(unset.message().find("operation 1"), std::string::npos) << unset.message();
  EXPECT_EQ(CodeOf(meta_.Lookup(kRoot, "d")), Code::kNotFound) << "refused whole";

  batch_.Clear();
  for (int i = 0; i <= kMaxBatchOperations; ++i) AddLookup(kRoot, "f");
  EXPECT_EQ(CodeOf(meta_.Mutate(&Batch, batch_)), Code::kInvalid);
  batch_.mutable_operations()->RemoveLast();
  EXPECT_TRUE(CheckBatch(batch_).ok());

  batch_.Clear();
  auto* link = batch_.add_operations()->mutable_symlink();
  link->set_target(std::string(kMaxBatchBytes, 'x'));
  EXPECT_EQ(CodeOf(meta_.Mutate(&Batch, batch_)), Code::kInvalid);
}

TEST_F(BatchTest, TheLongestAnswersStayBelowTheLimit) {
  for (int i = 0; i < kMaxBatchOperations; ++i) {
    AddLookup(kRoot, std::string(250, 'n') + std::to_string(i))->set_parent(~uint64_t{0} >> 1);
  }
  EXPECT_LT(Run().ByteSizeLong(), kMaxBatchBytes);
  for (int i = 0; i < kMaxBatchOperations; ++i) {
    AddLookup(kRoot, std::string(250, '\xff') + std::to_string(i));
  }
  EXPECT_LT(Run().ByteSizeLong(), kMaxBatchBytes);
  for (int i = 0; i < kMaxBatchOperations; ++i) AddCreate(kRoot, std::to_string(i));
  EXPECT_LT(Run().ByteSizeLong(), kMaxBatchBytes);
}

}  // namespace
}  // namespace sheaf::meta
