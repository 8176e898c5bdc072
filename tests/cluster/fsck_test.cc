#include <gmock/gmock.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "common/crc32c.h"
#include "common/layout.h"
#include "common/rpc.h"
#include "meta/kv/rocksdb_kv.h"
#include "meta/schema/keys.h"
#include "meta/schema/values.h"
#include "proto/admin.grpc.pb.h"
#include "proto/cluster.grpc.pb.h"
#include "proto/data.grpc.pb.h"
#include "tests/cluster/cluster_fixture.h"
#include "tests/cluster/sheaf_command.h"
#include "tests/support/eventually.h"

namespace sheaf::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr size_t kSize = 300'000;

// `sheaf fsck` as a person runs it, on a cluster that is damaged behind its back.
class ClusterFsckTest : public ClusterFixture {
 protected:
  struct Run {
    int exit_code = 0;
    nlohmann::json report;
    std::vector<std::string> Kinds(bool repaired) const {
      std::vector<std::string> kinds;
      for (const auto& problem : report.at("problems")) {
        if (problem.at("repaired") == repaired) kinds.push_back(problem.at("kind"));
      }
      return kinds;
    }
    std::string text() const { return report.dump(1); }
  };

  void SetUp() override {
    StartCluster();
    stub_ = proto::Cluster::NewStub(MakeChannel(cluster_->meta_address()));
  }

  Run Fsck(const std::string& options = "") {
    const CommandOutcome outcome =
        RunSheaf("fsck --json --meta " + cluster_->meta_address() + " " + options);
    Run run{.exit_code = outcome.exit_code};
    run.report = nlohmann::json::parse(outcome.output, nullptr, /*allow_exceptions=*/false);
    CHECK(!run.report.is_discarded(), "sheaf fsck said: " + outcome.output);
    return run;
  }
  void ExpectClean() {
    const Run run = Fsck();
    EXPECT_EQ(run.exit_code, 0) << run.text();
    EXPECT_THAT(run.Kinds(false), IsEmpty()) << run.text();
  }

  static void MakeFile(Client& client, const std::string& path, size_t size = kSize) {
    const auto file = Open(client, path);
    CHECK(file->Write(0, PatternAt(0, size)).ok());
    CHECK(file->Close().ok());
  }

  template <typename Stub, typename Request, typename Response>
  static Response Call(Stub& stub,
                       grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                    Response*),
                       const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    Response response;
    const Status status = FromGrpc((stub.*method)(&context, request, &response));
    CHECK(status.ok(), status.ToString());
    return response;
  }

  proto::ClusterMap Map() {
    return Call(*stub_, &proto::Cluster::Stub::GetClusterMap, proto::GetClusterMapRequest()).map();
  }
  // What the inode's file is, as fsck is told.
  proto::DataEntry DataOf(InodeId inode) {
    const auto admin = proto::Admin::NewStub(MakeChannel(cluster_->meta_address()));
    const uint64_t check =
        Call(*admin, &proto::Admin::Stub::BeginCheck, proto::BeginCheckRequest()).check();
    proto::ListDataRequest request;
    request.set_check(check);
    const auto page = Call(*admin, &proto::Admin::Stub::ListData, request);
    proto::EndCheckRequest end;
    end.set_check(check);
    Call(*admin, &proto::Admin::Stub::EndCheck, end);
    for (const proto::DataEntry& entry : page.entries()) {
      if (entry.inode() == inode.value()) return entry;
    }
    CHECK(false, "no such file");
    return {};
  }
  // The chain of a chunk by layout arithmetic, or `next` chains further.
  static uint32_t ChainFor(const proto::ClusterMap& map, const proto::DataEntry& data,
                           uint32_t index, uint32_t next = 0) {
    const Layout layout = {.chunk_size_log2 = data.layout().chunk_size_log2(),
                           .stripe_width = data.layout().stripe_width(),
                           .table_version = data.layout().table_version(),
                           .seed = data.layout().seed()};
    const proto::ChainTable& table = map.tables(0);
    const auto size = static_cast<uint32_t>(table.chain_ids_size());
    return table.chain_ids((ChainPosition(layout, size, index) + next) % size);
  }

  std::unique_ptr<proto::Data::Stub> HeadOf(const proto::ClusterMap& map, uint32_t id,
                                            proto::DataContext* context) {
    for (const proto::Chain& chain : map.chains()) {
      if (chain.id() != id) continue;
      context->set_chain_id(id);
      context->set_chain_version(chain.version());
      for (const proto::Target& target : map.targets()) {
        if (target.id() != chain.members(0).target_id()) continue;
        for (const proto::Node& node : map.nodes()) {
          if (node.id() == target.node_id()) {
            return proto::Data::NewStub(MakeChannel(node.addresses().grpc()));
          }
        }
      }
    }
    CHECK(false, "no such chain");
    return nullptr;
  }
  void WriteChunk(uint32_t chain, uint64_t data_id, uint32_t index) {
    proto::WriteChunkRequest request;
    const auto stub = HeadOf(Map(), chain, request.mutable_ctx());
    request.mutable_chunk()->set_data_id(data_id);
    request.mutable_chunk()->set_index(index);
    request.set_chunk_size(1 << kDefaultChunkSizeLog2);
    request.set_data(std::string(5000, 'x'));
    request.set_crc32c(Crc32c({reinterpret_cast<const uint8_t*>(request.data().data()), 5000}));
    Call(*stub, &proto::Data::Stub::Write, request);
  }
  bool HasChunk(uint32_t chain, uint64_t data_id, uint32_t index) {
    proto::ListChunksRequest request;
    const auto stub = HeadOf(Map(), chain, request.mutable_ctx());
    request.set_data_id(data_id);
    const auto page = Call(*stub, &proto::Data::Stub::List, request);
    for (const auto& chunk : page.chunks()) {
      if (chunk.chunk().index() == index) return true;
    }
    return false;
  }

  // The metadata service is down meanwhile.
  void EditRows(const std::function<void(meta::KvStore&)>& edit) {
    cluster_->KillMeta();
    {
      auto store = meta::OpenRocksDbKv(cluster_->meta_directory() + "/db", {});
      ASSERT_TRUE(store.ok()) << store.status().ToString();
      edit(**store);
    }
    ASSERT_TRUE(cluster_->StartMeta().ok());
  }
  static void DeleteRow(meta::KvStore& store, const std::string& key) {
    const meta::KvChange change{key, std::nullopt};
    CHECK(store.Write(std::span(&change, 1), /*sync=*/true).ok());
  }

  std::unique_ptr<proto::Cluster::Stub> stub_;
};

