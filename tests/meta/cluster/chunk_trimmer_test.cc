#include "meta/cluster/chunk_trimmer.h"

#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <set>

#include "proto/data.pb.h"
#include "tests/support/frame_server.h"

namespace sheaf::meta {
namespace {

using sheaf::testing::FrameServer;
using transport::Method;

// Storage that holds chunks by (chain, data_id, index) and removes at most two a call.
class ChunkTrimmerTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kChains = 6;

  ChunkTrimmerTest() : pool_(transport::ConnectionPool::Options()) {
    auto server =
        FrameServer::Start([this](const std::shared_ptr<FrameServer::Peer>& peer,
                                  FrameServer::Request request) { Serve(*peer, request); });
    CHECK(server.ok(), server.status().ToString());
    server_ = std::move(*server);
    MakeMap();
  }

  void MakeMap() {
    map_ = std::make_shared<proto::ClusterMap>();
    proto::Node* node = map_->add_nodes();
    node->set_id(1);
    node->mutable_addresses()->set_framed(server_->address().ToString());
    proto::Target* target = map_->add_targets();
    target->set_id(1);
    target->set_node_id(1);
    proto::ChainTable* table = map_->add_tables();
    table->set_version(1);
    for (uint32_t id = 1; id <= kChains; ++id) {
      proto::Chain* chain = map_->add_chains();
      chain->set_id(id);
      chain->set_version(7);
      proto::ChainMember* member = chain->add_members();
      member->set_target_id(1);
      member->set_state(proto::SERVING);
      table->add_chain_ids(id);
    }
  }

  void Serve(FrameServer::Peer& peer, const FrameServer::Request& request) {
    std::lock_guard lock(mutex_);
    if (request.header.method == Method::kRemove) {
      proto::RemoveChunksRequest remove;
      ASSERT_TRUE(remove.ParseFromString(request.message));
      EXPECT_EQ(remove.ctx().chain_version(), 7u);
      chains_asked_.insert(remove.ctx().chain_id());
      if (refuse_.count(remove.ctx().chain_id()) != 0) {
        peer.Refuse(request.header.request_id, {Code::kWrongChain, "not mine"});
        return;
      }
      peer.Respond(request.header.request_id, Remove(remove).SerializeAsString());
    } else {
      proto::TruncateChunkRequest truncate;
      ASSERT_TRUE(truncate.ParseFromString(request.message));
      EXPECT_FALSE(truncate.extend());
      shortened_[{truncate.ctx().chain_id(), truncate.chunk().index()}] = truncate.length();
      peer.Respond(request.header.request_id, proto::TruncateChunkResponse().SerializeAsString());
    }
  }

  proto::RemoveChunksResponse Remove(const proto::RemoveChunksRequest& request) {
    proto::RemoveChunksResponse response;
    std::set<uint32_t>& chunks = chunks_[{request.ctx().chain_id(), request.data_id()}];
    for (auto it = chunks.lower_bound(request.first_index()); it != chunks.end();) {
      if (response.removed() == 2) {
        response.set_more(true);
        break;
      }
      it = chunks.erase(it);
      response.set_removed(response.removed() + 1);
    }
    return response;
  }

  uint32_t ChainOf(const Layout& layout, uint64_t index) {
    return 1 + ChainPosition(layout, kChains, index);
  }
  void Fill(uint64_t data_id, const Layout& layout, uint32_t chunks) {
    for (uint32_t i = 0; i < chunks; ++i) chunks_[{ChainOf(layout, i), data_id}].insert(i);
  }
  std::set<uint32_t> Left(uint64_t data_id) {
    std::lock_guard lock(mutex_);
    std::set<uint32_t> left;
    for (const auto& [key, chunks] : chunks_) {
      if (key.second == data_id) left.insert(chunks.begin(), chunks.end());
    }
    return left;
  }
  std::vector<Status> Trim(const std::vector<TrimJob>& jobs) {
    FramedChunkTrimmer trimmer(pool_, [this] { return map_; });
    return trimmer.Trim(jobs, Clock::System().Now() + std::chrono::seconds(20));
  }

