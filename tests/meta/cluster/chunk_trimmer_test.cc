#include "meta/cluster/chunk_trimmer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#include "proto/data.pb.h"
#include "tests/meta/cluster/map_of_one_target.h"
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
    map_ = MapOfOneTarget(server_->address(), kChains);
  }

  void Serve(FrameServer::Peer& peer, const FrameServer::Request& request) {
    std::lock_guard lock(mutex_);
    if (request.header.method == Method::kRemove) {
      proto::RemoveChunksRequest remove;
      ASSERT_TRUE(remove.ParseFromString(request.message));
      names_.push_back(remove.ctx());
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
      names_.push_back(truncate.ctx());
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
    return trimmer_.Trim(jobs, Clock::System().Now() + std::chrono::seconds(20));
  }

  std::mutex mutex_;
  std::map<std::pair<uint32_t, uint64_t>, std::set<uint32_t>> chunks_;
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> shortened_;
  std::vector<proto::DataContext> names_;  // of the calls, as they came
  std::set<uint32_t> chains_asked_;
  std::set<uint32_t> refuse_;
  std::shared_ptr<proto::ClusterMap> map_;
  std::unique_ptr<FrameServer> server_;
  transport::ConnectionPool pool_;
  Result<Incarnation> identity_ = Incarnation(77);
  FramedChunkTrimmer trimmer_{pool_, [this] { return map_; }, [this] { return identity_; }};
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

TEST_F(ChunkTrimmerTest, BeyondTheLastChunkThereCanBeIsNothingToRemove) {
  Fill(5, kLayout, 10);
  const uint64_t keep = kMaxFileSize - 1;
  EXPECT_TRUE(Trim({{.data_id = DataId(5), .layout = kLayout, .keep_bytes = keep}}).at(0).ok());
  EXPECT_EQ(Left(5).size(), 10u);
  ASSERT_EQ(shortened_.size(), 1u);
  EXPECT_EQ(shortened_.begin()->first.second, UINT32_MAX);
  EXPECT_EQ(shortened_.begin()->second, kLayout.chunk_size() - 1);
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

TEST_F(ChunkTrimmerTest, CallsAreNamedOnceUnderTheServicesSession) {
  Fill(5, kLayout, 40);
  const uint64_t keep = 3 * kLayout.chunk_size() + 1000;
  EXPECT_TRUE(Trim({{.data_id = DataId(5), .layout = kLayout, .keep_bytes = keep}}).at(0).ok());
  std::map<uint32_t, uint64_t> last;
  for (const proto::DataContext& name : names_) {
    EXPECT_EQ(name.incarnation(), 77u);
    EXPECT_GT(name.stream(), 0u);
    EXPECT_GT(name.sequence(), last[name.stream()]) << "pages, and the cut, are each a mutation";
    last[name.stream()] = name.sequence();
  }
  EXPECT_EQ(last.size(), kChains) << "one at a time uses a stream";
}

// The lost call may still come: it must find that its stream has gone on.
TEST_F(ChunkTrimmerTest, AChainThatDidNotAnswerIsAskedAgainUnderTheSameStream) {
  const TrimJob cut{.data_id = DataId(5), .layout = kLayout, .keep_bytes = kLayout.chunk_size()};
  Fill(5, kLayout, 12);
  const uint32_t silent = ChainOf(kLayout, 4);
  refuse_.insert(silent);
  ASSERT_FALSE(Trim({cut}).at(0).ok());
  const auto of_silent = [&](const proto::DataContext& name) { return name.chain_id() == silent; };
  const proto::DataContext lost = *std::find_if(names_.begin(), names_.end(), of_silent);
  refuse_.clear();
  Fill(6, kLayout, 12);
  names_.clear();
  ASSERT_TRUE(Trim({{.data_id = DataId(6), .layout = kLayout}}).at(0).ok());
  for (const proto::DataContext& name : names_) EXPECT_NE(name.stream(), lost.stream());

  // Another cut by then, shorter: it asks that chain for something else.
  names_.clear();
  TrimJob shorter = cut;
  shorter.keep_bytes = 100;
  ASSERT_TRUE(Trim({shorter}).at(0).ok());
  const auto again = std::find_if(names_.begin(), names_.end(), of_silent);
  ASSERT_NE(again, names_.end());
  EXPECT_EQ(again->stream(), lost.stream());
  EXPECT_GT(again->sequence(), lost.sequence());
}

TEST_F(ChunkTrimmerTest, NothingIsSentWithoutAnIdentity) {
  Fill(5, kLayout, 4);
  identity_ = Status(Code::kUnavailable, "the one before is not fenced yet");
  EXPECT_EQ(Trim({{.data_id = DataId(5), .layout = kLayout}}).at(0).code(), Code::kUnavailable);
  EXPECT_EQ(Left(5).size(), 4u);
  EXPECT_TRUE(names_.empty());
}

}  // namespace
}  // namespace sheaf::meta
