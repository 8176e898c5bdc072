#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "client/chunk/chunk_client.h"
#include "common/crc32c.h"
#include "proto/data.pb.h"

namespace sheaf::client {

// Chunks in memory, on one chain of one or more replicas, which all have the same at once, each
// behind a connection; answering on the caller's thread. Reads go to the first replica that may be
// asked, writes to the head. Faults are queued: each call takes the next one first, those of its
// replica before the others. Thread-safe.
class FakeStorage : public Routes, public WriterIdentity {
 public:
  struct Seen {
    transport::Method method;
    proto::DataContext ctx;
    size_t bytes = 0;
    uint32_t replica = 0;  // from 1
  };

  explicit FakeStorage(uint32_t replicas = 1) {
    for (uint32_t i = 1; i <= replicas; ++i) {
      order_.push_back(i);
      connections_.push_back(std::make_shared<FakeConnection>(*this, i));
    }
  }

  // Routes
  Result<Route> Find(const Wanted& wanted, Blocking) override {
    const std::lock_guard lock(mutex_);
    if (!route_errors.empty()) {
      Status error = route_errors.front();
      route_errors.pop_front();
      return error;
    }
    std::vector<uint32_t> left = order_;
    if (wanted.access == Access::kWrite) left.resize(1);
    for (const TargetId target : wanted.passed_over) std::erase(left, target.value());
    if (left.empty()) return Status(Code::kUnavailable, "no replica is left");
    return Route{.chain = ChainId(1),
                 .version = ChainVersion(static_cast<uint32_t>(map_)),
                 .target = TargetId(left.front()),
                 .server = NodeId(left.front()),
                 .others = left.size() > 1,
                 .connection = connections_[left.front() - 1]};
  }
  bool IsCurrent(const Wanted& wanted, const Route& route) override {
    const std::lock_guard lock(mutex_);
    if (wanted.access == Access::kWrite) return route.version.value() == map_;
    return std::count(order_.begin(), order_.end(), route.target.value()) > 0;
  }
  void Avoid(NodeId server) override {
    const std::lock_guard lock(mutex_);
    avoided_.push_back(server.value());
  }
  void Refresh() override { ++refreshes; }
  MapVersion version() const override { return MapVersion(map_); }

  // A newer map, of a chain whose replicas that serve are these, the head first.
  void MoveChain(std::vector<uint32_t> serving) {
    const std::lock_guard lock(mutex_);
    order_ = std::move(serving);
    ++map_;
  }
  std::vector<uint32_t> avoided() {
    const std::lock_guard lock(mutex_);
    return avoided_;
  }
  void FailReplica(uint32_t replica, Code code, int times = 1) {
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < times; ++i) of_replica[replica].push_back(Status(code, "told to fail"));
  }
  // Calls to it are kept back until Thaw, or cancelled.
  void Freeze(uint32_t replica) {
    const std::lock_guard lock(mutex_);
    frozen[replica];
  }
  void Thaw(uint32_t replica) {
    std::map<uint64_t, Frozen> calls;
    {
      const std::lock_guard lock(mutex_);
      calls.swap(frozen[replica]);
      frozen.erase(replica);
    }
    for (auto& [tag, held_call] : calls) held_call.done(Serve(held_call.call, replica));
  }
  // Ends one call to a frozen replica, as its deadline does, or a connection that breaks.
  void EndFrozen(uint32_t replica, Code code) {
    transport::Done done;
    {
      const std::lock_guard lock(mutex_);
      auto& calls = frozen.at(replica);
      CHECK(!calls.empty());
      done = std::move(calls.begin()->second.done);
      calls.erase(calls.begin());
    }
    done(Status(code, "told to end"));
  }
  size_t frozen_calls(uint32_t replica) {
    const std::lock_guard lock(mutex_);
    const auto at = frozen.find(replica);
    return at == frozen.end() ? 0 : at->second.size();
  }
  int cancelled() {
    const std::lock_guard lock(mutex_);
    return cancelled_;
  }

