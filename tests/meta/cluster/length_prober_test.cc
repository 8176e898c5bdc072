#include "meta/cluster/length_prober.h"

#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <set>

#include "proto/data.pb.h"
#include "tests/meta/cluster/map_of_one_target.h"
#include "tests/support/frame_server.h"

namespace sheaf::meta {
namespace {

using sheaf::testing::FrameServer;

// Storage that holds chunk lengths by (chain, data_id, index) and lists two a page.
class LengthProberTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kChains = 5;
  static constexpr Layout kLayout{.chunk_size_log2 = 16, .table_version = 1, .seed = 9};
  static constexpr uint64_t kChunk = 1 << 16;

  LengthProberTest() : pool_(transport::ConnectionPool::Options()) {
    auto server =
        FrameServer::Start([this](const std::shared_ptr<FrameServer::Peer>& peer,
                                  FrameServer::Request request) { Serve(*peer, request); });
    CHECK(server.ok(), server.status().ToString());
    server_ = std::move(*server);
    map_ = MapOfOneTarget(server_->address(), kChains);
  }

  void Serve(FrameServer::Peer& peer, const FrameServer::Request& request) {
    std::lock_guard lock(mutex_);
    ASSERT_EQ(request.header.method, transport::Method::kList);
    proto::ListChunksRequest list;
    ASSERT_TRUE(list.ParseFromString(request.message));
    EXPECT_EQ(list.ctx().chain_version(), 7u);
    if (refuse_.contains(list.ctx().chain_id())) {
      peer.Refuse(request.header.request_id, {Code::kWrongChain, "not mine"});
      return;
    }
    proto::ListChunksResponse page;
    page.set_end(true);
    const auto& chunks = chunks_[{list.ctx().chain_id(), list.data_id()}];
    auto it = list.has_after() ? chunks.upper_bound(list.after().index()) : chunks.begin();
    for (; it != chunks.end(); ++it) {
      if (page.chunks_size() == 2) {
        page.set_end(false);
        break;
      }
      proto::ChunkInfo* chunk = page.add_chunks();
      chunk->mutable_chunk()->set_data_id(list.data_id() + lie_);
      chunk->mutable_chunk()->set_index(it->first);
      chunk->set_length(it->second);
      ++listed_;
    }
    peer.Respond(request.header.request_id, page.SerializeAsString());
  }

  uint32_t ChainOf(const Layout& layout, uint64_t index) {
    return 1 + ChainPosition(layout, kChains, index);
  }
  void Put(uint64_t data_id, uint32_t index, uint32_t length) {
    chunks_[{ChainOf(kLayout, index), data_id}][index] = length;
  }
  std::vector<Result<uint64_t>> Reach(const std::vector<ProbeJob>& jobs) {
    FramedLengthProber prober(pool_, [this] { return map_; });
    return prober.Reach(jobs, Clock::System().Now() + std::chrono::seconds(20));
  }
  Result<uint64_t> ReachOf(uint64_t data_id, uint64_t from = 0) {
    return Reach({{.data_id = DataId(data_id), .layout = kLayout, .from_bytes = from}}).at(0);
  }

  std::mutex mutex_;
  std::map<std::pair<uint32_t, uint64_t>, std::map<uint32_t, uint32_t>> chunks_;
  std::set<uint32_t> refuse_;
  uint64_t lie_ = 0;
  int listed_ = 0;
  std::shared_ptr<proto::ClusterMap> map_;
  std::unique_ptr<FrameServer> server_;
  transport::ConnectionPool pool_;
};

TEST_F(LengthProberTest, TheLastByteOnAnyChainCounts) {
  EXPECT_EQ(*ReachOf(5), 0u);
  Put(5, 0, kChunk);
  Put(5, 3, 100);
  EXPECT_EQ(*ReachOf(5), 3 * kChunk + 100);
  Put(5, 7, 0);
  EXPECT_EQ(*ReachOf(5), 3 * kChunk + 100) << "an empty chunk has no bytes";
  Put(6, 900, 1);
  EXPECT_EQ(*ReachOf(5), 3 * kChunk + 100) << "another file's";
}

TEST_F(LengthProberTest, GoesOnToTheLastPage) {
  for (uint32_t i = 0; i < 57; ++i) Put(5, i, kChunk);
  Put(5, 57, 9);
  EXPECT_EQ(*ReachOf(5), 57 * kChunk + 9);
}

TEST_F(LengthProberTest, AsksForNothingBelowWhatIsKnown) {
  for (uint32_t i = 0; i < 50; ++i) Put(5, i, kChunk);
  Put(5, 50, 300);
  EXPECT_EQ(*ReachOf(5, 50 * kChunk + 100), 50 * kChunk + 300);
  EXPECT_EQ(listed_, 1);
  EXPECT_LE(*ReachOf(5, 60 * kChunk), 60 * kChunk);
}

TEST_F(LengthProberTest, ManyFilesAtOnceAndEachItsOwnFailure) {
  Layout one = kLayout;
  one.stripe_width = 1;
  Layout other = one;
  while (ChainOf(other, 0) == ChainOf(one, 0)) ++other.seed;
  refuse_.insert(ChainOf(one, 0));
  chunks_[{ChainOf(other, 0), 6}][2] = 5;
  const auto results =
      Reach({{.data_id = DataId(5), .layout = one}, {.data_id = DataId(6), .layout = other}});
  EXPECT_EQ(results[0].status().code(), Code::kWrongChain);
  EXPECT_EQ(*results[1], 2 * kChunk + 5);
}

TEST_F(LengthProberTest, AChainThatDoesNotAnswerIsAFailure) {
  Put(5, 0, 100);
  map_->mutable_chains(2)->mutable_members(0)->set_state(proto::LAST_SERVING);
  EXPECT_EQ(ReachOf(5).status().code(), Code::kUnavailable);
}

TEST_F(LengthProberTest, AnAnswerAboutSomethingElseIsRefused) {
  Put(5, 0, 100);
  lie_ = 1;
  EXPECT_EQ(ReachOf(5).status().code(), Code::kProtocol);
}

}  // namespace
}  // namespace sheaf::meta