TEST_F(ClusterFsckTest, AHealthyClusterIsClean) {
  const auto client = Connect();
  ASSERT_TRUE(client->MkdirPath("/dir").ok());
  for (int i = 0; i < 5; ++i) MakeFile(*client, "/dir/" + std::to_string(i));
  ASSERT_TRUE(client->UnlinkPath("/dir/0").ok());
  const Run run = Fsck();
  EXPECT_EQ(run.exit_code, 0) << run.text();
  EXPECT_EQ(run.report.at("clean"), true);
  EXPECT_GE(run.report.at("inodes"), 6);
  EXPECT_GE(run.report.at("chunks"), 4);
}

TEST_F(ClusterFsckTest, ChunksThatNothingNamesAreFoundAndRemoved) {
  const auto client = Connect();
  MakeFile(*client, "/file");
  const uint32_t chain = Map().chains(1).id();
  WriteChunk(chain, 40, 3);
  WriteChunk(chain, 40, 4);
  const Run found = Fsck();
  EXPECT_EQ(found.exit_code, 1);
  EXPECT_THAT(found.Kinds(false), ElementsAre("orphan_chunks")) << found.text();
  EXPECT_THAT(found.text(), HasSubstr("chunk 40.3 on chain " + std::to_string(chain)));
  const Run repaired = Fsck("--repair");
  EXPECT_EQ(repaired.exit_code, 0) << repaired.text();
  EXPECT_THAT(repaired.Kinds(true), ElementsAre("orphan_chunks")) << repaired.text();
  ExpectClean();
  EXPECT_TRUE(Eventually([&] { return !HasChunk(chain, 40, 3) && !HasChunk(chain, 40, 4); }));
  const auto file = Open(*client, "/file", O_RDONLY);
  EXPECT_EQ(ReadAll(*file, 0, kSize), PatternAt(0, kSize));
  // No file comes to those chunks' number.
  MakeFile(*client, "/later");
  EXPECT_GT(DataOf(client->StatPath("/later")->inode).data_id(), 40u);
}

TEST_F(ClusterFsckTest, AChunkBeyondItsFilesLengthIsFoundAndTrimmed) {
  const auto client = Connect();
  MakeFile(*client, "/file");
  const proto::DataEntry data = DataOf(client->StatPath("/file")->inode);
  const uint32_t chain = ChainFor(Map(), data, 2);
  WriteChunk(chain, data.data_id(), 2);
  const Run found = Fsck();
  EXPECT_EQ(found.exit_code, 1);
  EXPECT_THAT(found.Kinds(false), ElementsAre("chunk_beyond_length")) << found.text();
  EXPECT_EQ(Fsck("--repair").exit_code, 0);
  EXPECT_TRUE(Eventually([&] { return !HasChunk(chain, data.data_id(), 2); }));
  ExpectClean();
  const auto file = Open(*client, "/file", O_RDONLY);
  EXPECT_EQ(ReadAll(*file, 0, kSize), PatternAt(0, kSize));
}

