#include "client/cli/chunk_check.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "client/cli/fsck_run.h"

namespace sheaf::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint32_t kChains = 4;
constexpr uint32_t kChunk = 1 << kMinChunkSizeLog2;

// A cluster that changes between one call and the next, where a test says so.
class FakeCluster final : public CheckSource {
 public:
  struct File {
    uint64_t data_id = 0;
    uint64_t size = 0;
    uint64_t version = 1;
    bool settled = true;
  };

  // A file with the chunks that its size needs.
  void AddFile(uint64_t inode, uint64_t data_id, uint64_t size) {
    files[inode] = {data_id, size};
    const Layout layout = LayoutOf(data_id);
    for (uint32_t i = 0; i < ChunkCount(layout, size); ++i) {
      const auto length = static_cast<uint32_t>(std::min<uint64_t>(kChunk, size - i * kChunk));
      chunks[{ChainOf(data_id, i), {DataId(data_id), i}}] = length;
    }
  }
  static Layout LayoutOf(uint64_t data_id) {
    return {.chunk_size_log2 = kMinChunkSizeLog2, .table_version = 1, .seed = data_id};
  }
  static uint32_t ChainOf(uint64_t data_id, uint32_t index) {
    return 1 + ChainPosition(LayoutOf(data_id), kChains, index);
  }

  Result<proto::ClusterMap> Map() override {
    proto::ClusterMap map;
    proto::ChainTable* table = map.add_tables();
    table->set_version(1);
    for (uint32_t id = 1; id <= kChains; ++id) {
      map.add_chains()->set_id(id);
      table->add_chain_ids(id);
    }
    return map;
  }
  Result<uint64_t> BeginCheck() override { return uint64_t{1}; }
  Result<proto::StepCheckResponse> StepCheck(uint64_t) override {
    proto::StepCheckResponse step;
    for (const auto& finding : names) *step.add_findings() = finding;
    step.set_done(true);
    return step;
  }
  Result<proto::RepairFindingResponse> Repair(uint64_t, const proto::Finding& finding) override {
    proto::RepairFindingResponse answer;
    const auto same = [&](const auto& name) { return name.text() == finding.text(); };
    answer.set_repaired(std::erase_if(names, same) > 0);
    return answer;
  }
  Status EndCheck(uint64_t) override { return Status::Ok(); }

  // Two entries a page; the state is that of the first page.
  Result<proto::ListDataResponse> ListData(const proto::ListDataRequest& request) override {
    if (request.cursor().empty()) {
      listed_ = files;
      Happens(before_listing);
    }
    proto::ListDataResponse page;
    const uint64_t from = request.cursor().empty() ? 0 : std::stoull(request.cursor());
    for (auto file = listed_.lower_bound(from); file != listed_.end(); ++file) {
      if (page.entries_size() == 2) {
        page.set_cursor(std::to_string(file->first));
        break;
      }
      const uint64_t id = file->second.data_id;
      if (id < request.min_data_id()) continue;
      if (request.max_data_id() != 0 && id > request.max_data_id()) continue;
      proto::DataEntry* entry = page.add_entries();
      entry->set_data_id(id);
      entry->set_inode(file->first);
      entry->set_size(file->second.size);
      entry->mutable_layout()->set_chunk_size_log2(kMinChunkSizeLog2);
      entry->mutable_layout()->set_table_version(1);
      entry->mutable_layout()->set_seed(id);
    }
    return page;
  }
  Result<proto::GetDataResponse> GetData(uint64_t inode) override {
    proto::GetDataResponse answer;
    const auto file = files.find(inode);
    if (file == files.end()) return answer;
    answer.set_exists(true);
    answer.set_data_id(file->second.data_id);
    answer.set_size(file->second.size);
    answer.set_version(file->second.version);
    answer.set_settled(file->second.settled);
    Happens(after_get);
    return answer;
  }
  Result<proto::DropOrphansResponse> DropOrphans(
      const proto::DropOrphansRequest& request) override {
    proto::DropOrphansResponse answer;
    for (uint64_t id : request.data_ids()) {
      answer.add_queued(id);
      std::erase_if(chunks,
                    [&](const auto& chunk) { return chunk.first.second.data_id.value() == id; });
    }
    return answer;
  }
  Result<proto::ListChunksResponse> ListChunks(uint32_t chain, std::optional<ChunkId> after,
                                               std::optional<uint64_t> data_id,
                                               uint32_t limit) override {
    if (broken_chains.contains(chain)) return Status(Code::kUnavailable, "away");
    proto::ListChunksResponse page;
    page.set_end(true);
    for (const auto& [key, length] : chunks) {
      if (key.first != chain || (after && key.second <= *after)) continue;
      if (data_id && key.second.data_id.value() != *data_id) continue;
      if (static_cast<uint32_t>(page.chunks_size()) == std::min(limit, 3u)) {
        page.set_end(false);
        break;
      }
      proto::ChunkInfo* chunk = page.add_chunks();
      chunk->mutable_chunk()->set_data_id(key.second.data_id.value());
      chunk->mutable_chunk()->set_index(key.second.index);
      chunk->set_length(length);
    }
    return page;
  }

