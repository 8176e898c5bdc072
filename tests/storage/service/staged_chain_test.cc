#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "storage/service/data_frames.h"
#include "storage/service/peer_links.h"
#include "storage/service/reactor_set.h"
#include "tests/storage/service/data_rig.h"
#include "tests/support/eventually.h"
#include "tests/support/raw_frame_client.h"

// Large payloads along a chain of three servers: real reactors, sockets and links over engines in
// memory.

namespace sheaf::storage {
namespace {

using sheaf::testing::Eventually;
using sheaf::testing::RawFrameClient;
using transport::FrameType;
using transport::Method;

constexpr size_t kNodes = 3;
constexpr uint32_t kLarge = (3 << 20) + 777;

std::string RandomText(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

// Counts what goes to neighbours, and lets a test take some of it away.
class WatchedPeers final : public Peers {
 public:
  enum class Fate : uint8_t { kGoes, kLost, kRefused };
  explicit WatchedPeers(Peers& peers) : peers_(peers) {}

  void Call(TargetId to, transport::Call call, transport::Done done) override {
    Fate fate = Fate::kGoes;
    {
      std::lock_guard lock(mutex_);
      if (call.method == Method::kReplicate) whole_bytes_ += call.payload.size();
      if (fate_) fate = fate_(call);
    }
    if (fate == Fate::kGoes) return peers_.Call(to, std::move(call), std::move(done));
    if (fate == Fate::kLost) return done(transport::Reply{});
    done(Status(Code::kBusy, "refused by the test"));
  }
  void Decide(std::function<Fate(const transport::Call&)> fate) {
    std::lock_guard lock(mutex_);
    fate_ = std::move(fate);
    whole_bytes_ = 0;
  }
  size_t whole_bytes() {
    std::lock_guard lock(mutex_);
    return whole_bytes_;
  }

 private:
  Peers& peers_;
  std::mutex mutex_;
  std::function<Fate(const transport::Call&)> fate_;
  size_t whole_bytes_ = 0;
};

struct Node {
  explicit Node(uint32_t number) : uuid(std::to_string(number)) {
    ReactorSet::Options options;
    options.reactors = 2;
    options.buffer_bytes = 32 << 20;
    options.limits.tick = std::chrono::milliseconds(5);
    options.limits.room_wait = std::chrono::seconds(60);  // nobody here asks again
    auto set = ReactorSet::Start(options);
    CHECK(set.ok(), set.status().ToString());
    reactors = std::move(*set);
    Address any;
    any.host = "127.0.0.1";
    auto socket = Listen(any, 16);
    CHECK(socket.ok(), socket.status().ToString());
    address = *BoundAddress(socket->get(), any);
    std::vector<UniqueFd> listeners;
    listeners.push_back(std::move(*socket));
    ReplicaSet::Neighbours neighbours{
        .peers = &peers, .home = [this]() -> IoContext& { return reactors->Next().io(); }};
    replicas = std::make_unique<ReplicaSet>(
        std::vector<ReplicaSet::LocalTarget>{{uuid, &engine, ""}}, Clock::System(), neighbours);
    data = std::make_unique<DataHandler>(*replicas, DataHandler::Options{});
    frames = std::make_unique<DataFrames>(*data);
    reactors->Serve(*frames, std::move(listeners));
    replicas->ExtendLease(Clock::System().Now() + std::chrono::hours(1));
    links.StartTicking();
  }
  ~Node() {
    replicas->Stop();
    links.EndCalls();
    links.Stop();
    EXPECT_TRUE(reactors->StopServing(std::chrono::seconds(10)).ok());
  }

  uint64_t buffers() {
    return reactors->Next().buffer_bytes_used() + reactors->Next().buffer_bytes_used();
  }

  const std::string uuid;
  Address address;
  std::atomic<bool> ticks{true};
  testing::FakeEngine engine;
  PeerLinks links{{.on_tick = [this] {
    if (ticks) replicas->Tick();
  }}};
  WatchedPeers peers{links};
  std::unique_ptr<ReplicaSet> replicas;
  std::unique_ptr<DataHandler> data;
  std::unique_ptr<DataFrames> frames;
  std::unique_ptr<ReactorSet> reactors;  // first to go
};

class StagedChainTest : public ::testing::Test {
 protected:
  StagedChainTest() {
    for (uint32_t i = 0; i < kNodes; ++i) nodes_.push_back(std::make_unique<Node>(i + 1));
    ApplyMap(kChainVersion);
    client_.emplace(nodes_[0]->address);
    client_->Greet();
    // The first finds no connection, and has it made; each hop has its own.
    CHECK(Eventually([&] { return Write(1, "first"); }));
    for (auto& node : nodes_) node->ticks = false;
    CHECK(NoBuffers());
  }
  // Calls end before who is to answer them goes.
  ~StagedChainTest() override {
    for (auto& node : nodes_) {
      node->replicas->Stop();
      node->links.EndCalls();
    }
  }

  void ApplyMap(uint32_t version) {
    proto::ClusterMap map;
    map.set_version(version);
    proto::Chain* chain = map.add_chains();
    chain->set_id(kChain);
    chain->set_version(version);
    for (uint32_t i = 1; i <= kNodes; ++i) {
      proto::Node* node = map.add_nodes();
      node->set_id(i);
      node->mutable_addresses()->set_framed(nodes_[i - 1]->address.ToString());
      proto::Target* target = map.add_targets();
      target->set_id(i);
      target->set_node_id(i);
      target->set_uuid(nodes_[i - 1]->uuid);
      proto::ChainMember* member = chain->add_members();
      member->set_target_id(i);
      member->set_state(proto::SERVING);
    }
    for (auto& node : nodes_) {
      node->links.Update(map);
      node->replicas->ApplyMap(map);
    }
  }

  void Send(uint64_t data_id, const std::string& bytes) {
    CHECK(client_->Send(Frame(data_id, bytes)));
  }
  std::string Frame(uint64_t data_id, const std::string& bytes) {
    return RawFrameClient::Request(++id_, Method::kWrite,
                                   DataRig::WriteOf(data_id, 0, bytes).SerializeAsString(), bytes);
  }
  bool Receive() {
    const auto answer = client_->Receive();
    return answer.has_value() && answer->header.type == FrameType::kResponse;
  }
  bool Write(uint64_t data_id, const std::string& bytes) {
    Send(data_id, bytes);
    return Receive();
  }

  std::string StoredAt(size_t node, uint64_t data_id) {
    Node& at = *nodes_[node];
    std::promise<std::string> read;
    at.reactors->first().Post([&] {
      at.engine.Read(at.reactors->first().io(), {ChainId(kChain), {DataId(data_id), 0}}, 0, 1 << 22,
                     [&](Result<Engine::ReadAnswer> answer) {
                       read.set_value(answer.ok()
                                          ? std::string(answer->bytes.begin(), answer->bytes.end())
                                          : answer.status().ToString());
                     });
    });
    return read.get_future().get();
  }
  void ExpectEverywhere(uint64_t data_id, const std::string& bytes) {
    for (size_t i = 0; i < kNodes; ++i)
      EXPECT_TRUE(StoredAt(i, data_id) == bytes) << "member " << i;
  }
  bool NoBuffers() {
    return Eventually([&] {
      return std::all_of(nodes_.begin(), nodes_.end(),
                         [](const auto& node) { return node->buffers() == 0; });
    });
  }
  ReplicaSet::Counts CountsOf(size_t node) { return nodes_[node]->replicas->GetCounts(); }

  // What happens to the part at that offset on its way from the head.
  void PartOf(uint32_t offset, WatchedPeers::Fate fate) {
    nodes_[0]->peers.Decide([offset, fate](const transport::Call& call) {
      proto::StageRequest part;
      const bool it = call.method == Method::kStage && part.ParseFromString(call.message) &&
                      !part.drop() && part.offset() == offset;
      return it ? fate : WatchedPeers::Fate::kGoes;
    });
  }

  std::vector<std::unique_ptr<Node>> nodes_;
  std::optional<RawFrameClient> client_;
  uint64_t id_ = 0;
};

TEST_F(StagedChainTest, TheBytesOfALargeWriteGoAheadOfIt) {
  for (auto& node : nodes_) node->peers.Decide({});
  const std::string bytes = RandomText(kLarge, 1);
  ASSERT_TRUE(Write(5, bytes));
  ExpectEverywhere(5, bytes);
  for (size_t i : {0, 1}) {
    EXPECT_EQ(CountsOf(i).staged_bytes, kLarge) << i;
    EXPECT_EQ(CountsOf(i).stages_lost, 0u) << i;
    EXPECT_EQ(nodes_[i]->peers.whole_bytes(), 0u) << i;
  }
  EXPECT_TRUE(NoBuffers());
}

TEST_F(StagedChainTest, TheyReachTheTailWhileTheHeadReceives) {
  const std::string frame = Frame(5, RandomText(kLarge, 1));
  ASSERT_TRUE(client_->Send(frame.substr(0, frame.size() - 1)));
  EXPECT_TRUE(Eventually([&] { return CountsOf(1).staged_bytes >= 2 * kStagePart; }));
  EXPECT_TRUE(Eventually([&] { return nodes_[2]->buffers() >= kLarge; }));
  EXPECT_EQ(CountsOf(0).uncommitted, 0u);
  ASSERT_TRUE(client_->Send(frame.substr(frame.size() - 1)));
  ASSERT_TRUE(Receive());
  ExpectEverywhere(5, RandomText(kLarge, 1));
}

// Nothing ticks: what was lost is sent again at once.
TEST_F(StagedChainTest, AChangeWhoseBytesAreNotThereComesAgainWithThem) {
  for (uint32_t offset : {uint32_t{0}, kStagePart, kLarge / kStagePart * kStagePart}) {
    const uint64_t data_id = 5 + offset;
    PartOf(offset, WatchedPeers::Fate::kLost);
    const std::string bytes = RandomText(kLarge, offset);
    ASSERT_TRUE(Write(data_id, bytes));
    ExpectEverywhere(data_id, bytes);
    EXPECT_EQ(nodes_[0]->peers.whole_bytes(), kLarge);
  }
  EXPECT_TRUE(NoBuffers());
}

TEST_F(StagedChainTest, WhatIsBehindSuchAChangeComesAfterIt) {
  PartOf(kStagePart, WatchedPeers::Fate::kLost);
  std::string last;
  for (uint32_t i = 0; i < 6; ++i) {
    last = RandomText(i % 2 == 0 ? kLarge : 5000, i);
    Send(5, last);
    Send(10 + i, last);
  }
  for (uint32_t i = 0; i < 12; ++i) EXPECT_TRUE(Receive());
  last += RandomText(kLarge, 4).substr(last.size());
  ExpectEverywhere(5, last);
  for (uint32_t i = 0; i < 6; ++i)
    ExpectEverywhere(10 + i, RandomText(i % 2 == 0 ? kLarge : 5000, i));
  EXPECT_TRUE(NoBuffers());
}

TEST_F(StagedChainTest, WhereAPartIsRefusedTheBytesGoWithTheirChange) {
  PartOf(0, WatchedPeers::Fate::kRefused);
  ASSERT_TRUE(Write(5, RandomText(kLarge, 1)));
  ExpectEverywhere(5, RandomText(kLarge, 1));
  EXPECT_EQ(nodes_[0]->peers.whole_bytes(), kLarge);
  EXPECT_EQ(CountsOf(0).staged_bytes, kStagePart);
  EXPECT_EQ(CountsOf(0).stages_lost, 1u);
  EXPECT_TRUE(NoBuffers());
}

TEST_F(StagedChainTest, AClientThatVanishesLeavesNoBufferTaken) {
  const std::string frame = Frame(5, RandomText(kLarge, 1));
  ASSERT_TRUE(client_->Send(frame.substr(0, frame.size() - kStagePart)));
  ASSERT_TRUE(Eventually([&] { return nodes_[2]->buffers() > 0; }));
  client_->Hangup();
  EXPECT_TRUE(NoBuffers());
  EXPECT_EQ(StoredAt(2, 5), "");
}

TEST_F(StagedChainTest, AChainThatChangesLeavesNoBufferTaken) {
  const std::string frame = Frame(5, RandomText(kLarge, 1));
  ASSERT_TRUE(client_->Send(frame.substr(0, frame.size() - kStagePart)));
  ASSERT_TRUE(Eventually([&] { return nodes_[2]->buffers() > 0; }));
  ApplyMap(kChainVersion + 1);
  ASSERT_TRUE(client_->Send(frame.substr(frame.size() - kStagePart)));
  EXPECT_FALSE(Receive());  // its chain has changed
  EXPECT_TRUE(NoBuffers());
}

// One that sends to this server as the member before it.
class StageRequestTest : public StagedChainTest {
 protected:
  StageRequestTest() : neighbour_(nodes_[1]->address) { neighbour_.Greet(); }

  template <typename Message>
  Code Call(Method method, const Message& message, const std::string& payload) {
    transport::FrameHeader header;
    header.method = method;
    header.request_id = ++id_;
    header.flags = 1;
    CHECK(neighbour_.Send(RawFrameClient::Encode(header, message.SerializeAsString(), payload)));
    const auto answer = neighbour_.Receive();
    CHECK(answer.has_value(), "connection closed");
    answered_ = answer->message;
    if (answer->header.type == FrameType::kResponse) return Code::kOk;
    return transport::DecodeError(BytesOf(answer->message)).code();
  }
  template <typename Message>
  static Message FromHead() {
    Message message;
    message.mutable_peer()->set_chain_id(kChain);
    message.mutable_peer()->set_chain_version(kChainVersion);
    message.mutable_peer()->set_from_target(1);
    return message;
  }
  static proto::StageRequest Part(uint64_t stage, uint32_t offset, uint32_t total) {
    auto part = FromHead<proto::StageRequest>();
    part.set_stage(stage);
    part.set_offset(offset);
    part.set_total(total);
    return part;
  }
  Code Stage(const proto::StageRequest& part, size_t length) {
    return Call(Method::kStage, part, std::string(length, 'p'));
  }

  RawFrameClient neighbour_;
  std::string answered_;
};

TEST_F(StageRequestTest, PartsThatCannotBeAreRefused) {
  EXPECT_EQ(Stage(Part(0, 0, 8192), 4096), Code::kInvalid);
  EXPECT_EQ(Stage(Part(1, 0, 8192), 0), Code::kInvalid);
  EXPECT_EQ(Stage(Part(1, 0, 0), 4096), Code::kInvalid);
  EXPECT_EQ(Stage(Part(1, 0, UINT32_MAX), 4096), Code::kInvalid);
  EXPECT_EQ(Stage(Part(1, UINT32_MAX, 8192), 4096), Code::kInvalid);
  EXPECT_EQ(Stage(Part(1, 4096, 8192), 4096), Code::kCancelled);
  auto part = Part(1, 0, 8192);
  part.mutable_peer()->set_chain_version(kChainVersion + 1);
  EXPECT_EQ(Stage(part, 4096), Code::kWrongChain);
  part = Part(1, 0, 8192);
  part.mutable_peer()->set_from_target(3);
  EXPECT_EQ(Stage(part, 4096), Code::kWrongChain);
  EXPECT_EQ(Call(Method::kStage, proto::StageRequest(), "p"), Code::kInvalid);
  EXPECT_TRUE(NoBuffers());
}

TEST_F(StageRequestTest, AChangeThatNamesAnotherStageWantsItsBytes) {
  auto change = FromHead<proto::ReplicateRequest>();
  change.set_stage(1);
  change.set_length(8192);
  for (uint32_t total : {0, 4096, 12288}) {  // none, too short, incomplete
    if (total > 0) {
      ASSERT_EQ(Stage(Part(1, 0, total), std::min(total, 8192u)), Code::kOk);
    }
    ASSERT_EQ(Call(Method::kReplicate, change, {}), Code::kOk);
    proto::ReplicateResponse response;
    ASSERT_TRUE(response.ParseFromString(answered_));
    EXPECT_TRUE(response.wants_bytes());
    EXPECT_TRUE(NoBuffers());
  }
}

TEST_F(StageRequestTest, AStageThatIsGivenUpOrCutOffLeavesNoBufferTaken) {
  ASSERT_EQ(Stage(Part(1, 0, 2 << 20), 4096), Code::kOk);
  ASSERT_EQ(Stage(Part(2, 0, 2 << 20), 4096), Code::kOk);
  EXPECT_EQ(nodes_[1]->buffers(), 4u << 20);
  auto drop = Part(1, 0, 0);
  drop.set_drop(true);
  ASSERT_EQ(Stage(drop, 0), Code::kOk);
  EXPECT_EQ(nodes_[1]->buffers(), 2u << 20);
  neighbour_.Hangup();
  EXPECT_TRUE(NoBuffers());
}

// Of the 16 MiB of a reactor those of hop 1 may take nine.
TEST_F(StageRequestTest, WhatComesByAChainDoesNotWaitForAStage) {
  ASSERT_EQ(Stage(Part(1, 0, 4 << 20), 4096), Code::kOk);
  ASSERT_EQ(Stage(Part(2, 0, 4 << 20), 4096), Code::kOk);
  EXPECT_EQ(Stage(Part(3, 0, 4 << 20), 4096), Code::kBusy);  // nor one stage for another
  EXPECT_EQ(nodes_[1]->buffers(), 8u << 20);
  auto change = FromHead<proto::ReplicateRequest>();
  EXPECT_EQ(Call(Method::kReplicate, change, std::string(4 << 20, 'p')), Code::kInvalid);
  EXPECT_EQ(Stage(Part(1, 4096, 4 << 20), 4096), Code::kCancelled);
  EXPECT_TRUE(NoBuffers());
}

}  // namespace
}  // namespace sheaf::storage