TEST_F(ClusterFsckTest, AFileThatIsOpenForWritingIsNotJudged) {
  const auto client = Connect();
  const auto file = Open(*client, "/open");
  ASSERT_TRUE(file->Write(10 << 20, PatternAt(0, kSize)).ok());  // its length is not told yet
  ExpectClean();
  ASSERT_TRUE(file->Close().ok());
  ExpectClean();
}

TEST_F(ClusterFsckTest, AChunkOnTheWrongChainIsNamedAndLeft) {
  const auto client = Connect();
  MakeFile(*client, "/file");
  const proto::DataEntry data = DataOf(client->StatPath("/file")->inode);
  WriteChunk(ChainFor(Map(), data, 0, 1), data.data_id(), 0);
  const Run run = Fsck("--repair");
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.Kinds(false), ElementsAre("misplaced_chunk")) << run.text();
}

TEST_F(ClusterFsckTest, RowsThatAreGoneAreFoundAndMended) {
  const auto client = Connect();
  ASSERT_TRUE(client->MkdirPath("/dir").ok());
  for (const char* path : {"/dir/kept", "/dir/lost", "/dir/nameless"}) MakeFile(*client, path);
  const InodeId directory = client->StatPath("/dir")->inode;
  const InodeId lost = client->StatPath("/dir/lost")->inode;
  const uint64_t data_id = DataOf(lost).data_id();
  EditRows([&](meta::KvStore& store) {
    DeleteRow(store, meta::InodeKey(lost));
    DeleteRow(store, meta::DentryKey(directory, "nameless"));
  });
  const Run found = Fsck();
  EXPECT_EQ(found.exit_code, 1);
  EXPECT_THAT(
      found.Kinds(false),
      UnorderedElementsAre("dangling_dentry", "stray_directory_row", "wrong_entry_count",
                           "unreachable_inode", "wrong_usage", "wrong_usage", "orphan_chunks"))
      << found.text();
  EXPECT_THAT(found.text(), HasSubstr("nothing names data " + std::to_string(data_id)));
  const Run repaired = Fsck("--repair");
  EXPECT_EQ(repaired.exit_code, 0) << repaired.text();
  ExpectClean();
  // What had no name is in /lost+found, bytes and all; what is left of the directory works.
  const auto again = Connect();
  const auto home = again->StatPath("/lost+found");
  ASSERT_TRUE(home.ok());
  const auto page = again->ReadDirectory({}, home->inode, 0, 100, false);
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->entries.size(), 3u);  // "." and ".." too
  const auto file = Open(*again, "/lost+found/" + page->entries[2].name, O_RDONLY);
  EXPECT_EQ(ReadAll(*file, 0, kSize), PatternAt(0, kSize));
  ASSERT_TRUE(again->UnlinkPath("/dir/kept").ok());
  EXPECT_TRUE(again->RmdirPath("/dir").ok());
}

TEST_F(ClusterFsckTest, ABusyClusterGivesNoFalseReport) {
  std::atomic<bool> stop{false};
  std::atomic<int> done{0};
  const auto work = [&](int worker) {
    const auto client = Connect();
    const std::string base = "/w" + std::to_string(worker);
    CHECK(client->MkdirPath(base).ok());
    for (int i = 0; !stop; ++i, ++done) {
      const std::string path = base + "/" + std::to_string(i % 7);
      switch (i % 5) {
        case 0:
        case 1: {
          const auto file = Open(*client, path);
          CHECK(file->Write(static_cast<uint64_t>(i % 3) << 22, PatternAt(0, 50'000)).ok());
          if (i % 2 == 0) CHECK(file->Sync().ok());
          CHECK(file->Close().ok());
          break;
        }
        case 2:
          (void)client->UnlinkPath(base + "/" + std::to_string((i + 3) % 7));
          break;
        case 3:
          (void)client->RenamePath(path, path + "r");
          break;
        default: {
          const auto file = client->OpenPath(path, O_RDWR | O_TRUNC, 0644);
          if (file.ok()) CHECK((*file)->Close().ok());
        }
      }
    }
  };
  std::vector<std::thread> workers;
  for (int i = 0; i < 3; ++i) workers.emplace_back(work, i);
  for (int round = 0; round < 6; ++round) {
    const int before = done;
    const Run run = Fsck(round % 2 == 0 ? "" : "--repair");
    EXPECT_EQ(run.exit_code, 0) << run.text();
    EXPECT_THAT(run.report.at("problems"), IsEmpty()) << run.text();
    EXPECT_TRUE(Eventually([&] { return done > before; }));
  }
  stop = true;
  for (std::thread& worker : workers) worker.join();
  ExpectClean();
}

}  // namespace
}  // namespace sheaf::testing