  // WriterIdentity
  Incarnation incarnation() const override { return Incarnation(current_incarnation); }
  void ReportLost(Incarnation lost) override {
    if (lost.value() == current_incarnation) ++current_incarnation;
  }

  void FailNext(Code code, int times = 1) {
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < times; ++i) faults.push_back(Status(code, "told to fail"));
  }
  void FailAlways(Code code) {
    const std::lock_guard lock(mutex_);
    always = Status(code, "told to fail always");
  }
  void RotNextAnswer(int times) { rot = times; }
  // Calls are kept back until Release.
  void Hold() {
    const std::lock_guard lock(mutex_);
    holding = true;
  }
  void Release() {
    std::vector<std::function<void()>> calls;
    {
      const std::lock_guard lock(mutex_);
      holding = false;
      calls.swap(held);
    }
    for (auto& call : calls) call();
  }
  // Serves one of the calls that are kept back; waits for one unless `stopped`. False: there is none.
  bool ReleaseOne(uint64_t random, const std::atomic<bool>& stopped) {
    std::function<void()> call;
    {
      std::unique_lock lock(mutex_);
      arrived.wait(lock, [&] { return !held.empty() || stopped; });
      if (held.empty()) return false;
      const auto chosen = held.begin() + static_cast<ptrdiff_t>(random % held.size());
      call = std::move(*chosen);
      held.erase(chosen);
    }
    call();
    return true;
  }
  void WakeReleaser() {
    const std::lock_guard lock(mutex_);
    arrived.notify_all();
  }
  // What a metadata service has done when a file has been shortened.
  void Trim(uint64_t data_id, uint64_t chunk_size, uint64_t size) {
    const std::lock_guard lock(mutex_);
    for (auto& [chunk, bytes] : chunks) {
      if (chunk.first != data_id) continue;
      const uint64_t start = chunk.second * chunk_size;
      bytes.resize(std::min<uint64_t>(bytes.size(), size > start ? size - start : 0));
    }
  }
  size_t held_calls() {
    const std::lock_guard lock(mutex_);
    return held.size();
  }
  std::vector<Seen> seen_calls() {
    const std::lock_guard lock(mutex_);
    return seen;
  }
  std::vector<uint8_t> chunk(uint64_t data_id, uint32_t index) {
    const std::lock_guard lock(mutex_);
    return chunks[{data_id, index}];
  }

  std::atomic<int> refreshes = 0;
  std::atomic<uint64_t> current_incarnation = 1;
  std::deque<Status> route_errors;
  uint32_t max_payload = 4 << 20;

 private:
  class FakeConnection : public transport::Connection {
   public:
    FakeConnection(FakeStorage& storage, uint32_t replica) : storage_(storage), replica_(replica) {}
    void Start(transport::Call call, transport::Done done) override {
      storage_.Arrive(std::move(call), std::move(done), replica_);
    }
    void Cancel(uint64_t tag) override { storage_.CancelCall(tag, replica_); }
    Result<transport::Reply> Run(transport::Call) override {
      return Status(Code::kUnsupported, "not used");
    }
    bool IsBroken() const override { return false; }
    uint32_t max_payload() const override { return storage_.max_payload; }

   private:
    FakeStorage& storage_;
    const uint32_t replica_;
  };
  struct Frozen {
    transport::Call call;
    transport::Done done;
  };

  void CancelCall(uint64_t tag, uint32_t replica) {
    transport::Done done;
    {
      const std::lock_guard lock(mutex_);
      const auto at = frozen.find(replica);
      if (at == frozen.end()) return;
      const auto call = at->second.find(tag);
      if (call == at->second.end()) return;
      done = std::move(call->second.done);
      at->second.erase(call);
      ++cancelled_;
    }
    done(Status(Code::kCancelled, "cancelled"));
  }

  void Arrive(transport::Call call, transport::Done done, uint32_t replica) {
    {
      const std::lock_guard lock(mutex_);
      if (const auto at = frozen.find(replica); at != frozen.end()) {
        const uint64_t tag = call.tag;
        at->second[tag] = {std::move(call), std::move(done)};
        return;
      }
      if (holding) {
        held.push_back([this, call, done, replica] { done(Serve(call, replica)); });
        arrived.notify_all();
        return;
      }
    }
    done(Serve(call, replica));
  }

  Result<transport::Reply> Serve(const transport::Call& call, uint32_t replica) {
    const std::lock_guard lock(mutex_);
    return call.method == transport::Method::kRead ? ServeRead(call, replica)
                                                   : ServeWrite(call, replica);
  }

  Status TakeFault(uint32_t replica) {
    if (!always.ok()) return always;
    if (auto& own = of_replica[replica]; !own.empty()) {
      Status fault = own.front();
      own.pop_front();
      return fault;
    }
    if (faults.empty()) return {};
    Status fault = faults.front();
    faults.pop_front();
    return fault;
  }

  Result<transport::Reply> ServeRead(const transport::Call& call, uint32_t replica) {
    proto::ReadChunkRequest request;
    CHECK(request.ParseFromString(call.message));
    seen.push_back({call.method, request.ctx(), request.length(), replica});
    RETURN_IF_ERROR(TakeFault(replica));
    CHECK(request.length() <= max_payload && request.length() <= call.into.size());
    const auto& bytes = chunks[{request.chunk().data_id(), request.chunk().index()}];
    const size_t from = std::min<size_t>(request.offset(), bytes.size());
    const size_t size = std::min<size_t>(request.length(), bytes.size() - from);
    if (size > 0) std::memcpy(call.into.data(), bytes.data() + from, size);
    proto::ReadChunkResponse response;
    response.set_crc32c(Crc32c({bytes.data() + from, size}));
    response.set_chunk_length(static_cast<uint32_t>(bytes.size()));
    if (rot > 0) {
      --rot;
      response.set_crc32c(~response.crc32c());
    }
    return transport::Reply{.message = response.SerializeAsString(), .payload_size = size};
  }

  Result<transport::Reply> ServeWrite(const transport::Call& call, uint32_t replica) {
    proto::WriteChunkRequest request;
    CHECK(request.ParseFromString(call.message));
    seen.push_back({call.method, request.ctx(), call.payload.size(), replica});
    RETURN_IF_ERROR(TakeFault(replica));
    if (request.ctx().incarnation() != current_incarnation) {
      return Status(Code::kFenced, "an old incarnation");
    }
    CHECK(call.payload.size() <= max_payload);
    CHECK(request.crc32c() == Crc32c(call.payload));
    auto& bytes = chunks[{request.chunk().data_id(), request.chunk().index()}];
    const size_t end = request.offset() + call.payload.size();
    CHECK(end <= request.chunk_size());
    if (bytes.size() < end) bytes.resize(end);
    std::copy(call.payload.begin(), call.payload.end(), bytes.begin() + request.offset());
    return transport::Reply{.message = proto::WriteChunkResponse().SerializeAsString()};
  }

  std::mutex mutex_;
  std::map<std::pair<uint64_t, uint32_t>, std::vector<uint8_t>> chunks;
  std::deque<Status> faults;
  Status always;
  std::atomic<int> rot = 0;
  bool holding = false;
  std::condition_variable arrived;
  std::vector<std::function<void()>> held;
  std::vector<Seen> seen;
  std::atomic<uint64_t> map_ = 1;  // the chain has the same version
  std::vector<uint32_t> order_;    // replicas that serve
  std::vector<std::shared_ptr<FakeConnection>> connections_;
  std::map<uint32_t, std::deque<Status>> of_replica;
  std::map<uint32_t, std::map<uint64_t, Frozen>> frozen;  // by replica and tag
  std::vector<uint32_t> avoided_;
  int cancelled_ = 0;
};

}  // namespace sheaf::client
