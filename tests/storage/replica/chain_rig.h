#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "common/crc32c.h"
#include "proto/data.pb.h"
#include "storage/replica/chain_replica.h"
#include "storage/replica/repairer.h"
#include "storage/replica/resync_mover.h"
#include "tests/support/eventually.h"
#include "tests/support/fake_disk.h"
#include "tests/support/fake_engine.h"

namespace sheaf::storage {

using Bytes = std::vector<uint8_t>;
inline constexpr ChainId kChain{7};
inline constexpr uint32_t kChunkSize = 1 << 20;

inline Bytes RandomBytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(size);
  for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

// The way between replicas of one process: a call is handled on the context of the one it is for,
// and answered on a context of its own. Cut targets cannot be reached. Thread-safe.
class FakePeers final : public Peers {
 public:
  struct End {
    ChainReplica* replica = nullptr;
    testing::FakeIoContext* io = nullptr;
  };

  void Join(TargetId target, const End& end) {
    std::lock_guard lock(mutex_);
    ends_[target] = end;
  }
  void Cut(TargetId target, bool cut) {
    std::lock_guard lock(mutex_);
    if (cut) {
      cut_.insert(target);
    } else {
      cut_.erase(target);
    }
  }
  // Runs what is on its way.
  void Drain() {
    wire_.RunAndWait([] {});
  }

  void Call(TargetId to, transport::Call call, transport::Done done) override {
    std::lock_guard lock(mutex_);
    const auto end = ends_.find(to);
    if (end == ends_.end() || cut_.contains(to)) {
      wire_.Post([done] { done(Status(Code::kUnavailable, "fake peers: cut off")); });
      return;
    }
    auto payload = std::make_shared<Bytes>(call.payload.begin(), call.payload.end());
    end->second.io->Post([this, end = end->second, call = std::move(call), payload, done] {
      BufferRef buffer;
      if (!payload->empty()) {
        buffer = end.io->Allocate(payload->size());
        std::copy(payload->begin(), payload->end(), buffer->span().begin());
      }
      Handle(end, call, {buffer, payload->size()}, done);
    });
  }

 private:
  struct Payload {
    BufferRef buffer;
    size_t size = 0;
    std::span<const uint8_t> bytes() const {
      return buffer ? buffer->span().first(size) : std::span<uint8_t>();
    }
  };

  template <typename Response>
  ChainReplica::Done<Response> Reply(const transport::Done& done) {
    return [this, done](Result<Response> response) {
      wire_.Post([done, response] {
        if (!response.ok()) return done(response.status());
        done(transport::Reply{.message = response->SerializeAsString()});
      });
    };
  }
  template <typename Request, typename Response>
  void Pass(const End& end, const transport::Call& call, const Payload&,
            const transport::Done& done,
            void (ChainReplica::*method)(IoContext&, const Request&,
                                         ChainReplica::Done<Response>)) {
    Request request;
    ASSERT_TRUE(request.ParseFromString(call.message));
    (end.replica->*method)(*end.io, request, Reply<Response>(done));
  }
  template <typename Request, typename Response>
  void Pass(const End& end, const transport::Call& call, const Payload& payload,
            const transport::Done& done,
            void (ChainReplica::*method)(IoContext&, const Request&, BufferRef,
                                         std::span<const uint8_t>, ChainReplica::Done<Response>)) {
    Request request;
    ASSERT_TRUE(request.ParseFromString(call.message));
    (end.replica->*method)(*end.io, request, payload.buffer, payload.bytes(),
                           Reply<Response>(done));
  }

  void Handle(const End& end, const transport::Call& call, const Payload& payload,
              const transport::Done& done) {
    using transport::Method;
    switch (call.method) {
      case Method::kRead:
        return Read(end, call, done);
      case Method::kReplicate:
        return Pass(end, call, payload, done, &ChainReplica::OnReplicateRequest);
      case Method::kDurable:
        return Pass(end, call, payload, done, &ChainReplica::OnDurableRequest);
      case Method::kCommitted:
        return Pass(end, call, payload, done, &ChainReplica::OnCommittedRequest);
      case Method::kSyncList:
        return Pass(end, call, payload, done, &ChainReplica::OnSyncList);
      case Method::kSyncUnits:
        return Pass(end, call, payload, done, &ChainReplica::OnSyncUnits);
      case Method::kSyncWrite:
        return Pass(end, call, payload, done, &ChainReplica::OnSyncWrite);
      case Method::kSyncSeal:
        return Pass(end, call, payload, done, &ChainReplica::OnSyncSeal);
      case Method::kSyncRemove:
        return Pass(end, call, payload, done, &ChainReplica::OnSyncRemove);
      case Method::kSyncResults:
        return Pass(end, call, payload, done, &ChainReplica::OnSyncResults);
      default:
        FAIL() << "no such call between replicas: " << static_cast<int>(call.method);
    }
  }

