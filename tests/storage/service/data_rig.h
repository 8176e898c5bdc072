#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "common/crc32c.h"
#include "storage/replica/replica_set.h"
#include "storage/service/data_handler.h"
#include "storage/service/reactor_set.h"
#include "tests/support/fake_engine.h"

namespace sheaf::storage {

inline constexpr uint32_t kChain = 7;
inline constexpr uint32_t kChainVersion = 3;

inline std::span<const uint8_t> BytesOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// The machine's clock, which tells when it is asked. Thread-safe.
class WatchedClock final : public Clock {
 public:
  Instant Now() const override {
    std::lock_guard lock(mutex_);
    if (asked_) asked_();
    return System().Now();
  }
  int64_t WallNanos() const override { return System().WallNanos(); }

  // Called whenever somebody asks for the instant; not any more once another, or none, is set.
  void WhenAsked(std::function<void()> what) {
    std::lock_guard lock(mutex_);
    asked_ = std::move(what);
  }

 private:
  mutable std::mutex mutex_;
  std::function<void()> asked_;
};

// Reactors and a data handler over an engine in memory, serving one chain.
class DataRig {
 public:
  DataRig() {
    ReactorSet::Options options;
    options.buffer_bytes = 32 << 20;
    options.limits.tick = std::chrono::milliseconds(5);
    auto set = ReactorSet::Start(options);
    CHECK(set.ok(), set.status().ToString());
    reactors = std::move(*set);
    replicas.ApplyMap(Map(1));
    replicas.ExtendLease(Clock::System().Now() + std::chrono::hours(1));
  }

  static proto::ClusterMap Map(uint64_t version) {
    proto::ClusterMap map;
    map.set_version(version);
    proto::Target* target = map.add_targets();
    target->set_id(1);
    target->set_node_id(1);
    target->set_uuid("a");
    proto::Chain* chain = map.add_chains();
    chain->set_id(kChain);
    chain->set_version(kChainVersion);
    proto::ChainMember* member = chain->add_members();
    member->set_target_id(1);
    member->set_state(proto::SERVING);
    proto::IncarnationRange* fenced = map.add_fenced();
    fenced->set_first(66);
    fenced->set_last(66);
    return map;
  }

  template <typename Request>
  static void SetContext(Request& request) {
    request.mutable_ctx()->set_chain_id(kChain);
    request.mutable_ctx()->set_chain_version(kChainVersion);
    request.mutable_ctx()->set_incarnation(1);
  }
  static proto::ReadChunkRequest ReadOf(uint64_t data_id, uint32_t offset, uint32_t length) {
    proto::ReadChunkRequest request;
    SetContext(request);
    request.mutable_chunk()->set_data_id(data_id);
    request.set_offset(offset);
    request.set_length(length);
    return request;
  }
  static proto::WriteChunkRequest WriteOf(uint64_t data_id, uint32_t offset,
                                          const std::string& bytes) {
    proto::WriteChunkRequest request;
    SetContext(request);
    request.mutable_chunk()->set_data_id(data_id);
    request.set_offset(offset);
    request.set_chunk_size(1 << 22);
    request.set_crc32c(Crc32c(BytesOf(bytes)));
    return request;
  }

  testing::FakeEngine engine;
  WatchedClock clock;  // of leases
  ReplicaSet replicas{{{"a", &engine}}, clock};
  DataHandler data{replicas, {}};
  std::unique_ptr<ReactorSet> reactors;  // first to go
};

}  // namespace sheaf::storage
