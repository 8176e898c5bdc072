#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "common/ids.h"
#include "storage/disk/io_context.h"
#include "storage/replica/peers.h"
#include "storage/replica/staging.h"

namespace sheaf::storage {

// Of one replica. Thread-safe.
struct StageCounts {
  std::atomic<uint64_t> bytes{0};  // passed on ahead of their changes
  std::atomic<uint64_t> lost{0};   // stages of no use: the change went with its bytes
};

// Sends a payload to the next member of its chain while it is received. Let go before its change
// has named it, it tells that member so.
//
// Thread safety: none, but it may be let go anywhere. Whoever receives the payload hands it on with
// the change.
class StageForward final : public StageShelf::Onward {
 public:
  struct Route {
    Peers* peers = nullptr;
    StageKey key;
    TargetId to;
    uint32_t hop = 0;
    std::shared_ptr<StageCounts> counts;
  };
  // `buffer` holds the payload from its first byte.
  StageForward(const Route& route, BufferRef buffer, uint32_t total)
      : route_(route), buffer_(std::move(buffer)), total_(total), cutter_(total) {}
  ~StageForward() override { GiveUp(); }

  void Landed(size_t bytes) override;
  // How many bytes have to be there before there is something to send.
  uint32_t WantsAt() const { return *failed_ ? total_ : cutter_.WantsAt(); }

  // The stage's number, once: its change goes to that member now. 0: not all of it was sent there,
  // and it is given up.
  uint64_t Take(TargetId to, ChainVersion version);

 private:
  void Send(const StageCutter::Cut& cut);
  void GiveUp();

  const Route route_;
  const BufferRef buffer_;
  const uint32_t total_;
  StageCutter cutter_;
  bool begun_ = false;
  bool over_ = false;  // taken or given up
  // Set when a part was refused or lost, on whatever thread.
  const std::shared_ptr<std::atomic<bool>> failed_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace sheaf::storage