  // As the service answers it.
  void Read(const End& end, const transport::Call& call, const transport::Done& done) {
    proto::ReadChunkRequest request;
    ASSERT_TRUE(request.ParseFromString(call.message));
    EXPECT_EQ(request.ctx().incarnation(), 0u);
    const ChunkId chunk{DataId(request.chunk().data_id()), request.chunk().index()};
    end.replica->Read(
        *end.io, chunk, request.offset(), request.length(), [] { return Status::Ok(); },
        [this, into = call.into, done](Result<Engine::ReadAnswer> answer) {
          wire_.Post([into, done, answer] {
            if (!answer.ok()) return done(answer.status());
            ASSERT_LE(answer->bytes.size(), into.size());
            std::copy(answer->bytes.begin(), answer->bytes.end(), into.begin());
            proto::ReadChunkResponse response;
            response.set_chunk_length(answer->state.length);
            response.set_version(answer->state.version.value());
            response.set_crc32c(answer->crc32c);
            done(transport::Reply{.message = response.SerializeAsString(),
                                  .payload_size = answer->bytes.size()});
          });
        });
  }

  std::mutex mutex_;
  std::map<TargetId, End> ends_;
  std::set<TargetId> cut_;
  testing::FakeIoContext wire_{std::make_shared<testing::FakeDisk>(testing::FakeDisk::Options{}),
                               {}};
};

// Replicas of one chain over engines in memory, each with what a node has for them: targets 1 to n,
// the head first.
class ChainRig {
 public:
  struct Node {
    Node(FakePeers& peers, std::chrono::milliseconds rest)
        : io(std::make_shared<testing::FakeDisk>(testing::FakeDisk::Options{}), {}),
          mover(peers, {.bytes_per_s = 0}),
          repairer(peers,
                   {.bytes_per_s = 0,
                    .pause = std::chrono::milliseconds(1),
                    .tries = 2000,
                    .short_rest = std::chrono::milliseconds(1),
                    .rest = rest,
                    .on_repaired = [this](const Engine&, const Engine::ChunkKey&) { ++told; }}) {}
    testing::FakeEngine engine;
    testing::FakeIoContext io;
    std::atomic<int> told{0};
    ResyncMover mover;
    Repairer repairer;
    std::shared_ptr<ChainReplica> replica;
  };

  // `rest`: after a repair was given up for good.
  explicit ChainRig(std::vector<proto::TargetState> states,
                    std::chrono::milliseconds rest = std::chrono::milliseconds(1))
      : states_(std::move(states)) {
    for (size_t i = 0; i < states_.size(); ++i) {
      auto node = std::make_unique<Node>(peers_, rest);
      const ChainReplica::Env env{
          .peers = &peers_, .home = &node->io, .mover = &node->mover, .repairer = &node->repairer};
      node->replica = std::make_shared<ChainReplica>(kChain, TargetOf(i), node->engine, env);
      peers_.Join(TargetOf(i), {node->replica.get(), &node->io});
      nodes_.push_back(std::move(node));
    }
    Configure(1);
  }
  ~ChainRig() {
    for (const auto& node : nodes_) node->engine.Release();
    for (const auto& node : nodes_) node->replica->Stop();
    for (const auto& node : nodes_) node->repairer.Stop();
    for (const auto& node : nodes_) node->mover.Stop();
    for (int round = 0; round < 4; ++round) {  // a call, its answer, and what comes of that
      for (const auto& node : nodes_) node->io.RunAndWait([] {});
      peers_.Drain();
    }
  }

