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

// Chunks in memory behind a connection, answering on the caller's thread. Faults are queued: each
// call takes the next one first. Thread-safe.
class FakeStorage : public Routes, public WriterIdentity {
 public:
  struct Seen {
    transport::Method method;
    proto::DataContext ctx;
    size_t bytes = 0;
  };

  FakeStorage() : connection_(std::make_shared<FakeConnection>(*this)) {}

  // Routes
  Result<Route> Find(const Layout&, uint32_t, Access, Blocking) override {
    const std::lock_guard lock(mutex_);
    if (!route_errors.empty()) {
      Status error = route_errors.front();
      route_errors.pop_front();
      return error;
    }
    return Route{.chain = ChainId(1), .version = ChainVersion(1), .connection = connection_};
  }
  void Refresh() override { ++refreshes; }

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
    explicit FakeConnection(FakeStorage& storage) : storage_(storage) {}
    void Start(transport::Call call, transport::Done done) override {
      storage_.Arrive(std::move(call), std::move(done));
    }
    Result<transport::Reply> Run(transport::Call) override {
      return Status(Code::kUnsupported, "not used");
    }
    bool IsBroken() const override { return false; }
    uint32_t max_payload() const override { return storage_.max_payload; }

   private:
    FakeStorage& storage_;
  };

  void Arrive(transport::Call call, transport::Done done) {
    {
      const std::lock_guard lock(mutex_);
      if (holding) {
        held.push_back([this, call, done] { done(Serve(call)); });
        arrived.notify_all();
        return;
      }
    }
    done(Serve(call));
  }

  Result<transport::Reply> Serve(const transport::Call& call) {
    const std::lock_guard lock(mutex_);
    return call.method == transport::Method::kRead ? ServeRead(call) : ServeWrite(call);
  }

  Status TakeFault() {
    if (!always.ok()) return always;
    if (faults.empty()) return {};
    Status fault = faults.front();
    faults.pop_front();
    return fault;
  }

  Result<transport::Reply> ServeRead(const transport::Call& call) {
    proto::ReadChunkRequest request;
    CHECK(request.ParseFromString(call.message));
    seen.push_back({call.method, request.ctx(), request.length()});
    RETURN_IF_ERROR(TakeFault());
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

  Result<transport::Reply> ServeWrite(const transport::Call& call) {
    proto::WriteChunkRequest request;
    CHECK(request.ParseFromString(call.message));
    seen.push_back({call.method, request.ctx(), call.payload.size()});
    RETURN_IF_ERROR(TakeFault());
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
  const std::shared_ptr<FakeConnection> connection_;
};

}  // namespace sheaf::client
