#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/ids.h"
#include "common/status.h"
#include "proto/replica.pb.h"
#include "storage/engine/engine.h"
#include "storage/replica/pacer.h"
#include "storage/replica/peers.h"
#include "storage/replica/resync.h"

namespace sheaf::storage {

// Carries out the steps of all resyncs of a node (resync.h), one after the other on a thread of its
// own, at a set rate: lists, reads chunks here and sends them there. Steps may block; they end with
// an error at once when the mover stops.
//
// Thread-safe.
class ResyncMover {
 public:
  struct Options {
    uint64_t bytes_per_s = 256 << 20;  // 0: no limit
    std::chrono::milliseconds call_timeout{5000};
  };
  // What a step works on.
  struct Place {
    ChainId chain;
    ChainVersion version;
    TargetId from;
    TargetId to;
    Engine* engine = nullptr;
    IoContext* io = nullptr;
  };

  // `peers` outlives it.
  ResyncMover(Peers& peers, const Options& options);
  // As Stop.
  ~ResyncMover();
  // Steps end with an error; later ones are not taken. REQUIRES: calls to peers end.
  void Stop();

  using ListDone = std::function<void(const Result<ListPair>&)>;
  using StepDone = std::function<void(const Status&)>;
  // `done` runs on the mover's thread, also when it stops.
  void List(const Place& place, const ListStep& step, ListDone done);
  // `damaged`: which one could not be copied since it cannot be read.
  using CopyDone = std::function<void(const Status&, std::optional<ChunkId> damaged)>;
  void Copy(const Place& place, const CopyStep& step, CopyDone done);
  void Remove(const Place& place, const RemoveStep& step, StepDone done);
  // `base` as in proto::SyncResultsRequest.
  void SendStreams(const Place& place, std::vector<Engine::StreamRow> rows, uint64_t base,
                   StepDone done);

  // Of the last whole second.
  uint64_t bytes_per_s() const;
  uint64_t total_bytes() const { return pacer_.total(); }

 private:
  void Add(std::function<void()> step);
  void Main();
  bool stopping() const;

  Result<ListPair> DoList(const Place& place, const ListStep& step);
  Status DoCopies(const Place& place, const std::vector<ChunkCopy>& copies,
                  std::optional<ChunkId>* damaged);
  Status DoCopy(const Place& place, const ChunkFacts& chunk);
  Status DoRemove(const Place& place, const RemoveStep& step);
  proto::PeerContext PeerOf(const Place& place);
  Status DoSendStreams(const Place& place, const std::vector<Engine::StreamRow>& rows,
                       uint64_t base);
  // Units here, and there.
  using UnitPair = std::pair<std::vector<uint32_t>, std::vector<uint32_t>>;
  Result<UnitPair> ListUnits(const Place& place, ChunkId chunk);
  static std::future<Result<std::vector<uint32_t>>> StartUnits(const Place& place, ChunkId chunk);
  static std::future<Result<Engine::ReadAnswer>> StartRead(const Place& place, ChunkId chunk,
                                                           uint32_t offset, uint32_t length);
  Result<Engine::ReadAnswer> ReadPiece(const Place& place, ChunkId chunk, uint32_t offset,
                                       uint32_t length);
  // Sends what differs of a chunk; whether all that is there was to be replaced and nothing was sent.
  Result<bool> SendPieces(const Place& place, const ChunkFacts& chunk, const UnitPair& units);
  using Reply = std::future<Result<transport::Reply>>;
  Reply SendPiece(const Place& place, const ChunkFacts& chunk, uint32_t offset,
                  const Engine::ReadAnswer& piece, bool first);
  Reply Seal(const Place& place, const ChunkFacts& chunk, bool first);
  Reply Begin(TargetId to, transport::Call call);
  Result<transport::Reply> CallAndWait(TargetId to, transport::Call call);

  Peers& peers_;
  const Options options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> steps_;  // under mutex_
  bool stopping_ = false;                    // under mutex_
  Pacer pacer_;
  uint64_t last_number_ = 0;  // of messages, over all chains; the thread's own
  std::thread thread_;
};

}  // namespace sheaf::storage