  static TargetId TargetOf(size_t i) { return TargetId(static_cast<uint32_t>(i + 1)); }
  void SetState(size_t i, proto::TargetState state) { states_[i] = state; }
  void Configure(uint32_t version) {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      ChainView view{.id = kChain, .version = ChainVersion(version), .local_member = i};
      for (size_t m = 0; m < nodes_.size(); ++m) {
        view.members.push_back({TargetOf(m), NodeId(static_cast<uint32_t>(m + 1)), states_[m]});
      }
      nodes_[i]->replica->Configure(view);
    }
  }

  Node& node(size_t i) { return *nodes_[i]; }
  FakePeers& peers() { return peers_; }

  // Whether it comes true, while the replicas tick.
  template <typename Condition>
  bool Eventually(Condition condition) {
    return sheaf::testing::Eventually([&] {
      for (const auto& node : nodes_) node->replica->Tick();
      return condition();
    });
  }

  template <typename T>
  using Future = std::future<Result<T>>;
  // At the head.
  Future<MutationResult> StartWrite(ChunkId chunk, uint32_t offset, const Bytes& bytes) {
    return OnNode<MutationResult>(0, [=](Node& node, auto done) {
      ChainOp op;
      op.chunk = chunk;
      op.offset = offset;
      op.chunk_size = kChunkSize;
      op.crc32c = Crc32c(bytes);
      op.buffer = node.io.Allocate(bytes.size());
      std::copy(bytes.begin(), bytes.end(), op.buffer->span().begin());
      op.bytes = op.buffer->span().first(bytes.size());
      node.replica->Mutate(
          node.io, std::move(op), [] { return Status::Ok(); }, done);
    });
  }
  Status Write(ChunkId chunk, uint32_t offset, const Bytes& bytes) {
    return Wait(StartWrite(chunk, offset, bytes)).status();
  }
  Result<MutationResult> Remove(DataId data_id) {
    return Wait(OnNode<MutationResult>(0, [=](Node& node, auto done) {
      node.replica->Remove(
          node.io, {.data_id = data_id, .limit = 100}, [] { return Status::Ok(); }, done);
    }));
  }
  Result<Bytes> Read(size_t i, ChunkId chunk, uint32_t offset = 0, uint32_t length = kChunkSize) {
    const auto answer = Wait(OnNode<Engine::ReadAnswer>(i, [=](Node& node, auto done) {
      node.replica->Read(
          node.io, chunk, offset, length, [] { return Status::Ok(); }, done);
    }));
    if (!answer.ok()) return answer.status();
    return Bytes(answer->bytes.begin(), answer->bytes.end());
  }
  // What is on the disk there, by nobody's leave.
  Engine::ChunkState StateAt(size_t i, ChunkId chunk) {
    const auto answer = Wait(OnNode<Engine::ReadAnswer>(i, [=](Node& node, auto done) {
      node.engine.ReadAt(node.io, {kChain, chunk}, Engine::kNewest, 0, 0, done);
    }));
    EXPECT_TRUE(answer.ok());
    return answer.ok() ? answer->state : Engine::ChunkState();
  }
  void ExpectEverywhere(ChunkId chunk, const Bytes& bytes) {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const auto read = Read(i, chunk);
      ASSERT_TRUE(read.ok()) << "member " << i << ": " << read.status().ToString();
      EXPECT_TRUE(*read == bytes) << "member " << i;
      EXPECT_EQ(StateAt(i, chunk).version, StateAt(0, chunk).version);
    }
  }

  template <typename T, typename Call>
  Future<T> OnNode(size_t i, Call call) {
    auto promise = std::make_shared<std::promise<Result<T>>>();
    Future<T> future = promise->get_future();
    Node& node = *nodes_[i];
    node.io.Post([&node, call, promise] {
      call(node, [promise](Result<T> result) { promise->set_value(std::move(result)); });
    });
    return future;
  }
  template <typename T>
  Result<T> Wait(Future<T> future) {
    const bool answered = Eventually(
        [&] { return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
    if (!answered) return Status(Code::kDeadline, "never answered");
    return future.get();
  }

 private:
  std::vector<proto::TargetState> states_;
  FakePeers peers_;
  std::vector<std::unique_ptr<Node>> nodes_;
};

}  // namespace sheaf::storage