  std::mutex mutex_;
  std::map<std::pair<uint32_t, uint64_t>, std::set<uint32_t>> chunks_;
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> shortened_;
  std::set<uint32_t> chains_asked_;
  std::set<uint32_t> refuse_;
  std::shared_ptr<proto::ClusterMap> map_;
  std::unique_ptr<FrameServer> server_;
  transport::ConnectionPool pool_;
};

constexpr Layout kLayout{.chunk_size_log2 = 16, .stripe_width = 0, .table_version = 1, .seed = 9};

TEST_F(ChunkTrimmerTest, RemovesEveryChunkOfTheFileAndOfNoOther) {
  Fill(5, kLayout, 40);
  Fill(6, kLayout, 40);
  EXPECT_TRUE(Trim({{.data_id = DataId(5), .layout = kLayout}}).at(0).ok());
  EXPECT_TRUE(Left(5).empty());
  EXPECT_EQ(Left(6).size(), 40u);
}

TEST_F(ChunkTrimmerTest, ServesManyFilesAtOnce) {
  std::vector<TrimJob> jobs;
  for (uint64_t id = 1; id <= 300; ++id) {
    const Layout layout{.chunk_size_log2 = 16, .table_version = 1, .seed = id};
    Fill(id, layout, 10);
    jobs.push_back({.data_id = DataId(id), .layout = layout});
  }
  for (const Status& status : Trim(jobs)) EXPECT_TRUE(status.ok()) << status.ToString();
  for (uint64_t id = 1; id <= 300; ++id) EXPECT_TRUE(Left(id).empty());
}

TEST_F(ChunkTrimmerTest, AsksOnlyTheChainsOfTheStripe) {
  const Layout narrow{.chunk_size_log2 = 16, .stripe_width = 2, .table_version = 1, .seed = 9};
  Fill(5, narrow, 20);
  EXPECT_TRUE(Trim({{.data_id = DataId(5), .layout = narrow}}).at(0).ok());
  EXPECT_TRUE(Left(5).empty());
  EXPECT_EQ(chains_asked_, (std::set<uint32_t>{ChainOf(narrow, 0), ChainOf(narrow, 1)}));
}

TEST_F(ChunkTrimmerTest, KeepsWhatIsBeforeTheCutAndShortensTheChunkAcrossIt) {
  Fill(5, kLayout, 10);
  const uint64_t keep = 3 * kLayout.chunk_size() + 1000;
  EXPECT_TRUE(Trim({{.data_id = DataId(5), .layout = kLayout, .keep_bytes = keep}}).at(0).ok());
  EXPECT_EQ(Left(5), (std::set<uint32_t>{0, 1, 2, 3}));
  ASSERT_EQ(shortened_.size(), 1u);
  EXPECT_EQ(shortened_.begin()->first, (std::pair<uint32_t, uint32_t>{ChainOf(kLayout, 3), 3}));
  EXPECT_EQ(shortened_.begin()->second, 1000u);
}

TEST_F(ChunkTrimmerTest, ACutBetweenChunksShortensNone) {
  Fill(5, kLayout, 10);
  const uint64_t keep = 3 * kLayout.chunk_size();
  EXPECT_TRUE(Trim({{.data_id = DataId(5), .layout = kLayout, .keep_bytes = keep}}).at(0).ok());
  EXPECT_EQ(Left(5), (std::set<uint32_t>{0, 1, 2}));
  EXPECT_TRUE(shortened_.empty());
}

TEST_F(ChunkTrimmerTest, AFailureConcernsItsFileAlone) {
  const Layout one{.chunk_size_log2 = 16, .stripe_width = 1, .table_version = 1, .seed = 1};
  Layout other = one;
  while (ChainOf(other, 0) == ChainOf(one, 0)) ++other.seed;
  refuse_.insert(ChainOf(one, 0));
  Fill(5, one, 3);
  Fill(6, other, 3);
  const auto results =
      Trim({{.data_id = DataId(5), .layout = one}, {.data_id = DataId(6), .layout = other}});
  EXPECT_EQ(results[0].code(), Code::kWrongChain);
  EXPECT_TRUE(results[1].ok());
  EXPECT_TRUE(Left(6).empty());
}

TEST_F(ChunkTrimmerTest, AChainThatDoesNotServeIsUnavailable) {
  for (auto& chain : *map_->mutable_chains()) {
    chain.mutable_members(0)->set_state(proto::LAST_SERVING);
  }
  EXPECT_EQ(Trim({{.data_id = DataId(5), .layout = kLayout}}).at(0).code(), Code::kUnavailable);
}

TEST_F(ChunkTrimmerTest, AServerThatIsGoneIsUnavailable) {
  server_.reset();
  EXPECT_EQ(Trim({{.data_id = DataId(5), .layout = kLayout}}).at(0).code(), Code::kUnavailable);
}

TEST_F(ChunkTrimmerTest, AnUnknownChainTableIsCorruption) {
  Layout layout = kLayout;
  layout.table_version = 99;
  EXPECT_EQ(Trim({{.data_id = DataId(5), .layout = layout}}).at(0).code(), Code::kCorrupt);
}

}  // namespace
}  // namespace sheaf::meta