  // There is one of each chunk.
  Result<proto::ListChunksResponse> ListReplica(uint32_t chain, uint32_t,
                                                std::optional<ChunkId> after,
                                                std::optional<uint64_t> data_id,
                                                uint32_t limit) override {
    return ListChunks(chain, after, data_id, limit);
  }

  std::map<uint64_t, File> files;  // by inode
  std::map<std::pair<uint32_t, ChunkId>, uint32_t> chunks;
  std::vector<proto::Finding> names;
  std::set<uint32_t> broken_chains;
  // Run once each, at that moment.
  std::function<void()> before_listing;  // after the state that is listed
  std::function<void()> after_get;

 private:
  static void Happens(std::function<void()>& event) {
    if (event) std::exchange(event, nullptr)();
  }
  std::map<uint64_t, File> listed_;
};

class ChunkCheckTest : public ::testing::Test {
 protected:
  ChunkCheckTest() {
    for (uint64_t i = 1; i <= 9; ++i) cluster_.AddFile(100 + i, 10 * i, 200'000 + i);
  }
  std::vector<std::string> Check(size_t share = 2) {
    std::vector<std::string> texts;
    ChunkCheck check(
        cluster_, 1,
        [&](const proto::Finding& finding) {
          texts.push_back(finding.text());
          return Status::Ok();
        },
        share);
    const Status status = check.Run();
    EXPECT_TRUE(status.ok()) << status.ToString();
    chunks_ = check.chunks();
    return texts;
  }
  void AddChunk(uint32_t chain, uint64_t data_id, uint32_t index, uint32_t length = 5) {
    cluster_.chunks[{chain, {DataId(data_id), index}}] = length;
  }

  FakeCluster cluster_;
  uint64_t chunks_ = 0;
};

TEST_F(ChunkCheckTest, LooksAtEveryChunkOnceWhateverTheShare) {
  for (size_t share : {1, 2, 3, 8, 9, 100}) {
    EXPECT_THAT(Check(share), IsEmpty()) << share;
    EXPECT_EQ(chunks_, cluster_.chunks.size()) << share;
  }
}

TEST_F(ChunkCheckTest, OrphansAreToldOnceADataId) {
  AddChunk(1, 5, 0);
  AddChunk(2, 5, 1);
  AddChunk(3, 55, 7);
  AddChunk(4, 5000, 0);
  for (size_t share : {1, 3, 100}) {
    const auto texts = Check(share);
    ASSERT_THAT(texts, SizeIs(3)) << share;
    EXPECT_THAT(texts[0], HasSubstr("5.0 on chain 1 and 1 more: nothing names data 5"));
    EXPECT_THAT(texts[1], HasSubstr("55.7 on chain 3"));
    EXPECT_THAT(texts[2], HasSubstr("5000.0 on chain 4"));
  }
}

TEST_F(ChunkCheckTest, AFileMadeMeanwhileIsNoOrphan) {
  cluster_.before_listing = [&] { cluster_.AddFile(200, 2000, 70'000); };
  EXPECT_THAT(Check(100), IsEmpty());
}

TEST_F(ChunkCheckTest, AFileRemovedMeanwhileIsNoOrphan) {
  AddChunk(1, 55, 0);  // being reclaimed: it goes between the first look and the second
  cluster_.before_listing = [&] {
    cluster_.before_listing = [&] { cluster_.chunks.erase({1, {DataId(55), 0}}); };
  };
  EXPECT_THAT(Check(100), IsEmpty());
}

TEST_F(ChunkCheckTest, AChunkBeyondTheLength) {
  AddChunk(FakeCluster::ChainOf(30, 9), 30, 9);
  AddChunk(FakeCluster::ChainOf(30, 10), 30, 10);
  const auto texts = Check();
  ASSERT_THAT(texts, SizeIs(1));  // one line a file
  EXPECT_THAT(texts[0], HasSubstr("beyond inode 103, whose length is 200003"));
}

TEST_F(ChunkCheckTest, ALastChunkThatIsTooLong) {
  cluster_.files[103].size = 199'000;
  EXPECT_THAT(Check(), SizeIs(1));
}

TEST_F(ChunkCheckTest, AWriterIsWaitedFor) {
  AddChunk(FakeCluster::ChainOf(30, 9), 30, 9);
  cluster_.files[103].settled = false;
  EXPECT_THAT(Check(), IsEmpty());
}

TEST_F(ChunkCheckTest, AFileThatGrowsMeanwhileIsNotTold) {
  AddChunk(FakeCluster::ChainOf(30, 9), 30, 9);
  cluster_.after_get = [&] {
    cluster_.files[103].size = 10 * kChunk;
    ++cluster_.files[103].version;
  };
  EXPECT_THAT(Check(), IsEmpty());
}

TEST_F(ChunkCheckTest, AChunkThatIsTrimmedMeanwhileIsNotTold) {
  AddChunk(FakeCluster::ChainOf(30, 9), 30, 9);
  cluster_.after_get = [&] {
    cluster_.chunks.erase({FakeCluster::ChainOf(30, 9), {DataId(30), 9}});
  };
  EXPECT_THAT(Check(), IsEmpty());
}

TEST_F(ChunkCheckTest, AChunkOnAnotherChain) {
  const uint32_t right = FakeCluster::ChainOf(30, 0);
  AddChunk(right % kChains + 1, 30, 0);
  const auto texts = Check();
  ASSERT_THAT(texts, SizeIs(1));
  EXPECT_THAT(texts[0], HasSubstr("on chain " + std::to_string(right) + ", which has one too"));
}

TEST_F(ChunkCheckTest, AChainThatDoesNotAnswerIsToldAndTheOthersAreChecked) {
  cluster_.broken_chains = {2};
  AddChunk(3, 55, 0);
  const auto texts = Check(100);
  ASSERT_THAT(texts, SizeIs(2));
  EXPECT_THAT(texts[0], HasSubstr("chain 2: its chunks could not be checked: away"));
}

// --- the whole of it ---

class FsckRunTest : public ChunkCheckTest {
 protected:
  FsckResult Fsck(bool repair) {
    lines_.clear();
    FsckRun run(cluster_,
                {.repair = repair,
                 .tell =
                     [&](const Problem& problem) {
                       lines_.push_back((problem.repaired ? "repaired " : "left ") + problem.kind);
                     },
                 .progress = [](const std::string&) {}});
    const auto result = run.Run();
    EXPECT_TRUE(result.ok()) << result.status().ToString();
    return result.ok() ? *result : FsckResult();
  }
  void AddName(proto::FindingKind kind, bool repairable) {
    proto::Finding& finding = cluster_.names.emplace_back();
    finding.set_kind(kind);
    finding.set_text("finding " + std::to_string(cluster_.names.size()));
    finding.set_repairable(repairable);
  }
  std::vector<std::string> lines_;
};

TEST_F(FsckRunTest, RepairsGoOnUntilNothingIsLeftToMend) {
  AddName(proto::DANGLING_DENTRY, true);
  AddName(proto::BAD_ROW, false);
  AddChunk(1, 55, 0);
  EXPECT_EQ(Fsck(false).left, 3u);
  EXPECT_THAT(lines_, ElementsAre("left dangling_dentry", "left bad_row", "left orphan_chunks"));
  const FsckResult result = Fsck(true);
  EXPECT_EQ(result.repaired, 2u);
  EXPECT_EQ(result.left, 1u);
  EXPECT_THAT(lines_,
              ElementsAre("repaired dangling_dentry", "repaired orphan_chunks", "left bad_row"));
}

}  // namespace
}  // namespace sheaf::cli
